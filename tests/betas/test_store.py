import h5py
import nibabel
import numpy as np
import pytest

from fmri_lightning.betas import build, nsd_volumes, partial, store
from fmri_lightning.betas.command import betas
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.errors import BadInputError, ResourceError
from fmri_lightning.index.command import index
from fmri_lightning.index.split import is_validation
from fmri_lightning.index.table import index_manifest, read_index
from tests.betas.made_stores import FILES, bytes_of, make, refused
from tests.index.tiny_nsd import B3


@pytest.mark.parametrize("subject", ["subj01", "subj02"])
def test_trials_and_voxels_lie_where_an_independent_read_finds_them(tiny, tiny_index, tmp_path, subject):
    made = make(tiny, tiny_index, tmp_path, subject=subject)
    table = read_index(tiny_index, subject)
    expected = np.argwhere(tiny.nsdgeneral > 0)
    assert np.array_equal(made.ijk, expected)
    folder = tiny.root / f"nsddata_betas/ppdata/{subject}/func1pt8mm/{B3}"
    for session in np.unique(table.session):
        with h5py.File(folder / f"betas_session{session:02d}.hdf5") as handle:
            raw_h5 = handle["betas"][:]
        raw_nii = nibabel.load(folder / f"betas_session{session:02d}.nii.gz").get_fdata()
        rows = np.flatnonzero(table.session == session)
        for column, (x, y, z) in enumerate(expected):
            if made.dropped[column]:
                continue
            again = (
                made.betas[rows, column] * made.t0["std"][session - 1, column] + made.t0["mean"][session - 1, column]
            )
            assert np.allclose(again * 300, raw_h5[:, z, y, x], atol=0.02)
            assert np.allclose(again * 300, raw_nii[x, y, z], atol=0.02)


def test_t0_closed_form_from_train_trials_of_the_session(tiny, tiny_index, tmp_path):
    made = make(tiny, tiny_index, tmp_path)
    table = read_index(tiny_index, "subj01")
    raw = tiny.volumes["subj01"][:, *np.argwhere(tiny.nsdgeneral > 0).T].astype(float) / 300
    for session in (1, 2):
        rows = table.session == session
        train = raw[rows & (table.split == "train")]
        alive = ~made.dropped
        z = (raw[rows] - train.mean(axis=0)) / np.where(alive, train.std(axis=0), 1)
        assert np.allclose(made.betas[rows][:, alive], z[:, alive], atol=1e-4)
    assert np.array_equal(made.t0["fitted_on"], table.split == "train")
    assert made.t0["sessions"].tolist() == [1, 2]


def test_voxel_table_holds_positions_labels_ceilings_and_flags(tiny, tiny_index, tmp_path):
    made = make(tiny, tiny_index, tmp_path)
    roi = tiny.root / "nsddata/ppdata/subj01/func1pt8mm/roi"
    assert set(made.roi_labels) == {"nsdgeneral", "lh.nsdgeneral", "rh.nsdgeneral", "prf-visualrois", "floc-faces"}
    for name, labels in made.roi_labels.items():
        volume = nibabel.load(roi / f"{name}.nii.gz").get_fdata()
        assert labels.tolist() == [volume[tuple(p)] for p in made.ijk]
    assert (made.roi_labels["nsdgeneral"] == 1).all()
    assert not (made.roi_labels["floc-faces"] > 0).any()
    folder = tiny.root / f"nsddata_betas/ppdata/subj01/func1pt8mm/{B3}"
    published = nibabel.load(folder / "ncsnr.nii.gz").get_fdata()
    assert np.array_equal(made.ncsnr_published, published[tuple(made.ijk.T)].astype(np.float32), equal_nan=True)
    assert np.isnan(made.ncsnr_published).any()
    assert made.ijk[made.dropped].tolist() == [list(tiny.constant_voxel)]
    assert not made.betas[:, made.dropped].any()
    assert np.isfinite(made.betas).all()
    assert made.manifest.config["n_dropped"] == 1


