"""Permutation p-values: exact small cases, uniformity under the null, never zero."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from fmri_lightning.metrics.permutation import paired_sign_flip, permutation_p


def test_counts_the_observed_labelling() -> None:
    assert permutation_p(2.0, np.array([0.0, 1.0, 2.0, 3.0])) == pytest.approx(3 / 5)
    assert permutation_p(9.0, np.zeros(99)) == pytest.approx(0.01)


def test_sign_flip_approaches_the_exact_test() -> None:
    differences = np.array([0.3, -0.1, 0.4, 0.2, 0.5, -0.2, 0.1, 0.35])
    means = [abs(np.mean(np.array(signs) * differences)) for signs in product([-1, 1], repeat=8)]
    exact = np.mean(np.array(means) >= abs(differences.mean()) - 1e-12)
    estimate = paired_sign_flip(differences, n_permutations=20_000)
    assert estimate == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_identical_runs_have_p_one() -> None:
    assert paired_sign_flip(np.zeros(20), n_permutations=200) == 1.0


def test_sign_flip_is_uniform_under_the_null() -> None:
    rng = np.random.default_rng(0)
    p = [paired_sign_flip(rng.standard_normal(30), n_permutations=199, seed=i) for i in range(400)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize("repeats", [1, 3])
def test_p_of_exchangeable_runs_is_uniform(repeats):
    """1,000 pairs of runs with skewed scores; repeats share what is particular to their stimulus."""
    rng = np.random.default_rng(10)
    ids = np.repeat(np.arange(40), repeats)
    p = []
    for trial in range(1000):
        runs = rng.gamma(1.0, size=(2, 40))[:, ids] + 0.3 * rng.gamma(1.0, size=(2, len(ids)))
        p.append(paired_sign_flip(runs[0] - runs[1], n_permutations=199, seed=trial, ids=ids))
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=2.6 * np.sqrt(0.05 * 0.95 / 1000))
    if repeats > 1:
        rng = np.random.default_rng(11)
        naive = [
            paired_sign_flip((rng.gamma(1.0, size=(2, 40))[:, ids] * [[1], [-1]]).sum(axis=0), 199, seed=trial)
            for trial in range(200)
        ]
        assert np.mean(np.array(naive) <= 0.05) > 0.15


def test_repeats_count_as_their_mean() -> None:
    differences, ids = np.array([0.3, 0.5, -0.1, 0.2, 0.4]), np.array([7, 7, 7, 2, 4])
    by_hand = np.array([0.2, 0.4, 0.7 / 3])
    assert paired_sign_flip(differences, 499, ids=ids) == paired_sign_flip(by_hand, 499)


def test_clear_difference_is_found_from_either_side() -> None:
    differences = 0.5 + 0.1 * np.random.default_rng(1).standard_normal(40)
    assert paired_sign_flip(differences, n_permutations=999) == pytest.approx(0.001)
    assert paired_sign_flip(-differences, n_permutations=999) == pytest.approx(0.001)


def test_nan_and_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        paired_sign_flip(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="n > 0"):
        paired_sign_flip(np.array([]))
    with pytest.raises(ValueError, match="finite"):
        permutation_p(np.nan, np.zeros(3))
