"""Intervals, p and agreement of a table of raters by stimuli, of which both are random draws."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.bootstrap import Interval
from fmri_lightning.metrics.permutation import permutation_p

CHANCE = 0.5
Table = NDArray[np.float64]
"""1 where a rater (row) was right about a stimulus (column), 0 where wrong, NaN where not asked."""


class Agreement(NamedTuple):
    """How far raters chose the same pictures.

    Attributes:
        pairwise: Share of stimuli for which two raters chose the same picture, mean over pairs of answers, 0..1.
        alpha: Krippendorff's alpha for nominal data, at most 1; None where all chose one and the same label.
    """

    pairwise: float
    alpha: float | None


def crossed_interval(
    table: Table, n_resamples: int = 2000, confidence: float = 0.95, seed: int = 0, chunk: int = 256
) -> Interval:
    """Percentile interval of the share of right answers, over raters and stimuli (pigeonhole bootstrap; Owen, 2007).

    Rows and columns are drawn with replacement, independently of each other, and an answer counts as often as its row
    times its column was drawn. With few raters it errs on the wide side. A single rater stays: the interval then says
    what other stimuli would have given, for this rater.

    Args:
        table: Answers (raters, stimuli), NaN where there is none.
        n_resamples: Resamples.
        confidence: Coverage aimed at, 0..1.
        seed: Of the resampling.
        chunk: Resamples in memory at a time.

    Returns:
        Share of right answers among all given, 0..1, and the interval's bounds.

    Raises:
        ValueError: There is no answer.
    """
    given = np.isfinite(table)
    if not given.any():
        raise ValueError("no answers, no interval")
    right, counted = np.where(given, table, 0.0), given.astype(np.float64)
    n_raters, n_stimuli = table.shape
    generator = np.random.default_rng(seed)
    shares = []
    for start in range(0, n_resamples, chunk):
        n = min(chunk, n_resamples - start)
        raters = generator.multinomial(n_raters, np.full(n_raters, 1 / n_raters), size=n).astype(np.float64)
        stimuli = generator.multinomial(n_stimuli, np.full(n_stimuli, 1 / n_stimuli), size=n).astype(np.float64)
        weight = ((raters @ counted) * stimuli).sum(axis=1)
        # In a sparse table a draw may meet no answer at all; it says nothing.
        met = weight > 0
        shares.append(((raters @ right) * stimuli).sum(axis=1)[met] / weight[met])
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(np.concatenate(shares), [tail, 1.0 - tail])
    return Interval(float(right.sum() / counted.sum()), float(low), float(high))


def stimulus_means(table: Table) -> NDArray[np.float64]:
    """Share of right answers about each stimulus (stimuli,), 0..1, NaN where nobody was asked."""
    given = np.isfinite(table)
    counts = given.sum(axis=0)
    sums = np.where(given, table, 0.0).sum(axis=0)
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return means


def above_chance(means: NDArray[np.float64], n_permutations: int = 9999, seed: int = 0) -> float:
    """One-sided p that stimuli are identified no better than by guessing.

    A guess is as likely right as wrong, so that under the null the deviation of a stimulus from one half keeps its
    size and takes a random sign; the statistic is the mean deviation, and p = (b + 1) / (n + 1).

    Args:
        means: Share of right answers about each stimulus (n,), without NaN.
        n_permutations: Random sign patterns.
        seed: Of the patterns.

    Returns:
        p in (0, 1].

    Raises:
        ValueError: There are none, or NaN among them.
    """
    deviations = np.asarray(means, dtype=np.float64) - CHANCE
    if deviations.size == 0:
        raise ValueError("no stimuli, no p")
    generator = np.random.default_rng(seed)
    null = np.empty(n_permutations)
    for start in range(0, n_permutations, 1024):
        n = min(1024, n_permutations - start)
        signs = generator.integers(0, 2, size=(n, deviations.size), dtype=np.int8) * 2 - 1
        null[start : start + n] = signs @ deviations / deviations.size
    # Rounding must not make the observed pattern larger than itself.
    return permutation_p(float(deviations.mean()) - 1e-12, null)


def agreement(choices: Table) -> Agreement | None:
    """Compare raters with each other, whatever is right.

    Args:
        choices: Which of the two listed pictures each rater (row) chose for each stimulus (column), 0 or 1, NaN where
            there is no answer. Pairs are listed in random order, so that two raters who guess agree in half of them.

    Returns:
        Agreement, or None where no stimulus has answers of two raters.
    """
    counts = np.stack([(choices == value).sum(axis=0) for value in (0.0, 1.0)]).astype(np.float64)
    raters = counts.sum(axis=0)
    counts, raters = counts[:, raters > 1], raters[raters > 1]
    if not raters.size:
        return None
    same = (counts * (counts - 1)).sum(axis=0)
    pairwise = float(same.sum() / (raters * (raters - 1)).sum())
    total, each = float(raters.sum()), counts.sum(axis=1)
    observed = 1.0 - float((same / (raters - 1)).sum()) / total
    expected = 1.0 - float((each * (each - 1)).sum()) / (total * (total - 1))
    return Agreement(pairwise, 1.0 - observed / expected if expected > 0 else None)
