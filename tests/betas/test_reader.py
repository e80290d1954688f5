import fcntl
import gzip

import h5py
import nibabel
import numpy as np
import pytest

from fmri_lightning.betas import reader
from fmri_lightning.betas.reader import find_session_file, read_shape, read_voxels
from fmri_lightning.errors import BadInputError
from tests.index.tiny_nsd import B3

T, X, Y, Z = 12, 5, 7, 4
LAYOUTS = {
    "a chunk per voxel, as NSD": {"chunks": (T, 1, 1, 1)},
    "contiguous": {},
    "a chunk per trial": {"chunks": (1, Z, Y, X)},
    "slabs": {"chunks": (T, 2, Y, X)},
    "blocks that divide nothing": {"chunks": (5, 3, 2, 4)},
    "a compressed chunk per voxel": {"chunks": (T, 1, 1, 1), "compression": "gzip", "shuffle": True},
    "a checksummed chunk per voxel": {"chunks": (T, 1, 1, 1), "fletcher32": True},
}


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(2)
    values = rng.integers(-3000, 3000, (X, Y, Z, T)).astype(np.int16)
    values[1, 2, 3, :2] = [32767, -32768]
    return values


@pytest.fixture
def ijk():
    rng = np.random.default_rng(3)
    every = np.argwhere(np.ones((X, Y, Z)))
    return np.vstack([[1, 2, 3], rng.permutation(every)[:40]]).astype(np.int32)


def write_hdf5(path, values, **layout):
    with h5py.File(path, "w") as handle:
        handle.create_dataset("betas", data=values.transpose(3, 2, 1, 0), **layout)
    return path


@pytest.mark.parametrize("block_bytes", [64 << 20, 1], ids=["one block", "many blocks"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_hdf5_layout_gives_what_h5py_gives_voxel_by_voxel(
    tmp_path, monkeypatch, values, ijk, layout, block_bytes
):
    monkeypatch.setattr(reader, "_BLOCK_BYTES", block_bytes)
    path = write_hdf5(tmp_path / "betas_session01.hdf5", values, **layout)
    betas = read_voxels(path, ijk)
    assert read_shape(path) == (T, X, Y, Z)
    assert betas.dtype == np.float32
    with h5py.File(path) as handle:
        for column, (x, y, z) in enumerate(ijk):
            assert np.array_equal(betas[:, column], handle["betas"][:, z, y, x].astype(np.float32) / np.float32(300))
    assert betas[:2, 0].tolist() == pytest.approx([32767 / 300, -32768 / 300])


def test_only_the_chunks_of_the_mask_are_read_and_in_file_order(tmp_path, monkeypatch, values, ijk):
    path = write_hdf5(tmp_path / "s.hdf5", values, chunks=(T, 1, 1, 1))
    touched = []

    class Spy:
        """The dataset, noting which chunks are read."""

        def __init__(self, dataset):
            self.dataset, self.id = dataset, self

        def __getattr__(self, name):
            return getattr(self.dataset, name) if name in ("shape", "dtype") else getattr(self.dataset.id, name)

        def read_direct_chunk(self, offset, out):
            touched.append(offset)
            return self.dataset.id.read_direct_chunk(offset, out=out)

    with h5py.File(path) as handle:
        found = reader._read_voxel_chunks(Spy(handle["betas"]), ijk.astype(np.int64))
    assert np.array_equal(found, values[tuple(ijk.T)].T)
    assert touched == sorted((0, int(z), int(y), int(x)) for x, y, z in ijk)


def test_a_chunk_that_was_never_written_is_the_fill_value(tmp_path, values):
    path = tmp_path / "s.hdf5"
    with h5py.File(path, "w") as handle:
        dataset = handle.create_dataset("betas", (T, Z, Y, X), "i2", chunks=(T, 1, 1, 1))
        dataset[:, 1, 2, 3] = values[3, 2, 1]
    betas = read_voxels(path, np.array([[3, 2, 1], [0, 0, 0]]))
    assert np.array_equal(betas[:, 0], values[3, 2, 1].astype(np.float32) / np.float32(300))
    assert not betas[:, 1].any()


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
@pytest.mark.parametrize("kind", ["int16", "float32", "scaled"])
def test_nifti_gives_what_nibabel_gives(tmp_path, values, ijk, suffix, kind):
    image = nibabel.Nifti1Image(values if kind != "float32" else values.astype(">f4"), np.eye(4))
    if kind == "scaled":
        image.header.set_slope_inter(2.0, 5.0)
    path = tmp_path / f"s{suffix}"
    nibabel.save(image, path)
    expected = nibabel.load(path).get_fdata()[tuple(ijk.T)].T / 300
    assert read_shape(path) == (T, X, Y, Z)
    assert np.allclose(read_voxels(path, ijk), expected, rtol=1e-6, atol=0)


def test_hdf5_and_nifti_of_a_session_agree(tiny):
    folder = tiny.root / f"nsddata_betas/ppdata/subj01/func1pt8mm/{B3}"
    ijk = np.argwhere(tiny.nsdgeneral > 0)
    for session in (1, 2):
        stem = folder / f"betas_session{session:02d}"
        from_hdf5 = read_voxels(stem.with_suffix(".hdf5"), ijk)
        assert np.array_equal(from_hdf5, read_voxels(stem.with_suffix(".nii.gz"), ijk))
        assert find_session_file(folder, session).suffix == ".hdf5"
    with pytest.raises(BadInputError, match="no betas of session 3"):
        find_session_file(folder, 3)


def one_line(error):
    return "\n" not in str(error.value) and str(error.value)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "other dataset", "three axes"])
