"""Bootstrap intervals against scipy, coverage, and blocks of repeats."""

import numpy as np
import pytest
from scipy import stats

from fmri_lightning.metrics.bootstrap import bootstrap_interval


def test_equals_scipy_percentile_bootstrap() -> None:
    scores = np.random.default_rng(0).gamma(2.0, size=80)
    ours = bootstrap_interval(scores, n_resamples=20_000)
    theirs = stats.bootstrap(
        (scores,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    standard_error = scores.std() / np.sqrt(80)
    assert ours.value == pytest.approx(scores.mean(), abs=1e-15)
    assert ours.low == pytest.approx(theirs.low, abs=0.1 * standard_error)
    assert ours.high == pytest.approx(theirs.high, abs=0.1 * standard_error)


def test_covers_about_95_percent() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(1000):
        interval = bootstrap_interval(rng.random(60), n_resamples=500, seed=1000 + trial)
        covered += interval.low <= 0.5 <= interval.high
    assert 0.925 <= covered / 1000 <= 0.97


def test_repeats_are_one_block() -> None:
    scores = np.random.default_rng(3).random(50)
    single = bootstrap_interval(scores)
    tripled = bootstrap_interval(np.repeat(scores, 3), ids=np.repeat(np.arange(50), 3))
    assert (tripled.low, tripled.high) == pytest.approx((single.low, single.high), abs=1e-12)
    naive = bootstrap_interval(np.repeat(scores, 3))
    assert (naive.high - naive.low) < 0.7 * (tripled.high - tripled.low)


def test_uneven_blocks_weigh_by_their_items() -> None:
    scores, ids = np.array([0.0, 0.0, 0.0, 1.0]), np.array([5, 5, 5, 9])
    interval = bootstrap_interval(scores, ids)
    # The resamples are {5,5}, {5,9}, {9,5}, {9,9} with means 0, 1/4, 1/4, 1.
    assert interval == pytest.approx((0.25, 0.0, 1.0))


def test_median_and_degenerate_scores() -> None:
    ranks = np.array([1, 1, 2, 3, 50])
    interval = bootstrap_interval(ranks, statistic="median")
    assert interval == (2, 1, 50)
    assert bootstrap_interval(np.full(7, 0.25)) == (0.25, 0.25, 0.25)


def test_same_seed_same_bounds() -> None:
    scores = np.random.default_rng(4).random(30)
    assert bootstrap_interval(scores, seed=3) == bootstrap_interval(scores, seed=3)
    assert bootstrap_interval(scores, seed=3) != bootstrap_interval(scores, seed=4)


def test_nan_and_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        bootstrap_interval(np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match="n > 0"):
        bootstrap_interval(np.array([]))
