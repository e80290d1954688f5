"""Pearson's r of two long vectors in float64, read block by block so that no copy of them is made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Two float64 blocks of this many values stay in the second-level cache.
BLOCK = 32768


def pearson(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    """Pearson correlation of two vectors, ``np.corrcoef(a, b)[0, 1]`` in float64.

    Every block is shifted by the vector's first value before it is squared, so that a small variance on a large
    offset survives: with d = x - x[0], r = (sum dd' - sum d sum d' / n) / sqrt(var var').

    Args:
        a: Vector (n,), any real type.
        b: Vector (n,).

    Returns:
        r in -1..1, exactly 1 for equal vectors; NaN where either is constant or holds NaN.
    """
    # A constant vector may keep a rounding residue of its mean, so its values are compared instead.
    if is_constant(a) or is_constant(b):
        return float("nan")
    first_a, first_b = float(a[0]), float(b[0])
    rooms = np.empty((2, min(BLOCK, a.size)))
    sums = np.zeros(5)
    for start in range(0, a.size, BLOCK):
        stop = min(start + BLOCK, a.size)
        x, y = rooms[0, : stop - start], rooms[1, : stop - start]
        x[...], y[...] = a[start:stop], b[start:stop]
        x -= first_a
        y -= first_b
        sums += (x.sum(), y.sum(), x @ x, y @ y, x @ y)
    sum_a, sum_b, power_a, power_b, product = sums.tolist()
    power_a -= sum_a * sum_a / a.size
    power_b -= sum_b * sum_b / a.size
    r = (product - sum_a * sum_b / a.size) / np.sqrt(power_a * power_b)
    return float(np.clip(r, -1.0, 1.0))


def is_constant(values: NDArray[np.generic]) -> bool:
    """Whether all values of a vector are the same; stops at the first block that differs.

    Args:
        values: Vector (n,).

    Returns:
        True for a constant or empty vector; False where NaN occurs.
    """
    return not any((values[start : start + BLOCK] != values[0]).any() for start in range(0, values.size, BLOCK))
