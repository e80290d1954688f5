"""Brain correlation: parity with numpy, intervals of the right width, regions from NSD's labels."""

import numpy as np
import pytest

from fmri_lightning.evaluation.brain.regions import WHOLE, regions
from fmri_lightning.evaluation.brain.voxel_model import correlations, on_grid
from fmri_lightning.metrics.bootstrap import bootstrap_interval


def responses(n=150, v=12, seed=0):
    rng = np.random.default_rng(seed)
    measured = rng.normal(2.0, 3.0, (n, v))
    predicted = measured + rng.normal(0, np.linspace(0.5, 9, v), (n, v))
    return predicted.astype(np.float32), measured.astype(np.float32)


def test_r_is_numpys_and_contributions_average_to_it() -> None:
    predicted, measured = responses()
    r, contribution = correlations(predicted, measured)
    expected = [np.corrcoef(p, m)[0, 1] for p, m in zip(predicted.T, measured.T, strict=True)]
    assert r == pytest.approx(expected, abs=1e-6)
    assert contribution.mean(axis=0) == pytest.approx(r, abs=1e-12)


def test_the_interval_is_that_of_correlations_computed_anew() -> None:
    predicted, measured = responses()
    _, contribution = correlations(predicted, measured)
    found = bootstrap_interval(contribution.mean(axis=1), n_resamples=2000, seed=1)
    rng, means = np.random.default_rng(5), []
    for _ in range(2000):
        rows = rng.integers(0, len(predicted), len(predicted))
        means.append(correlations(predicted[rows], measured[rows])[0].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.1 * (high - low))
    assert found.high == pytest.approx(high, abs=0.1 * (high - low))


def test_a_voxel_that_does_not_vary_is_undefined() -> None:
    predicted, measured = responses()
    predicted[:, 3] = 1.0
    r, _ = correlations(predicted, measured)
    assert np.isnan(r[3])
    assert np.isfinite(np.delete(r, 3)).all()


def test_shuffled_stimuli_do_not_correlate() -> None:
    predicted, measured = responses(n=1000)
    r, _ = correlations(predicted[np.random.default_rng(0).permutation(1000)], measured)
    assert np.abs(r).max() < 0.15


def test_regions_join_dorsal_and_ventral_parts_and_leave_dropped_voxels_out() -> None:
    labels = {"prf-visualrois": np.repeat(np.arange(-1, 8), 20).astype(np.int16)}
    usable = np.ones(180, bool)
    usable[40] = False
    found = regions(labels, usable)
    assert found[WHOLE].sum() == 179
    assert {name: int(members.sum()) for name, members in found.items() if name != WHOLE} == {
        "V1": 39,
        "V2": 40,
        "V3": 40,
        "hV4": 20,
    }
    assert list(regions(labels, usable, min_voxels=30)) == [WHOLE, "V1", "V2", "V3"]


def test_maps_are_averaged_over_a_grid() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    expected = maps.reshape(2, 3, 4, 2, 4, 2).mean(axis=(3, 5)).reshape(2, -1)
    assert on_grid(maps.reshape(2, -1), channels=3) == pytest.approx(expected, abs=1e-6)
