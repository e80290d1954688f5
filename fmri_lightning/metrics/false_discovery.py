"""Correction of many p values for the share of false findings among them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def benjamini_hochberg(p: NDArray[np.floating]) -> NDArray[np.float64]:
    """Smallest false discovery rate at which each test is a finding (Benjamini & Hochberg, 1995).

    Calling everything with q of at most .05 a finding keeps the expected share of false ones among them below .05,
    for tests that are independent or positively dependent, as those of neighbouring voxels are.

    Args:
        p: p values, any shape, 0..1; NaN for tests that were not made, which do not count.

    Returns:
        q values, float64 of the same shape, 0..1; NaN where p is NaN.

    Raises:
        ValueError: A p value lies outside 0..1.
    """
    values = np.asarray(p, dtype=np.float64)
    q = np.full(values.shape, np.nan)
    made = np.isfinite(values)
    found = values[made]
    if not found.size:
        return q
    if found.min() < 0 or found.max() > 1:
        raise ValueError("p values lie in 0..1")
    order = np.argsort(found, kind="stable")
    ranked = found[order] * found.size / np.arange(1, found.size + 1)
    adjusted = np.empty(found.size)
    adjusted[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    q[made] = adjusted
    return q