def test_ncsnr_comes_from_train_trials_only(larger_store):
    made, table = larger_store
    train = table.split == "train"
    z = made.betas[train].astype(float)
    ids = table.nsd_id[train]
    variances = [z[ids == i].var(axis=0, ddof=1) for i in np.unique(ids) if (ids == i).sum() > 1]
    noise = np.mean(variances, axis=0)
    alive = ~made.dropped
    assert np.allclose(made.ncsnr[alive] ** 2, np.maximum(1 - noise, 0)[alive] / noise[alive], rtol=1e-5)
    assert made.ncsnr[made.dropped].tolist() == [0]


def test_manifest_names_index_split_and_every_session_file(tiny, tiny_index, tmp_path):
    made = make(tiny, tiny_index, tmp_path)
    manifest = index_manifest(tiny_index, "subj01")
    assert made.manifest.inputs["index"] == manifest.content_hash
    assert made.manifest.inputs["split"] == manifest.config["split_hash"]
    folder = f"nsddata_betas/ppdata/subj01/func1pt8mm/{B3}"
    assert {f"{folder}/betas_session01.hdf5", f"{folder}/betas_session02.hdf5"} < set(made.manifest.inputs)
    assert made.manifest.config["volume_shape"] == [6, 8, 5]
    assert sorted(p.name for p in made.folder.iterdir()) == sorted([*FILES, "run.json", "manifest.json"])


def test_an_index_of_fewer_sessions_gives_the_first_rows(tiny, tiny_index, tmp_path):
    index(tiny.root, sessions="1", out=tmp_path / "one")
    one, whole = make(tiny, tmp_path / "one", tmp_path / "a"), make(tiny, tiny_index, tmp_path / "b")
    assert np.array_equal(one.betas, whole.betas[:24])


def test_half_precision_rounds_and_nothing_else(tiny, tiny_index, tmp_path):
    half, full = make(tiny, tiny_index, tmp_path / "a", dtype="float16"), make(tiny, tiny_index, tmp_path / "b")
    assert half.betas.dtype == np.float16
    assert np.array_equal(half.betas, full.betas.astype(np.float16))
    error = half.betas.astype(float) - full.betas
    facts = half.manifest.config
    assert facts["rounding_rms_sd"] == pytest.approx(np.sqrt(np.square(error).mean()), rel=1e-6)
    assert facts["rounding_max_sd"] == pytest.approx(np.abs(error).max(), rel=1e-6)
    assert full.manifest.config["rounding_rms_sd"] == full.manifest.config["rounding_max_sd"] == 0


class Stopped(BaseException):
    """What a kill looks like from inside: nothing catches it."""


@pytest.mark.parametrize("where", ["reading 0", "reading 1", "rows 0", "rows 1", "finish 0", "finish 1", "last move"])
def test_a_run_stopped_anywhere_resumes_to_the_same_bytes(tiny, tiny_index, tmp_path, monkeypatch, where):
    whole = make(tiny, tiny_index, tmp_path / "whole")
    point, after = where.split()
    target = {
        "reading": (nsd_volumes, "read_voxels"),
        "rows": (partial, "write_npz"),  # rows are on disk, their record is not
        "finish": (build, "write_npz" if after == "0" else "_write_voxels"),
        "last": (build, "write_manifest"),
    }[point]
    real, calls = getattr(*target), []

    def stop(*args, **kwargs):
        calls.append(args)
        if len(calls) > (int(after) if point in ("reading", "rows") else 0):
            raise Stopped
        return real(*args, **kwargs)

    monkeypatch.setattr(*target, stop)
    with pytest.raises(Stopped):
        make(tiny, tiny_index, tmp_path / "cut")
    folder = tmp_path / "cut" / "betas" / "subj01"
    with pytest.raises(BadInputError, match="no betas at"):
        BetaStore.open(folder)
    monkeypatch.setattr(*target, real)
    read = []
    monkeypatch.setattr(nsd_volumes, "read_voxels", lambda path, ijk: read.append(path) or reader_read(path, ijk))
    resumed = make(tiny, tiny_index, tmp_path / "cut")
    assert bytes_of(folder) == bytes_of(whole.folder)
    assert resumed.manifest.content_hash == whole.manifest.content_hash
    assert sorted(p.name for p in folder.iterdir()) == sorted([*FILES, "run.json", "manifest.json"])
    # Only what had no record was read again; after the last move nothing is left to go on from.
    assert len(read) == {"reading 0": 2, "reading 1": 1, "rows 0": 2, "rows 1": 1, "last move": 2}.get(where, 0)