def test_a_damaged_hdf5_file_is_named(tmp_path, values, damage):
    path = write_hdf5(tmp_path / "s.hdf5", values, chunks=(T, 1, 1, 1))
    data = path.read_bytes()
    if damage in ("truncated", "empty", "text"):
        path.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "text": b"hello" * 99}[damage])
    else:
        with h5py.File(path, "w") as handle:
            handle["beta" if damage == "other dataset" else "betas"] = np.zeros((2, 3, 4), dtype=np.int16)
    with pytest.raises(BadInputError, match=r"s\.hdf5") as caught:
        read_voxels(path, np.array([[0, 0, 0]]))
    assert one_line(caught)


def test_a_file_that_another_program_holds_is_not_called_damaged(tmp_path, values):
    path = write_hdf5(tmp_path / "s.hdf5", values, chunks=(T, 1, 1, 1))
    with open(path, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BadInputError, match=r"s\.hdf5 cannot be locked .*HDF5_USE_FILE_LOCKING=FALSE"):
            read_voxels(path, np.array([[0, 0, 0]]))


def test_a_nifti_file_with_one_flipped_byte_or_cut_off_is_refused(tmp_path, values):
    path = tmp_path / "s.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    plain = gzip.decompress(path.read_bytes())
    stored = bytearray(gzip.compress(plain, compresslevel=0))
    stored[len(stored) // 2] ^= 1  # still a valid stream: only the checksum at its end knows
    path.write_bytes(stored)
    with pytest.raises(BadInputError, match=r"s\.nii\.gz is damaged"):
        read_voxels(path, np.array([[0, 0, 0]]))
    path.write_bytes(gzip.compress(plain)[:-40])
    with pytest.raises(BadInputError, match="damaged or cut off"):
        read_voxels(path, np.array([[0, 0, 0]]))
    path.write_bytes(gzip.compress(plain[:-7]))
    with pytest.raises(BadInputError, match="ends 7 bytes early"):
        read_voxels(path, np.array([[0, 0, 0]]))
    path.write_bytes(b"nothing")
    with pytest.raises(BadInputError, match="not a NIfTI file"):
        read_voxels(path, np.array([[0, 0, 0]]))


def test_a_mask_of_another_box_is_refused(tmp_path, values):
    path = write_hdf5(tmp_path / "s.hdf5", values)
    with pytest.raises(BadInputError, match="the mask reaches"):
        read_voxels(path, np.array([[X, 0, 0]]))
