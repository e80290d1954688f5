"""How far a score climbs from the null to the ceiling, with an interval that keeps stimuli together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Fraction:
    """A share of the way from null to ceiling.

    Attributes:
        value: (score - null) / (ceiling - null); 0 at the null, 1 at the ceiling; None where it is not defined.
        low: Lower end of its interval.
        high: Upper end.
        why_not: Why it is not defined.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    why_not: str | None = None


def fraction_of_ceiling(
    score: NDArray[np.float64],
    null: NDArray[np.float64],
    ceiling: NDArray[np.float64] | float,
    ids: NDArray[np.integer],
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Fraction:
    """Share of the way from null to ceiling that a mean score reaches.

    All three are averaged over the same resampled stimuli, so that what makes a stimulus easy for all of them does
    not widen the interval.

    Args:
        score: One value per item (n,).
        null: The null of the same items (n,).
        ceiling: The ceiling of the same items (n,), or one number that is taken as known.
        ids: Stimulus of each item (n,); items of one stimulus are resampled together.
        n_resamples: Bootstrap resamples.
        confidence: Coverage aimed at.
        seed: Of the resampling.

    Returns:
        The fraction; not defined where ceiling and null are not told apart by the same resamples, or nothing is left
        after items with a NaN.
    """
    stack = np.stack([score, null, np.broadcast_to(np.asarray(ceiling, dtype=np.float64), score.shape)], axis=1)
    defined = ~np.isnan(stack).any(axis=1)
    if not defined.any():
        return Fraction(None, why_not="no item has a score, a null and a ceiling")
    stack = stack[defined]
    _, block = np.unique(np.asarray(ids)[defined], return_inverse=True)
    n_blocks = int(block.max()) + 1
    sums = np.stack([np.bincount(block, weights=column, minlength=n_blocks) for column in stack.T], axis=1)
    counts = np.bincount(block, minlength=n_blocks).astype(np.float64)
    drawn = np.random.default_rng(seed).integers(0, n_blocks, size=(n_resamples, n_blocks))
    weights = np.stack([np.bincount(row, minlength=n_blocks) for row in drawn]).astype(np.float64)
    means = (weights @ sums) / (weights @ counts)[:, None]
    tail = (1.0 - confidence) / 2.0
    span = means[:, 2] - means[:, 1]
    low_span, high_span = np.quantile(span, [tail, 1.0 - tail])
    if low_span <= 0.0 <= high_span:
        return Fraction(None, why_not="ceiling and null are not told apart")
    low, high = np.quantile((means[:, 0] - means[:, 1]) / span, [tail, 1.0 - tail])
    mean = stack.mean(axis=0)
    return Fraction(float((mean[0] - mean[1]) / (mean[2] - mean[1])), float(low), float(high))
