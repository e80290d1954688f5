"""Facts of brain-diffuser's files, read back by numpy and scipy, and their agreement with the NSD tree."""

import h5py
import numpy as np
import pytest
from scipy.io import loadmat

from fmri_lightning.simulate.command import simulate

SMALL = {"shared": 24, "unique": 96, "sessions": 6, "nsdgeneral_voxels": 200, "size_px": 32}
SESSIONS = {1: 6, 2: 4}
PARTS = ("train", "test")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulate") / "data"
    simulate(root, layout="brain_diffuser", **SMALL)
    return root


def array(root, subject, part, kind):
    return np.load(root / f"processed_data/subj{subject:02d}/nsd_{part}_{kind}_sub{subject}.npy")


def expected_ids(tree, subject):
    """Pictures by part in the order of their first showing, counted by a loop."""
    shared = set(tree.expdesign()["sharedix"][0].astype(int) - 1)
    ids = {part: [] for part in PARTS}
    for picture in tree.nsd_ids(subject)[: 60 * SESSIONS[subject]].tolist():
        part = ids["test" if picture in shared else "train"]
        if picture not in part:
            part.append(picture)
    return ids


def test_the_root_holds_the_published_names_and_nothing_else(root):
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    kinds = ("fmriavg_nsdgeneral", "stim", "cap")
    assert files == {
        *(
            f"processed_data/subj{s:02d}/nsd_{part}_{kind}_sub{s}.npy"
            for s in (1, 2)
            for part in PARTS
            for kind in kinds
        ),
        *("annots/COCO_73k_annots_curated.npy", "nsddata/experiments/nsd/nsd_expdesign.mat"),
        *("SIMULATED.json", "stimulus_categories.csv"),
    }


def test_the_design_is_that_of_the_nsd_tree(root, tree):
    ours, theirs = loadmat(root / "nsddata/experiments/nsd/nsd_expdesign.mat"), tree.expdesign()
    for name in ("masterordering", "subjectim", "sharedix", "basiccnt", "stimpattern"):
        assert np.array_equal(ours[name], theirs[name])


@pytest.mark.parametrize("subject", [1, 2])
@pytest.mark.parametrize("part", PARTS)
def test_rows_are_means_of_stored_integers_in_order_of_first_showing(root, tree, subject, part):
    mask = tree.volume(subject, "roi/nsdgeneral") > 0
    volumes = np.concatenate([tree.betas(subject, s + 1) for s in range(SESSIONS[subject])])
    flat = volumes.transpose(0, 3, 2, 1)[:, mask].astype(np.int64)
    shown, ids = tree.nsd_ids(subject)[: len(flat)], expected_ids(tree, subject)[part]
    found = array(root, subject, part, "fmriavg_nsdgeneral")
    assert found.dtype == np.float64
    assert found.shape == (len(ids), 200)
    for row, picture in enumerate(ids):
        trials = flat[shown == picture]
        assert np.array_equal(found[row], trials.sum(axis=0) / len(trials))


def test_rows_are_not_sorted_and_test_pictures_come_in_one_order_for_all(root, tree):
    ids = {subject: expected_ids(tree, subject)["test"] for subject in (1, 2)}
    assert ids[1] != sorted(ids[1])
    assert ids[1][: len(ids[2])] == ids[2]
    assert np.array_equal(array(root, 1, "test", "cap")[: len(ids[2])], array(root, 2, "test", "cap"))


@pytest.mark.parametrize("part", PARTS)
def test_pictures_and_captions_are_those_of_the_rows(root, tree, part):
    ids = expected_ids(tree, 2)[part]
    with h5py.File(tree.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        brick = file["imgBrick"][...]
    pictures = array(root, 2, part, "stim")
    assert pictures.dtype == np.float64
    assert np.array_equal(pictures, brick[ids])
    captions, table = array(root, 2, part, "cap"), np.load(root / "annots/COCO_73k_annots_curated.npy")
    assert captions.dtype.kind == "U"
    assert captions.shape == (len(ids), 5)
    assert np.array_equal(captions, table[ids])


def test_same_seed_same_bytes(root, tmp_path, monkeypatch):
    import time

    later = time.time() + 86_400 * 400
    monkeypatch.setattr(time, "time", lambda: later)
    simulate(tmp_path / "again", layout="brain_diffuser", **SMALL)
    first, second = (
        {p.relative_to(place): p.read_bytes() for p in place.rglob("*") if p.is_file()}
        for place in (root, tmp_path / "again")
    )
    assert first == second


def test_dry_run_foretells_the_bytes(root, tmp_path, capsys):
    simulate(tmp_path / "a", layout="brain_diffuser", **SMALL, dry_run=True)
    out = capsys.readouterr().out
    assert "subj02: 4 sessions, 240 trials, at most 120 pictures of 200 voxels" in out
    written = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    # Subject 2 never saw 15 of its 120 pictures.
    assert float(out.split("together about ")[1].split(" MB")[0]) == pytest.approx(written / 1e6, abs=1.0)
