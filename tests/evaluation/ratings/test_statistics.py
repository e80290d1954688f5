"""Intervals against a bootstrap written out, p and agreement against closed forms."""

import numpy as np
import pytest

from fmri_lightning.evaluation.ratings.statistics import above_chance, agreement, crossed_interval, stimulus_means


def written_out(table, n, seed):
    """The pigeonhole bootstrap as it is defined: copy rows and columns, then count."""
    generator = np.random.default_rng(seed)
    shares = []
    for _ in range(n):
        rows = generator.integers(0, table.shape[0], table.shape[0])
        columns = generator.integers(0, table.shape[1], table.shape[1])
        copy = table[np.ix_(rows, columns)]
        if np.isfinite(copy).any():
            shares.append(np.nanmean(copy))
    return np.quantile(shares, [0.025, 0.975])


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_interval_is_that_of_copied_rows_and_columns(missing):
    generator = np.random.default_rng(4)
    table = (generator.random((5, 30)) < np.linspace(0.4, 0.95, 30)).astype(float)
    table[generator.random(table.shape) < missing] = np.nan
    found = crossed_interval(table, 20000, seed=1)
    assert found.value == pytest.approx(np.nanmean(table))
    # One answer of 150 more or less.
    assert [found.low, found.high] == pytest.approx(written_out(table, 20000, 2).tolist(), abs=1.01 / 150)


def test_raters_that_differ_widen_the_interval():
    same = np.tile(np.tile([1.0, 0.0], 20), (6, 1))
    differing = np.repeat([[1.0], [0.0]] * 3, 40, axis=1)
    assert crossed_interval(same).value == crossed_interval(differing).value == 0.5
    assert crossed_interval(differing).high - crossed_interval(differing).low > 0.5
    # One of each kind of randomness alone is as wide as the plain bootstrap of its units.
    assert crossed_interval(same).high - 0.5 == pytest.approx(1.96 * np.sqrt(0.25 / 40), abs=0.02)


def test_guessers_are_covered_nineteen_times_in_twenty():
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        found = crossed_interval((generator.random((4, 40)) < 0.5).astype(float), 500, seed=seed)
        covered += found.low <= 0.5 <= found.high
    assert covered >= 190


def test_no_answers_no_interval():
    with pytest.raises(ValueError, match="no answers"):
        crossed_interval(np.full((2, 3), np.nan))


def test_means_of_stimuli_skip_what_is_missing():
    means = stimulus_means(np.array([[1.0, np.nan, np.nan], [0.0, 1.0, np.nan]]))
    assert means[:2].tolist() == [0.5, 1.0]
    assert np.isnan(means[2])


def test_p_of_all_right_counts_the_one_sign_pattern():
    # Of 2^5 patterns one alone is as good.
    assert above_chance(np.ones(5), 99999) == pytest.approx(1 / 32, abs=0.002)
    assert above_chance(np.ones(60), 999) == 1 / 1000
    assert above_chance(np.zeros(60), 999) == 1.0
    assert above_chance(np.full(7, 0.5)) == 1.0


def test_p_is_uniform_for_guessers():
    generator = np.random.default_rng(3)
    p = [above_chance((generator.random((3, 25)) < 0.5).mean(axis=0), 999, seed) for seed in range(400)]
    assert np.mean(np.array(p) < 0.05) < 0.09
    assert 0.4 < np.mean(p) < 0.65


def test_alpha_of_krippendorffs_example():
    """Krippendorff (2011), section A: two observers, ten units, 0.095."""
    first = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    second = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    found = agreement(np.array([first, second], dtype=float))
    assert found.pairwise == pytest.approx(0.6)
    assert found.alpha == pytest.approx(0.095, abs=0.0005)


def test_agreement_of_three_raters_is_the_mean_over_pairs():
    table = (np.random.default_rng(1).random((3, 50)) < 0.6).astype(float)
    pairs = [(table[i] == table[j]).mean() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert agreement(table).pairwise == pytest.approx(np.mean(pairs))


def test_agreement_needs_two_answers_about_something():
    assert agreement(np.array([[1.0, 0.0]])) is None
    assert agreement(np.array([[1.0, np.nan], [np.nan, 0.0]])) is None
    assert agreement(np.array([[1.0, 1.0], [1.0, 1.0]])) == (1.0, None)
    assert agreement(np.array([[1.0, 0.0, np.nan], [1.0, 0.0, 1.0]])).alpha == 1.0
