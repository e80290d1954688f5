"""One simulated brain from NSD's, MindEye1's and brain-diffuser's files: equal but for what a layout loses."""

import shutil

import numpy as np
import pytest

from fmri_lightning.betas.sources import open_source
from fmri_lightning.generation.plan import rows_of_test_set
from fmri_lightning.index.table import index_manifest, sessions_covered
from tests.betas.one_brain import (
    HALF_EPSILON,
    HALF_TINY,
    LAYOUTS,
    SINGLE_EPSILON,
    picture_means,
    picture_rows,
    read_layouts,
    stored_int16,
    write_layouts,
)

SIZES = {"shared": 24, "unique": 96, "sessions": 6, "nsdgeneral_voxels": 200, "size_px": 16}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("one_brain")


@pytest.fixture(scope="module")
def roots(place):
    return write_layouts(place / "roots", **SIZES)


@pytest.fixture(scope="module", params=["subj01", "subj02"])
def found(request, place, roots):
    """Subject 2 ran two sessions fewer: it has pictures that were shown once, twice, three times or never."""
    return request.param, read_layouts(roots, place / request.param, request.param)


def session_scores(int16):
    """(sessions, trials, voxels) → z-scores by all trials of the session, and the deviations, float64."""
    values = int16.astype(np.float64)
    deviation = values.std(axis=1, keepdims=True)
    # Compared, not subtracted: the span of a clipped voxel does not fit into int16.
    moves = int16.max(axis=1, keepdims=True) > int16.min(axis=1, keepdims=True)
    return np.where(moves, (values - values.mean(axis=1, keepdims=True)) / np.where(moves, deviation, 1), 0), deviation


def test_mindeye1_holds_the_session_scores_of_nsd_to_half_precision(roots, found):
    subject, read = found
    nsd, ours = read["nsd"].table, read["mindeye1"]
    z, _ = session_scores(stored_int16(roots["nsd"], subject))
    z = z.reshape(-1, z.shape[-1])
    seen = 0
    theirs = picture_rows(nsd)
    for picture, rows in picture_rows(ours.table).items():
        expected = z[theirs[picture]]
        assert len(rows) == len(expected)
        difference = np.abs(ours.store.betas[rows].astype(np.float64) - expected)
        assert (difference <= HALF_EPSILON * np.abs(expected) + HALF_TINY).all()
        seen += len(rows)
    assert seen == len(nsd)


def test_mindeye1_agrees_with_what_our_nsd_reader_reads(roots, place, found):
    """Percent signal change in single precision: each value is off by e at most, mean and deviation too."""
    subject, read = found
    nsd, ours = read["nsd"].table, read["mindeye1"]
    manifest = index_manifest(place / subject / "nsd" / "index", subject)
    source = open_source(manifest, nsd, roots["nsd"], subject, "func1pt8mm", "b3", "nsdgeneral")
    psc = np.stack([source.read(s, nsd.beta_index[nsd.session == s]) for s in np.unique(nsd.session).tolist()])
    z, deviation = session_scores(psc)
    e = SINGLE_EPSILON * np.abs(psc).max(axis=1, keepdims=True)
    slack = (2 + np.abs(z)) * e / np.where(deviation > 0, deviation, 1)
    z, slack = z.reshape(-1, z.shape[-1]), slack.reshape(-1, z.shape[-1])
    for picture, rows in picture_rows(ours.table).items():
        trials = np.flatnonzero(nsd.nsd_id == picture)
        allowed = (HALF_EPSILON * np.abs(z[trials]) + HALF_TINY) + slack[trials] * (1 + HALF_EPSILON)
        assert (np.abs(ours.store.betas[rows].astype(np.float64) - z[trials]) <= allowed).all()


def test_brain_diffuser_holds_the_means_of_nsds_integers_exactly(roots, found):
    subject, read = found
    int16 = stored_int16(roots["nsd"], subject)
    means = picture_means(read["nsd"].table, int16.reshape(-1, int16.shape[-1]))
    ours = read["brain_diffuser"]
    assert sorted(means) == sorted(ours.table.nsd_id.tolist())
    constant = int16.max(axis=(0, 1)) == int16.min(axis=(0, 1))
    assert constant.sum() == 1
    assert ours.store.dropped.tolist() == constant.tolist()
    for row, picture in enumerate(ours.table.nsd_id.tolist()):
        expected = means[picture].astype(np.float32) / np.float32(300)
        assert np.array_equal(ours.store.betas[row][~constant], expected[~constant])


