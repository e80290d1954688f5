"""Shape checks shared by the metrics: a wrong pairing must stop, not broadcast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def require_equal_shapes(a: NDArray[np.generic], b: NDArray[np.generic], what: str) -> None:
    """Refuse two arrays whose shapes differ.

    Args:
        a: First array, any shape.
        b: Second array, must have the shape of ``a``.
        what: What the arrays are, for the message.

    Raises:
        ValueError: The shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"{what} differ in shape: {a.shape} and {b.shape}; pair them one to one")


def require_square(similarity: NDArray[np.floating], what: str) -> None:
    """Refuse a matrix that is not square.

    Args:
        similarity: Matrix that pairs item i of one set with item i of the other.
        what: What the matrix is, for the message.

    Raises:
        ValueError: The matrix is not two-dimensional and square.
    """
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1]:
        raise ValueError(f"{what} must be square (n, n), not {similarity.shape}")


def ids_or_positions(ids: NDArray[np.integer] | None, n: int) -> NDArray[np.int64]:
    """Stimulus ids, or 0..n-1 when every item is its own stimulus.

    Args:
        ids: Integer ids (n,), or None.
        n: Number of items.

    Returns:
        int64 (n,).

    Raises:
        ValueError: The number of ids is not n.
    """
    if ids is None:
        return np.arange(n, dtype=np.int64)
    values = np.asarray(ids, dtype=np.int64)
    if values.shape != (n,):
        raise ValueError(f"{n} items need {n} ids, not shape {values.shape}")
    return values
