import nibabel
import numpy as np
import pytest

from fmri_lightning.betas import mgh
from fmri_lightning.betas.mgh import HEADER_BYTES, map_mgh, read_mgh_shape, read_surface_map, read_vertices
from fmri_lightning.errors import BadInputError

T, N = 75, 40


@pytest.fixture
def values():
    values = np.random.default_rng(0).normal(0, 30, (T, N)).astype(np.float32)
    values[3, 7] = np.nan
    return values


@pytest.fixture
def path(tmp_path, values):
    path = tmp_path / "lh.betas_session01.mgh"
    nibabel.save(nibabel.MGHImage(values.T.reshape(N, 1, 1, T), np.eye(4)), path)
    return path


def test_nibabels_files_are_read_to_the_bit_in_the_order_of_trials_and_vertices(path, values):
    assert read_mgh_shape(path) == (T, N)
    assert np.array_equal(map_mgh(path), values, equal_nan=True)
    vertices = np.array([0, 7, 8, 39])
    found = np.empty((T, 4), dtype=np.float32)
    read_vertices(path, vertices, found)
    assert np.array_equal(found, values[:, vertices], equal_nan=True)


@pytest.mark.parametrize("block", [1, 7, 75, 1000])
def test_blocks_of_any_size_give_the_same(path, values, monkeypatch, block):
    monkeypatch.setattr(mgh, "_TRIALS_PER_BLOCK", block)
    found = np.empty((T, N), dtype=np.float32)
    read_vertices(path, np.arange(N), found)
    assert np.array_equal(found, values, equal_nan=True)


def test_what_follows_the_data_is_no_data(path, values):
    whole = HEADER_BYTES + 4 * T * N
    data = path.read_bytes()
    path.write_bytes(data[:whole])
    assert np.array_equal(map_mgh(path), values, equal_nan=True)
    path.write_bytes(data[:whole] + b"tags of another program")
    assert np.array_equal(map_mgh(path), values, equal_nan=True)
    path.write_bytes(data[: whole - 1])
    with pytest.raises(BadInputError, match=rf"is cut off: {whole - 1} bytes of {whole}; download it again"):
        map_mgh(path)


def little_endian(data):
    """The same file as a program that never swaps bytes would write it."""
    header = np.frombuffer(data[:28], ">i4").astype("<i4").tobytes()
    return header + data[28:HEADER_BYTES] + np.frombuffer(data[HEADER_BYTES:], ">f4").astype("<f4").tobytes()


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (little_endian, "is little-endian; MGH files are big-endian"),
        (lambda data: data[:200], "has 200 bytes, the header of an MGH file 284"),
        (lambda data: b"", "has 0 bytes"),
        (lambda data: b"\x1f\x8b" + data, r"is no MGH file \(version "),
        (lambda data: data[:16] + bytes(4) + data[20:], "is no MGH file"),
        (lambda data: data[:20] + bytes([0, 0, 0, 1]) + data[24:], "of type 1, expected .* float32"),
    ],
)
def test_a_damaged_or_foreign_file_is_named(path, damage, match):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadInputError, match=rf"session01\.mgh.*{match}") as caught:
        map_mgh(path)
    assert "\n" not in str(caught.value)


def test_a_volume_or_transposed_file_is_refused(tmp_path, values):
    path = tmp_path / "v.mgh"
    nibabel.save(nibabel.MGHImage(values.reshape(T, N, 1), np.eye(4)), path)
    with pytest.raises(BadInputError, match="is 75 x 40 x 1 x 1 of type 3, expected vertices x 1 x 1 x trials"):
        map_mgh(path)
    with pytest.raises(BadInputError, match=r"v\.mgh is \(75, 40, 1\), expected one value per vertex"):
        read_surface_map(path)


def test_maps_come_compressed_or_not(tmp_path):
    labels = np.arange(N, dtype=np.int32)
    for name in ("lh.a.mgz", "lh.a.mgh"):
        nibabel.save(nibabel.MGHImage(labels.reshape(N, 1, 1), np.eye(4)), tmp_path / name)
        assert read_surface_map(tmp_path / name).tolist() == labels.tolist()
    path = tmp_path / "lh.a.mgz"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(BadInputError, match=r"lh\.a\.mgz cannot be read"):
        read_surface_map(path)
    path.write_bytes(b"text")
    with pytest.raises(BadInputError, match=r"lh\.a\.mgz cannot be read"):
        read_surface_map(path)
    path.unlink()
    with pytest.raises(BadInputError, match=r"lh\.a\.mgz is missing; it comes with NSD's files on fsaverage"):
        read_surface_map(path)
