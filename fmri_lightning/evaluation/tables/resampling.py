"""Intervals of a mean over subjects: stimuli are drawn again, subjects are not."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.evaluation.tables.scored import ItemScores

CONFIDENCE = 0.95


@dataclass
class StimulusBootstrap:
    """Draws stimuli with replacement, the same ones for every metric.

    The subjects are fixed: the interval speaks of other stimuli seen by these subjects, not of other subjects. A
    drawn stimulus brings its items in every subject who saw it, because a stimulus that is easy for one is often
    easy for all: drawing for each subject on its own would give too narrow an interval.

    Attributes:
        n_resamples: Resamples.
        seed: Of the draws.
    """

    n_resamples: int
    seed: int
    _counts: dict[int, NDArray[np.float64]] = field(init=False, default_factory=dict)

    def interval_of_mean(self, subjects: list[ItemScores], statistic: str = "mean") -> tuple[float, float] | None:
        """Percentile interval (95 %) of the mean of the subjects' means or medians.

        Args:
            subjects: Scores of each subject; undefined ones are left out.
            statistic: What is taken over a subject's items, mean or median.

        Returns:
            Its bounds; None where a subject has no score.
        """
        subjects = [scores.defined() for scores in subjects]
        if not subjects or any(len(scores.ids) == 0 for scores in subjects):
            return None
        stimuli = np.unique(np.concatenate([scores.ids for scores in subjects]))
        counts = self._drawn(len(stimuli))
        of_one = _resampled_median if statistic == "median" else _resampled_mean
        each = np.stack(
            [
                of_one(_drawn_scores(scores, statistic), np.searchsorted(stimuli, scores.ids), counts)
                for scores in subjects
            ]
        )
        resampled = each.mean(axis=0)
        # A resample in which a subject has no stimulus, possible where stimuli differ, has no mean over subjects.
        resampled = resampled[np.isfinite(resampled)]
        if resampled.size == 0:
            return None
        tail = (1.0 - CONFIDENCE) / 2.0
        low, high = np.quantile(resampled, [tail, 1.0 - tail])
        return float(low), float(high)

    def _drawn(self, n: int) -> NDArray[np.float64]:
        """How often each of n stimuli is drawn in each resample (n_resamples, n)."""
        if n not in self._counts:
            drawn = np.random.default_rng(self.seed).integers(0, n, size=(self.n_resamples, n))
            flat = (drawn + n * np.arange(self.n_resamples)[:, None]).ravel()
            counts = np.bincount(flat, minlength=n * self.n_resamples).reshape(self.n_resamples, n)
            self._counts[n] = counts.astype(np.float64)
        return self._counts[n]


def _drawn_scores(scores: ItemScores, statistic: str) -> NDArray[np.float64]:
    return scores.values if statistic == "median" else scores.influence


def _resampled_mean(
    values: NDArray[np.float64], stimulus: NDArray[np.intp], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    n = counts.shape[1]
    sums = counts @ np.bincount(stimulus, weights=values, minlength=n)
    items = counts @ np.bincount(stimulus, minlength=n).astype(np.float64)
    return np.where(items > 0, sums / np.maximum(items, 1.0), np.nan)


def _resampled_median(
    values: NDArray[np.float64], stimulus: NDArray[np.intp], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    order = np.argsort(values, kind="stable")
    upto = np.cumsum(counts[:, stimulus[order]], axis=1)
    total = upto[:, -1]
    # The items of ranks floor((total - 1) / 2) and floor(total / 2), counted from 0.
    lower = (upto > np.floor((total - 1.0) / 2.0)[:, None]).argmax(axis=1)
    upper = (upto > np.floor(total / 2.0)[:, None]).argmax(axis=1)
    medians = (values[order][lower] + values[order][upper]) / 2.0
    return np.where(total > 0, medians, np.nan)
