"""Percentile bootstrap over stimuli, on scores that were computed once."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.checks import ids_or_positions


class Interval(NamedTuple):
    """A statistic with the bounds of its confidence interval, in the unit of the scores."""

    value: float
    low: float
    high: float


def bootstrap_interval(
    scores: NDArray[np.generic],
    ids: NDArray[np.integer] | None = None,
    statistic: Literal["mean", "median"] = "mean",
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval (Efron & Tibshirani, 1993) of the mean or median score.

    Stimuli are drawn with replacement and every repeat or sample of a drawn stimulus comes along,
    so that repeats never count as independent pictures. Pair scores are not recomputed: a stimulus
    drawn twice would meet itself as a distractor.

    Args:
        scores: One score per item (n,).
        ids: Stimulus of each item (n,); items of equal id are one block.
        statistic: What is taken over the items.
        n_resamples: Bootstrap resamples.
        confidence: Coverage aimed at, 0..1.
        seed: Seed of the resampling.

    Returns:
        The statistic of all items and the interval's bounds.

    Raises:
        ValueError: No scores, a NaN among them (drop and count it first), or ids of another length.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"the bootstrap needs scores of shape (n,) with n > 0, not {values.shape}")
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).sum())} of {values.size} scores are NaN; drop and count them first")
    _, block = np.unique(ids_or_positions(ids, values.size), return_inverse=True)
    n_blocks = int(block.max()) + 1
    drawn = np.random.default_rng(seed).integers(0, n_blocks, size=(n_resamples, n_blocks))
    if statistic == "mean":
        sums = np.bincount(block, weights=values, minlength=n_blocks)
        counts = np.bincount(block, minlength=n_blocks)
        resampled = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
        value = float(values.mean())
    else:
        members = [values[block == b] for b in range(n_blocks)]
        resampled = np.array([np.median(np.concatenate([members[b] for b in row])) for row in drawn])
        value = float(np.median(values))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    return Interval(value, float(low), float(high))
