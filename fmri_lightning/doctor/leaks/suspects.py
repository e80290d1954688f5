"""Which foreign rows explain that a sum is not that of the training rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EXPLAINED = 0.01
"""Largest part of a shift, by length, that an explanation may leave over; an arbitrary set leaves nearly all of it."""


def suspects(
    shift: NDArray[np.floating], contributions: NDArray[np.floating], splits: NDArray[np.str_]
) -> NDArray[np.int64]:
    """Find the rows whose contributions, with one common positive weight, add up to a shift.

    Whole splits are tried first. Then few rows are looked for by non-negative least squares, which finds them when
    they are fewer than dimensions.

    Args:
        shift: What is to be explained, (dim,).
        contributions: What each foreign row would add, but for the weight, (n, dim).
        splits: "val" or "test" per row, (n,).

    Returns:
        Rows, ascending; none where nothing explains the shift.
    """
    from scipy.optimize import nnls

    for group in (("test",), ("val",), ("val", "test")):
        rows = np.flatnonzero(np.isin(splits, group))
        if len(rows) and _left_over(shift, contributions[rows].sum(axis=0)) < EXPLAINED:
            return rows
    if not len(contributions):
        return np.empty(0, np.int64)
    try:
        weights = nnls(contributions.T.astype(np.float64), shift.astype(np.float64))[0]
    except RuntimeError:  # too many iterations: nothing sparse explains it
        return np.empty(0, np.int64)
    rows = np.flatnonzero(weights > 0.5 * weights.max(initial=0.0))
    if not len(rows) or _left_over(shift, contributions[rows].sum(axis=0)) >= EXPLAINED:
        return np.empty(0, np.int64)
    return rows


def _left_over(shift: NDArray[np.floating], direction: NDArray[np.floating]) -> float:
    """Length of what the best positive multiple of a direction leaves of a shift, as a part of it."""
    direction = direction.astype(np.float64)
    weight = max(0.0, float(direction @ shift) / max(float(direction @ direction), np.finfo(np.float64).tiny))
    return float(np.linalg.norm(shift - weight * direction) / max(np.linalg.norm(shift), np.finfo(np.float64).tiny))