reader_read = nsd_volumes.read_voxels


def test_a_partial_run_of_other_inputs_is_not_continued(own_tree, tmp_path, monkeypatch):
    tree, index_root = own_tree
    monkeypatch.setattr(build, "_write_voxels", lambda *a: (_ for _ in ()).throw(Stopped()))
    with pytest.raises(Stopped):
        make(tree, index_root, tmp_path)
    monkeypatch.undo()
    path = tree.root / f"nsddata_betas/ppdata/subj01/func1pt8mm/{B3}/betas_session01.hdf5"
    with h5py.File(path, "r+") as handle:
        handle["betas"][:] = handle["betas"][:][::-1]
    made = make(tree, index_root, tmp_path)
    assert bytes_of(made.folder) == bytes_of(make(tree, index_root, tmp_path / "fresh").folder)


def test_running_again_reads_nothing_and_changes_nothing(tiny, tiny_index, tmp_path, monkeypatch, capsys):
    made = make(tiny, tiny_index, tmp_path)
    before, stamp = bytes_of(made.folder), (made.folder / "manifest.json").read_bytes()
    monkeypatch.setattr(nsd_volumes, "read_voxels", None)
    again = make(tiny, tiny_index, tmp_path)
    assert (bytes_of(again.folder), (made.folder / "manifest.json").read_bytes()) == (before, stamp)
    assert "unchanged" in capsys.readouterr().out


def test_another_store_in_the_way_is_refused_until_overwrite(tiny, tiny_index, tmp_path):
    before = bytes_of(make(tiny, tiny_index, tmp_path).folder)
    with pytest.raises(BadInputError, match=r"made from other inputs or settings.*--overwrite"):
        make(tiny, tiny_index, tmp_path, dtype="float16")
    assert bytes_of(tmp_path / "betas" / "subj01") == before
    assert make(tiny, tiny_index, tmp_path, dtype="float16", overwrite=True).betas.dtype == np.float16


def test_a_dry_run_writes_nothing(tiny, tiny_index, tmp_path, capsys):
    betas(tiny.root, index=tiny_index, out=tmp_path / "b", preproc_out=tmp_path / "p", mask="roi", dry_run=True)
    assert "would read 48 trials" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_damage_of_a_finished_store_is_found(tiny, tiny_index, tmp_path):
    folder = make(tiny, tiny_index, tmp_path).folder
    data = bytearray((folder / "betas.npy").read_bytes())
    data[-3] ^= 8
    (folder / "betas.npy").write_bytes(data)
    with pytest.raises(BadInputError, match="not the array its manifest describes"):
        BetaStore.open(folder, verify=True)
    (folder / "betas.npy").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInputError, match=r"betas\.npy"):
        BetaStore.open(folder)
    voxels = bytearray((folder / "voxels.parquet").read_bytes())
    (folder / "betas.npy").unlink()
    with pytest.raises(BadInputError, match="cannot be read"):
        BetaStore.open(folder)
    voxels[40] ^= 1
    (folder / "voxels.parquet").write_bytes(voxels)
    with pytest.raises(BadInputError, match=r"voxels\.parquet"):
        store.read_parquet(folder / "voxels.parquet")


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ({"subject": "subj02"}, "no index of 'subj02'.*present: subj01"),
        ({"roi": "nsdgenral"}, "no region 'nsdgenral'.*present: floc-faces, .*nsdgeneral"),
        ({"roi": "floc-faces"}, "is empty"),
        ({"space": "func1mm"}, "no region .*present: none"),
        ({"betas_version": "b2"}, f"no betas in .*betas_fithrf; versions present: {B3}"),
        ({"mask": "reliability"}, r"training pictures .* 100 are needed .*--mask roi"),
    ],
)
def test_what_the_tree_does_not_hold_is_refused(own_tree, tmp_path, flags, match):
    refused(*own_tree, tmp_path, match, **flags)