def test_voxels_are_in_one_order(found):
    """Over pictures, each voxel of a layout is most like the same voxel of the others."""
    _, read = found
    means = {name: picture_means(one.table, one.store.betas) for name, one in read.items()}
    pictures = sorted(set.intersection(*(set(of_layout) for of_layout in means.values())))
    alive = ~np.any([one.store.dropped for one in read.values()], axis=0)
    stacked = {name: np.stack([of[i] for i in pictures])[:, alive] for name, of in means.items()}
    n = int(alive.sum())
    for name in LAYOUTS[1:]:
        across = np.corrcoef(stacked["nsd"].T, stacked[name].T)[:n, n:]
        assert (across.argmax(axis=1) == np.arange(n)).all()
        assert (across.argmax(axis=0) == np.arange(n)).all()


def test_pictures_and_test_split_are_the_same(found):
    _, read = found
    sets = {name: set(one.table.nsd_id.tolist()) for name, one in read.items()}
    tests = {name: set(one.table.of_split("test").nsd_id.tolist()) for name, one in read.items()}
    for name in LAYOUTS:
        assert sets[name] == sets["nsd"]
        assert tests[name] == tests["nsd"]
    nsd, averaged = read["nsd"].table, read["brain_diffuser"].table
    assert dict(zip(averaged.nsd_id.tolist(), averaged.split.tolist(), strict=True)) == dict(
        zip(nsd.nsd_id.tolist(), nsd.split.tolist(), strict=True)
    )
    numbers = {int(i): int(t) for i, t in zip(nsd.nsd_id, nsd.trial_id_average, strict=True)}
    assert [numbers[i] for i in averaged.nsd_id.tolist()] == averaged.trial_id_average.tolist()


def test_a_wrong_pairing_would_be_seen(roots, found):
    """The tolerances are narrow: neighbouring trials, pictures and voxels are all outside of them."""
    subject, read = found
    z, _ = session_scores(stored_int16(roots["nsd"], subject))
    z = z.reshape(-1, z.shape[-1])
    ours = read["mindeye1"]
    picture, rows = next(iter(picture_rows(ours.table).items()))
    trials = np.flatnonzero(read["nsd"].table.nsd_id == picture)
    allowed = HALF_EPSILON * np.abs(z[trials]) + HALF_TINY
    for wrong in (z[(trials + 1) % len(z)], np.roll(z[trials], 1, axis=1)):
        assert (np.abs(ours.store.betas[rows].astype(np.float64) - wrong) <= allowed).mean() < 0.05


def test_of_forty_sessions_the_older_releases_hold_37(tmp_path):
    sizes = {"shared": 16, "unique": 144, "sessions": 40, "nsdgeneral_voxels": 120, "size_px": 16, "subjects": "1"}
    roots = write_layouts(tmp_path / "roots", **sizes)
    shutil.copytree(roots["brain_diffuser"] / "nsddata", roots["mindeye1"] / "nsddata")
    read = read_layouts(roots, tmp_path / "work", "subj01")
    nsd = read["nsd"].table
    early = nsd.session <= 37
    int16 = stored_int16(roots["nsd"], "subj01")[:37]
    means = picture_means(nsd.where(early), int16.reshape(-1, int16.shape[-1]))
    averaged = read["brain_diffuser"]
    assert sorted(means) == sorted(averaged.table.nsd_id.tolist())
    assert len(means) < len(np.unique(nsd.nsd_id))
    alive = ~averaged.store.dropped
    for row, picture in enumerate(averaged.table.nsd_id.tolist()):
        expected = means[picture].astype(np.float32) / np.float32(300)
        assert np.array_equal(averaged.store.betas[row][alive], expected[alive])
    assert len(read["mindeye1"].table) == early.sum()
    for name in LAYOUTS[1:]:
        root = tmp_path / "work" / name / "index"
        covered = sessions_covered(index_manifest(root, "subj01"))
        assert covered == 37
        # Test set 982 is what these files hold, and may be called so.
        assert rows_of_test_set("982", read[name].table, root, covered) is None
