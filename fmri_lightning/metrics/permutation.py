"""Permutation tests whose p can never be zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.checks import ids_or_positions


def permutation_p(observed: float, null: NDArray[np.generic]) -> float:
    """One-sided p of an observed value against values drawn under the null.

    ``p = (b + 1) / (n + 1)`` with b the null values at least as large (Phipson & Smyth, 2010): the
    observed labelling is one of the permutations.

    Args:
        observed: The statistic; larger is more extreme.
        null: The statistic under n permutations (n,).

    Returns:
        p in (0, 1].

    Raises:
        ValueError: NaN on either side.
    """
    values = np.asarray(null, dtype=np.float64)
    if np.isnan(observed) or np.isnan(values).any():
        raise ValueError("a permutation test needs finite values; drop and count NaN first")
    return float((np.count_nonzero(values >= observed) + 1) / (values.size + 1))


def paired_sign_flip(
    differences: NDArray[np.generic],
    n_permutations: int = 9999,
    seed: int = 0,
    ids: NDArray[np.integer] | None = None,
) -> float:
    """Two-sided p that paired differences are symmetric around zero.

    Under the null that two runs are exchangeable, the sign of each stimulus's difference is a coin
    toss; the statistic is the absolute mean difference over stimuli.

    Args:
        differences: Score of one run minus score of the other (n,).
        n_permutations: Random sign patterns.
        seed: Seed of the patterns.
        ids: Stimulus of each difference (n,); repeats are not independent, so their mean is one value. None when
            every difference is its own stimulus.

    Returns:
        p in (0, 1].

    Raises:
        ValueError: No differences, NaN among them, or ids of another length.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"the sign-flip test needs differences of shape (n,) with n > 0, not {values.shape}")
    if ids is not None:
        _, block = np.unique(ids_or_positions(ids, values.size), return_inverse=True)
        values = np.bincount(block, weights=values) / np.bincount(block)
    generator = np.random.default_rng(seed)
    null = np.empty(n_permutations)
    for start in range(0, n_permutations, 1024):
        n = min(1024, n_permutations - start)
        signs = generator.integers(0, 2, size=(n, values.size), dtype=np.int8) * 2 - 1
        null[start : start + n] = np.abs(signs @ values) / values.size
    # Rounding must not turn the identity pattern, or its mirror, into a smaller value than observed.
    observed = abs(float(values.mean()))
    return permutation_p(observed * (1.0 - 1e-12), null)