def test_missing_and_damaged_session_files_are_named(own_tree, tmp_path):
    tree, index_root = own_tree
    path = tree.root / f"nsddata_betas/ppdata/subj01/func1pt8mm/{B3}/betas_session02.hdf5"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(tree, index_root, tmp_path, r"betas_session02\.hdf5 is not a whole HDF5 file")
    path.unlink()
    refused(tree, index_root, tmp_path, "no betas of session 2")
    with h5py.File(path, "w") as handle:
        handle["betas"] = np.zeros((23, 5, 8, 6), dtype=np.int16)
    refused(tree, index_root, tmp_path, "has 23 trials, the index lists 24")
    with h5py.File(path, "w") as handle:
        handle["betas"] = np.zeros((24, 6, 8, 5), dtype=np.int16)
    refused(tree, index_root, tmp_path, r"volumes of \(5, 8, 6\), the region is \(6, 8, 5\)")
    path.unlink()
    path.mkdir()
    refused(tree, index_root, tmp_path, r"betas_session02\.hdf5 is a folder, not a file")


@pytest.mark.parametrize("name", ["roi/prf-visualrois", "ncsnr"])
def test_maps_of_another_shape_are_refused(own_tree, tmp_path, name):
    tree, index_root = own_tree
    folder = tree.root / "nsddata/ppdata/subj01/func1pt8mm"
    path = folder / f"{name}.nii.gz"
    if name == "ncsnr":
        path = tree.root / f"nsddata_betas/ppdata/subj01/func1pt8mm/{B3}/ncsnr.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 8, 6), dtype=np.int16), np.eye(4)), path)
    refused(tree, index_root, tmp_path, r"is \(5, 8, 6\), the mask is \(6, 8, 5\)")


def test_nan_betas_are_flagged_when_few_and_refused_when_many(own_tree, tmp_path):
    tree, index_root = own_tree
    folder = tree.root / f"nsddata_betas/ppdata/subj01/func1pt8mm/{B3}"
    x, y, z = (int(i) for i in np.argwhere(tree.nsdgeneral > 0)[0])
    for session in (1, 2):
        path = folder / f"betas_session{session:02d}.hdf5"
        with h5py.File(path) as handle:
            values = handle["betas"][:].astype(np.float32)
        path.unlink()
        values[:, *tree.constant_voxel[::-1]] += np.arange(24)  # the one voxel that may be bad is now the NaN one
        if session == 2:
            values[5, z, y, x] = np.nan
        image = nibabel.Nifti1Image(values.transpose(), np.eye(4))
        nibabel.save(image, folder / f"betas_session{session:02d}.nii.gz")
    made = make(tree, index_root, tmp_path / "few")
    assert made.ijk[made.dropped].tolist() == [[x, y, z]]
    assert not made.betas[:, made.dropped].any()
    assert np.isfinite(made.betas).all()
    values[:, :2] = np.nan
    nibabel.save(nibabel.Nifti1Image(values.transpose(), np.eye(4)), folder / "betas_session02.nii.gz")
    with pytest.raises(BadInputError, match=r"betas_session02\.nii\.gz: .* voxels of the mask are constant or NaN"):
        make(tree, index_root, tmp_path / "many")


def test_a_session_without_train_trials_is_stamped(own_tree, tmp_path, monkeypatch):
    tree, index_root = own_tree
    table = read_index(index_root, "subj01")
    monkeypatch.setattr(build, "read_index", lambda *a: table)
    object.__setattr__(table, "split", np.where((table.session == 2) & (table.split == "train"), "val", table.split))
    made = make(tree, index_root, tmp_path)
    assert made.manifest.config["transductive_sessions"] == [2]
    assert made.t0["transductive"].tolist() == [False, True]
    second = made.betas[24:, ~made.dropped].astype(float)
    assert np.allclose(second.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(second.std(axis=0), 1, atol=1e-5)
    assert any(is_validation(i) for i in table.nsd_id)


def test_a_full_disk_is_refused_before_reading(own_tree, tmp_path, monkeypatch):
    free = type("Usage", (), {"free": 100})()
    monkeypatch.setattr(build.shutil, "disk_usage", lambda path: free)
    monkeypatch.setattr(nsd_volumes, "read_voxels", None)
    refused(*own_tree, tmp_path, "GB free, the betas need", error=ResourceError)


def test_a_second_job_on_the_folder_is_refused(own_tree, tmp_path):
    from fmri_lightning.locks import run_lock

    folder = tmp_path / "out" / "betas" / "subj01"
    with run_lock(folder), pytest.raises(ResourceError, match="in use by process"):
        make(*own_tree, tmp_path / "out")
