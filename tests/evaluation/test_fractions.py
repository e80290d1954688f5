"""The share of the way from null to ceiling: closed forms, paired resampling, and where it is not defined."""

import numpy as np
import pytest

from fmri_lightning.evaluation.fractions import fraction_of_ceiling

IDS = np.arange(80)


def made(seed=0):
    rng = np.random.default_rng(seed)
    null = rng.normal(0.5, 0.1, 80)
    return null, null + rng.uniform(0.2, 0.4, 80)


def test_a_fixed_share_of_every_way_is_that_share_without_spread() -> None:
    null, ceiling = made()
    found = fraction_of_ceiling(null + 0.6 * (ceiling - null), null, ceiling, IDS)
    assert (found.value, found.low, found.high) == pytest.approx((0.6, 0.6, 0.6), abs=1e-12)


def test_the_ends_are_0_and_1() -> None:
    null, ceiling = made()
    assert fraction_of_ceiling(null, null, ceiling, IDS).value == pytest.approx(0.0, abs=1e-12)
    assert fraction_of_ceiling(ceiling, null, ceiling, IDS).value == pytest.approx(1.0, abs=1e-12)


def test_a_distance_falls_towards_its_ceiling() -> None:
    null, ceiling = made()
    found = fraction_of_ceiling(-(null + 0.25 * (ceiling - null)), -null, -ceiling, IDS)
    assert found.value == pytest.approx(0.25, abs=1e-12)


def test_the_interval_is_that_of_a_direct_bootstrap() -> None:
    null, ceiling = made()
    score = null + 0.5 * (ceiling - null) + np.random.default_rng(3).normal(0, 0.1, 80)
    found = fraction_of_ceiling(score, null, ceiling, IDS, n_resamples=4000, seed=1)
    rng, shares = np.random.default_rng(9), []
    for _ in range(4000):
        rows = rng.integers(0, 80, 80)
        shares.append((score[rows].mean() - null[rows].mean()) / (ceiling[rows].mean() - null[rows].mean()))
    assert (found.low, found.high) == pytest.approx(np.quantile(shares, [0.025, 0.975]), abs=0.01)


def test_repeats_of_a_stimulus_are_drawn_together() -> None:
    null, ceiling = made()
    score = null + 0.5 * (ceiling - null) + np.random.default_rng(3).normal(0, 0.1, 80)
    once = fraction_of_ceiling(score, null, ceiling, IDS)
    thrice = fraction_of_ceiling(*(np.repeat(values, 3) for values in (score, null, ceiling)), np.repeat(IDS, 3))
    assert (thrice.value, thrice.low, thrice.high) == pytest.approx((once.value, once.low, once.high), abs=1e-12)


def test_a_known_ceiling_is_one_number() -> None:
    null, _ = made()
    assert fraction_of_ceiling(null + 0.1, null, float(null.mean() + 0.4), IDS).value == pytest.approx(0.25)


def test_it_is_not_defined_where_the_ceiling_is_the_null() -> None:
    null, _ = made()
    noise = np.random.default_rng(1).normal(0, 0.1, 80)
    found = fraction_of_ceiling(null, null, null + noise - noise.mean(), IDS)
    assert found.value is None
    assert "not told apart" in found.why_not
    assert fraction_of_ceiling(np.full(80, np.nan), null, null, IDS).value is None


def test_items_without_a_score_are_left_out_of_all_three() -> None:
    null, ceiling = made()
    score = null + 0.6 * (ceiling - null)
    score[3], null[5], ceiling[7] = np.nan, np.nan, np.nan
    assert fraction_of_ceiling(score, null, ceiling, IDS).value == pytest.approx(0.6, abs=1e-12)
