"""One simulated brain read from three layouts: the same picture and vertex give the same betas, within what the
layout keeps. NSD's volumes round to 1/300 percent signal change, fsaverage keeps float32, the challenge keeps means of
z-scores."""

import numpy as np
import pytest

from tests.betas.layouts import columns_of, read_layouts, rows_of

SIZES = {"shared": 24, "unique": 136, "sessions": 8, "nsdgeneral_voxels": 200, "size_px": 16}
ROUNDING_PSC = 0.5 / 300
TRIALS = 60


@pytest.fixture(scope="module", params=["subj01", "subj02"])
def brain(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("layouts")
    readings = read_layouts(folder, request.param, **SIZES)
    return readings, folder / "nsd/simulated_truth" / request.param


def joined(brain, a, b):
    readings, truth = brain
    left, right = columns_of(readings[a], readings[b], truth)
    return readings[a].raw()[:, left], readings[b].raw()[:, right]


def test_the_surface_is_the_volume_before_it_was_rounded(brain):
    readings, _ = brain
    assert readings["volume"].table.nsd_id.tolist() == readings["fsaverage"].table.nsd_id.tolist()
    surface, volume = joined(brain, "fsaverage", "volume")
    assert surface.shape[1] > 190
    has_value = np.isfinite(surface)
    assert has_value.mean() > 0.99
    clipped = np.abs(volume) >= 32767 / 300
    error = np.abs(surface.astype(np.float64) - volume)[has_value & ~clipped]
    assert error.max() <= ROUNDING_PSC + np.spacing(np.float32(110))
    assert error.max() > 0.8 * ROUNDING_PSC


def z_scores(psc, error_psc):
    """Z-scores by session, and how far an error of each beta can move them.

    The mean moves by the error at most and so does the deviation (it is a norm), so that (x - m) / s moves by
    2 e / s and by |z| e / s.
    """
    z, moved = np.zeros(psc.shape), np.zeros(psc.shape)
    for start in range(0, len(psc), TRIALS):
        rows = slice(start, start + TRIALS)
        spread = psc[rows].std(axis=0)
        safe = np.where(spread > 0, spread, 1)
        z[rows] = np.where(spread > 0, (psc[rows] - psc[rows].mean(axis=0)) / safe, 0)
        moved[rows] = error_psc * (2 + np.abs(z[rows])) / np.maximum(safe - error_psc, 1e-9)
    return z, moved


@pytest.mark.parametrize("space", ["fsaverage", "volume"])
def test_the_challenges_means_are_those_of_the_trials(brain, space):
    readings, truth = brain
    challenge, trials = readings["algonauts"], readings[space]
    left, right = columns_of(challenge, trials, truth)
    found, psc = challenge.raw()[:, left], trials.raw()[:, right].astype(np.float64)
    assert len(left) > 190
    whole = ~(np.abs(psc) >= 32767 / 300).any(axis=0)
    z, moved = z_scores(psc, ROUNDING_PSC if space == "volume" else 0.0)
    border = int(trials.table.session.max() - 3) * TRIALS
    largest = 0.0
    for row, of_trials in enumerate(rows_of(trials, challenge.table.nsd_id)):
        used = of_trials[of_trials < border] if challenge.table.session[row] == 1 else of_trials
        assert len(used)
        tolerance = moved[used].mean(axis=0) + np.spacing(np.float32(np.abs(z[used]).max()))
        error = np.abs(found[row] - z[used].mean(axis=0))
        assert (error[whole] <= tolerance[whole]).all()
        largest = max(largest, error[whole].max())
    # The bound is no empty one: a shift by one trial, one column or one picture breaks it by far.
    assert largest < 0.05
    assert np.abs(found[0] - z[rows_of(trials, challenge.table.nsd_id[:1])[0] - 1].mean(axis=0)).max() > 0.5
    assert np.abs(np.roll(found[0], 1) - z[rows_of(trials, challenge.table.nsd_id[:1])[0]].mean(axis=0)).max() > 0.5


def test_stores_hold_what_was_read(brain):
    readings, _ = brain
    for name in ("volume", "fsaverage"):
        one = readings[name]
        session = np.searchsorted(one.store.t0["sessions"], one.table.session)
        alive = ~one.store.dropped
        back = one.store.betas * one.store.t0["std"][session] + one.store.t0["mean"][session]
        scale = np.abs(one.raw()[:, alive]).max(axis=0)
        assert (np.abs(back - one.raw())[:, alive] <= 4 * np.spacing(scale.astype(np.float32))).all()
    challenge = readings["algonauts"]
    assert np.array_equal(challenge.store.betas, challenge.raw())
