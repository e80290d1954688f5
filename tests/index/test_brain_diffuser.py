"""brain-diffuser's arrays: what is read is what went in, and each way in which files can be wrong is caught."""

import shutil

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from fmri_lightning.betas.command import betas
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index import brain_diffuser_checks, published
from fmri_lightning.index.command import index
from fmri_lightning.index.table import index_manifest, read_index
from tests.index.tiny_brain_diffuser import EXPDESIGN, path, write_tiny_brain_diffuser
from tests.index.tiny_nsd import _hashed_tenth, write_tiny_nsd

FMRI = "fmriavg_nsdgeneral"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(tiny NSD tree, brain-diffuser tree of the same experiment)."""
    place = tmp_path_factory.mktemp("tiny")
    tiny = write_tiny_nsd(place / "nsd", sessions_run=(2, 3), n_shared=8, nifti=False, edge_voxels=False)
    return tiny, write_tiny_brain_diffuser(place / "data", tiny)


@pytest.fixture
def tree(whole, tmp_path):
    """A copy that the test may damage."""
    return shutil.copytree(whole[1], tmp_path / "data")


def made(tree, work, subject="subj01", **flags):
    index(tree, source="brain_diffuser", subject=subject, out=work / "index")
    places = {"index": work / "index", "out": work / "betas", "preproc_out": work / "preproc"}
    betas(tree, **places, subject=subject, **{"mask": "roi", **flags})
    return read_index(work / "index", subject), BetaStore.open(work / "betas" / subject, verify=True)


@pytest.mark.parametrize(("subject", "sessions"), [("subj01", 2), ("subj02", 3)])
def test_a_row_for_each_picture_with_the_mean_of_its_trials(whole, tmp_path, subject, sessions):
    tiny, tree = whole
    table, store = made(tree, tmp_path, subject)
    flat, ids = tiny.volumes[subject][:, tiny.nsdgeneral > 0], tiny.nsd_ids[subject]
    assert sorted(table.nsd_id.tolist()) == np.unique(ids).tolist()
    for row, picture in enumerate(table.nsd_id.tolist()):
        mean = flat[ids == picture].astype(np.float64).mean(axis=0).astype(np.float32)
        assert np.array_equal(store.betas[row], mean / np.float32(300))
    assert set(table.n_repeats.tolist()) == {1}
    shared = np.isin(table.nsd_id, tiny.shared)
    held_out = np.array([_hashed_tenth(i) for i in table.nsd_id])
    assert table.split.tolist() == np.where(shared, "test", np.where(held_out, "val", "train")).tolist()
    # The number of a test picture is its rank among all shared ones, as in every index of NSD.
    assert table.trial_id_average[shared].tolist() == np.searchsorted(tiny.shared, table.nsd_id[shared]).tolist()
    assert index_manifest(tmp_path / "index", subject).config["sessions_covered"] == sessions


def test_what_the_arrays_are_is_said(tree, tmp_path, capsys):
    _, store = made(tree, tmp_path, dtype="float16")
    facts = index_manifest(tmp_path / "index", "subj01").config
    assert (facts["normalised"], facts["averaged"], facts["ids_checked_by_captions"]) == (True, True, True)
    told = "skipped, the betas arrived as: averaged over the repeats of each picture, not standardised by session"
    assert store.manifest.config["t0"] == told
    assert f"T0 {told}" in capsys.readouterr().out
    assert {name for name in store.manifest.inputs if name.endswith(".npy")} == {
        f"processed_data/subj01/nsd_{part}_{FMRI}_sub1.npy" for part in ("train", "test")
    }


@pytest.mark.parametrize("mask", ["reliability", "ncsnr"])
def test_a_mask_that_compares_repeats_is_refused_before_anything_is_read(tree, tmp_path, mask):
    with pytest.raises(BadInputError, match=rf"--mask {mask} compares repeats, .*; keep all voxels with --mask roi"):
        made(tree, tmp_path, mask=mask)
    assert not (tmp_path / "betas").exists()


def refused(tree, tmp_path, match, subject="subj01"):
    with pytest.raises(BadInputError, match=match) as caught:
        index(tree, source="brain_diffuser", subject=subject, out=tmp_path / "out" / "index")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").rglob("*.parquet"))


def change(tree, part, kind, content, subject="subj01"):
    file = path(tree, subject, part, kind)
    np.save(file, content(np.load(file)))


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("content", [lambda a: a[:-1], lambda a: np.r_[a, a[:1]]])
def test_a_wrong_row_count_fits_no_number_of_sessions(tree, tmp_path, part, content):
    change(tree, part, FMRI, content)
    refused(tree, tmp_path, r"no number of first sessions shows subj01 so many pictures by .*make the arrays again")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_transposed_array_is_called_so(tree, tmp_path, part):
    change(tree, part, FMRI, np.transpose)
    refused(tree, tmp_path, "they are transposed, a row is a picture")


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("content", [lambda a: np.roll(a, 1, axis=0), np.flipud])
def test_rows_in_another_order_are_caught_by_their_captions(tree, tmp_path, part, content):
    change(tree, part, "cap", content)
    refused(tree, tmp_path, rf"nsd_{part}_cap_sub1\.npy: the captions of \d+ of \d+ rows are not those of the pictures")


def test_ids_shifted_by_a_design_that_counts_otherwise_are_caught(tree, tmp_path):
    design = {k: v for k, v in loadmat(tree / EXPDESIGN).items() if not k.startswith("__")}
    design["subjectim"], design["sharedix"] = design["subjectim"] - 1, design["sharedix"] - 1
    savemat(tree / EXPDESIGN, design)
    refused(tree, tmp_path, "the captions of .* are not those|picture ids count from 1")


def test_files_of_two_subjects_swapped_are_caught_by_their_rows_or_captions(whole, tmp_path):
    tiny = write_tiny_nsd(tmp_path / "nsd", sessions_run=(2, 2), n_shared=8, nifti=False, edge_voxels=False)
    tree = write_tiny_brain_diffuser(tmp_path / "data", tiny)
    for part in ("train", "test"):
        for kind in (FMRI, "cap"):
            one, other = path(tree, "subj01", part, kind), path(tree, "subj02", part, kind)
            a, b = one.read_bytes(), other.read_bytes()
            one.write_bytes(b)
            other.write_bytes(a)
    refused(tree, tmp_path, "of another subject")


def test_betas_of_another_subject_are_caught_by_the_published_voxels(tree, tmp_path, monkeypatch):
    shutil.rmtree(tree / "annots")
    n_voxels = np.load(path(tree, "subj01", "train", FMRI)).shape[1]
    facts = vars(published.SUBJECTS["subj02"]) | {"nsdgeneral": n_voxels}
    monkeypatch.setitem(published.SUBJECTS, "subj02", published.PublishedSubject(**facts))
    refused(tree, tmp_path, rf"subj01: the betas have {n_voxels} voxels, which is subj02; the files were renamed")


def test_one_array_of_another_subject_is_caught_by_its_width(tree, tmp_path):
    change(tree, "test", FMRI, lambda a: a[:, :-1])
    refused(tree, tmp_path, r"train have \d+ voxels, those of test \d+; they are not of one subject")


def test_a_tree_that_claims_to_be_nsd_must_have_nsd_sizes(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(brain_diffuser_checks, "NSD_CATALOGUE", 200)
    refused(tree, tmp_path, "nsdgeneral of NSD's subj01 has 15724")
    n_voxels = np.load(path(tree, "subj01", "train", FMRI)).shape[1]
    facts = vars(published.SUBJECTS["subj01"]) | {"nsdgeneral": n_voxels}
    monkeypatch.setitem(published.SUBJECTS, "subj01", published.PublishedSubject(**facts))
    monkeypatch.setattr(brain_diffuser_checks, "FIRST37", 2)
    refused(tree, tmp_path, r"pictures, the first 37 sessions of NSD have .*8859.*982")


def test_test_pictures_that_differ_between_subjects_are_caught(whole, tmp_path):
    tiny = write_tiny_nsd(tmp_path / "nsd", sessions_run=(2, 2), n_shared=8, nifti=False, edge_voxels=False)
    tree = write_tiny_brain_diffuser(tmp_path / "data", tiny)
    shutil.rmtree(tree / "annots")
    index(tree, source="brain_diffuser", out=tmp_path / "index")
    change(tree, "test", "cap", np.flipud, subject="subj02")
    refused(tree, tmp_path, "and that of subj01 have as many rows and other captions")


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_value_that_is_no_number_stops_the_betas(tree, tmp_path, part, value):
    def spoil(a):
        a[1, 3] = value
        return a

    change(tree, part, FMRI, spoil)
    row = 1 if part == "train" else 1 + len(np.load(path(tree, "subj01", "train", FMRI)))
    with pytest.raises(BadInputError, match=rf"betas of 1 pictures hold NaN or infinity, first row {row} of"):
        made(tree, tmp_path)
    assert not (tmp_path / "betas").exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (lambda a: a.astype(np.int16), r"is int16 .*, expected float64 \(pictures, voxels\)"),
        (lambda a: a[None], r"is float64 \(1, .*, expected float64 \(pictures, voxels\)"),
    ],
)
def test_an_array_of_another_kind_is_named(tree, tmp_path, content, match):
    change(tree, "train", FMRI, content)
    refused(tree, tmp_path, match)


@pytest.mark.parametrize("kind", [FMRI, "cap"])
def test_an_array_cut_off_is_named(tree, tmp_path, kind):
    file = path(tree, "subj01", "train", kind)
    file.write_bytes(file.read_bytes()[:-1000])
    refused(tree, tmp_path, rf"nsd_train_{kind}_sub1\.npy cannot be mapped as an array")


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_array_that_is_not_there_is_named(tree, tmp_path, part):
    path(tree, "subj01", part, FMRI).unlink()
    refused(tree, tmp_path, rf"nsd_{part}_{FMRI}_sub1\.npy is not there as a file; it is what brain-diffuser's")


def test_the_design_must_be_there_and_nsds(tree, tmp_path):
    design = {k: v for k, v in loadmat(tree / EXPDESIGN).items() if not k.startswith("__")}
    savemat(tree / EXPDESIGN, {**design, "basiccnt": np.zeros((3, 5))})
    refused(tree, tmp_path, "basiccnt has 5 sessions, which do not divide the 72 trials")
    (tree / EXPDESIGN).unlink()
    refused(tree, tmp_path, r"nsd_expdesign\.mat is missing; it comes with the NSD download")


def test_without_captions_nothing_is_claimed(tree, tmp_path):
    for part in ("train", "test"):
        path(tree, "subj01", part, "cap").unlink()
    index(tree, source="brain_diffuser", out=tmp_path / "index")
    assert index_manifest(tmp_path / "index", "subj01").config["ids_checked_by_captions"] is False


def test_flags_that_mean_nothing_here_are_refused(tree, tmp_path):
    with pytest.raises(UsageError, match="--sessions 2 cannot be had from brain_diffuser"):
        index(tree, source="brain_diffuser", sessions="2", out=tmp_path / "index")
    with pytest.raises(BadInputError, match="no region 'V1' in brain-diffuser's arrays"):
        made(tree, tmp_path, roi="V1")
    with pytest.raises(BadInputError, match=r"no subject 'subj05' under .*; present: subj01, subj02"):
        index(tree, source="brain_diffuser", subject="subj05", out=tmp_path / "index")


def test_arrays_that_changed_after_the_index_are_refused(whole, tree, tmp_path):
    index(tree, source="brain_diffuser", subject="subj02", out=tmp_path / "index")
    shutil.rmtree(tree / "processed_data/subj02")
    shorter = write_tiny_nsd(tmp_path / "nsd", sessions_run=(2, 2), n_shared=8, nifti=False, edge_voxels=False)
    other = write_tiny_brain_diffuser(tmp_path / "other", shorter)
    shutil.copytree(other / "processed_data/subj02", tree / "processed_data/subj02")
    places = {"index": tmp_path / "index", "out": tmp_path / "betas", "preproc_out": tmp_path / "preproc"}
    with pytest.raises(BadInputError, match="are not those that the index was made from"):
        betas(tree, **places, subject="subj02", mask="roi")
