import h5py
import numpy as np
import pytest

from fmri_lightning.betas.command import betas
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index import published
from fmri_lightning.index.command import index
from fmri_lightning.index.table import index_manifest, read_index
from tests.index.tiny_mindeye import write_tiny_mindeye
from tests.index.tiny_nsd import write_tiny_nsd

TRAIN = "wds/subj01/train"
BETAS = "betas_all_subj01_fp32_renorm.hdf5"


@pytest.fixture
def tree(tmp_path):
    """A tiny MindEye2 tree that the test may damage."""
    return write_tiny_mindeye(tmp_path / "mindeye2", write_tiny_nsd(tmp_path / "nsd", nifti=False, edge_voxels=False))


def made(tree, tmp_path, **flags):
    index(tree, source="mindeye2", out=tmp_path / "index")
    places = {"index": tmp_path / "index", "out": tmp_path / "betas", "preproc_out": tmp_path / "preproc"}
    betas(tree, **places, mask="roi", **flags)
    return BetaStore.open(tmp_path / "betas" / "subj01", verify=True)


def test_what_the_files_do_not_know_is_left_out_and_said(tree, tmp_path):
    store = made(tree, tmp_path)
    table = read_index(tmp_path / "index", "subj01")
    assert set(table.coco_id.tolist()) == {-1}
    assert set(table.coco_split.tolist()) == {""}
    assert (store.ijk == -1).all()
    assert np.isnan(store.ncsnr_published).all()
    facts = store.manifest.config
    assert (facts["source"], facts["roi"]) == ("mindeye2", "nsdgeneral")
    assert facts["arrived_as"].startswith("z-score per voxel over all sessions")
    assert index_manifest(tmp_path / "index", "subj01").config["n_catalogue"] == 200


def test_a_published_region_keeps_its_columns(tree, tmp_path):
    whole = made(tree, tmp_path / "whole")
    part = made(tree, tmp_path / "part", roi="V1")
    assert np.array_equal(part.betas, whole.betas[:, ::3])
    assert set(part.roi_labels) == {"V1", "nsdgeneral"}
    assert part.roi_labels["V1"].tolist() == [1] * part.betas.shape[1]


def test_a_missing_mask_file_only_takes_the_regions_away(tree, tmp_path):
    (tree / "brain_region_masks.hdf5").unlink()
    assert set(made(tree, tmp_path).roi_labels) == {"nsdgeneral"}


def refused(tree, tmp_path, match, **flags):
    with pytest.raises(BadInputError, match=match) as caught:
        made(tree, tmp_path / "out", **flags)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "betas").exists()
    assert (
        not list((tmp_path / "out").rglob("*.parquet")) or "region" in str(caught.value) or BETAS in str(caught.value)
    )


def cut(path, keep=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("COCO_73k_subj_indices.hdf5", r"COCO_73k_subj_indices\.hdf5"),
        ("shared1000.npy", r"shared1000\.npy cannot be read as an array"),
        ("test_73k_images.npy", r"test_73k_images\.npy cannot be read as an array"),
        (f"{TRAIN}/0.tar", r"train/0\.tar is damaged or cut off"),
        ("wds/subj01/new_test/0.tar", r"new_test/0\.tar is damaged or cut off"),
        (BETAS, r"fp32_renorm\.hdf5 is not a whole HDF5 file"),
        ("brain_region_masks.hdf5", r"brain_region_masks\.hdf5 cannot be read"),
    ],
)
def test_a_file_cut_off_is_named(tree, tmp_path, name, match):
    cut(tree / name, 0.52)
    refused(tree, tmp_path, match)


@pytest.mark.parametrize(
    "name", ["COCO_73k_subj_indices.hdf5", "shared1000.npy", f"{TRAIN}/1.tar", "wds/subj01/new_test/0.tar", BETAS]
)
@pytest.mark.parametrize("damage", ["missing", "a folder"])
def test_a_file_that_is_not_there_is_named(tree, tmp_path, name, damage):
    (tree / name).unlink()
    if damage == "a folder":
        (tree / name).mkdir()
    refused(tree, tmp_path, (tree / name).stem.split("_")[0] if name == BETAS else (tree / name).name.split(".")[0])


def test_a_tar_that_lost_samples_is_caught_by_the_count(tree, tmp_path):
    path = tree / TRAIN / "0.tar"
    data = path.read_bytes()
    # A sample is two members: a header of 512 bytes and the array, padded to 512.
    behav, past = 512 + 512, 512 + -(-(128 + 15 * 17 * 8) // 512) * 512
    path.write_bytes(data[: 2 * (behav + past)] + bytes(1024))
    refused(tree, tmp_path, r"session 1 has \d+ trials, others 24; cut off\?")


def test_a_pickled_array_is_refused(tree, tmp_path):
    np.save(tree / "shared1000.npy", np.array([True, None], dtype=object), allow_pickle=True)
    refused(tree, tmp_path, r"shared1000\.npy cannot be read as an array .*allow_pickle")


def test_ids_instead_of_a_mask_are_refused(tree, tmp_path):
    np.save(tree / "shared1000.npy", np.arange(6))
    refused(tree, tmp_path, r"shared1000\.npy is int64 \(6,\), expected a mask, bool")


def test_an_id_out_of_range_is_refused(tree, tmp_path):
    with h5py.File(tree / "COCO_73k_subj_indices.hdf5", "r+") as handle:
        handle["subj01"][3] = 200
    refused(tree, tmp_path, r"ids of subj01 go from \d+ to 200, shared1000\.npy has 200 pictures")


def test_what_the_release_does_not_hold_is_refused(tree, tmp_path):
    with pytest.raises(BadInputError, match="has no 'subj05'; present: subj01, subj02"):
        index(tree, source="mindeye2", subject="subj05", out=tmp_path / "index")
    refused(tree, tmp_path, r"no region 'V9' in .*; present: V1, nsdgeneral", roi="V9")
    with pytest.raises(UsageError, match="--split_file and --normalised go with --source arrays"):
        index(tree, source="mindeye2", normalised=True, out=tmp_path / "index")


def test_betas_of_another_layout_are_refused(tree, tmp_path):
    (tree / BETAS).unlink()
    with h5py.File(tree / BETAS, "w") as handle:
        handle["betas"] = np.zeros((48, 5, 4), dtype=np.int16)
    refused(tree, tmp_path, r"betas is int16 \(48, 5, 4\), expected float \(trials, voxels\)")
    with h5py.File(tree / BETAS, "w") as handle:
        handle["betas"] = np.zeros((47, 5), dtype=np.float32)
    refused(tree, tmp_path, "has 47 trials, the index lists 48")


def test_a_release_that_claims_to_be_nsd_must_have_nsd_sizes(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(published, "NSD_CATALOGUE", 200)
    refused(tree, tmp_path, "have 2 sessions of 24 trials, NSD has 40 of 750")


def test_first_sessions_are_the_first_rows(tree, tmp_path):
    index(tree, source="mindeye2", sessions="1", out=tmp_path / "one")
    index(tree, source="mindeye2", out=tmp_path / "all")
    one, whole = read_index(tmp_path / "one", "subj01"), read_index(tmp_path / "all", "subj01")
    assert one.nsd_id.tolist() == whole.nsd_id[:24].tolist()
    assert one.trial_id_single.tolist() == whole.trial_id_single[:24].tolist()
