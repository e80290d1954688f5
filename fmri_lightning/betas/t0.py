"""T0: z-score of each voxel within each session, by the session's training trials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROWS_PER_BLOCK = 32


@dataclass(frozen=True)
class SessionStatistics:
    """What T0 measured in one session.

    Attributes:
        mean: In the unit of the source (NSD: percent signal change), float32 (n_voxels,).
        std: The same unit, ddof 0, float32 (n_voxels,); 0 where a voxel is constant or not finite.
        bad: Constant or not finite, (n_voxels,) bool.
        fitted_on: Trials of the session the numbers come from, (n_trials,) bool.
        transductive: The session had no training trial, so that all its trials were used.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    bad: NDArray[np.bool_]
    fitted_on: NDArray[np.bool_]
    transductive: bool


def session_statistics(betas: NDArray[np.float32], is_train: NDArray[np.bool_]) -> SessionStatistics:
    """Measure mean and standard deviation of one session's training trials.

    Args:
        betas: In the unit of the source, float32 (n_trials, n_voxels).
        is_train: Trials whose picture is in the train split, (n_trials,) bool.

    Returns:
        The statistics. A session without training trials uses its own trials and says so.
    """
    transductive = not bool(is_train.any())
    fitted_on = np.ones(len(betas), dtype=bool) if transductive else is_train.copy()
    finite, varies, mean = _sums(betas, fitted_on)
    std = _deviations(betas, fitted_on, mean.astype(np.float32))
    # A constant column's deviation is rounding, not zero, when its value has no exact mean.
    bad = ~finite | ~varies
    mean[~finite] = 0.0
    std[bad] = 0.0
    return SessionStatistics(mean.astype(np.float32), std.astype(np.float32), bad, fitted_on, transductive)


def _sums(
    betas: NDArray[np.float32], fitted_on: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """Return which voxels are finite in all trials and vary over the fitted ones, and the mean over these.

    Blocks of rows fit into the processor's cache; sums of a block in float32 are added up in float64.
    """
    first = betas[np.argmax(fitted_on)].copy()
    varies = np.zeros(betas.shape[1], dtype=bool)
    total, others = np.zeros(betas.shape[1]), np.zeros(betas.shape[1])
    with np.errstate(invalid="ignore"):
        for rows, fitted in _blocks(betas, fitted_on):
            total += rows[fitted].sum(axis=0)
            others += rows[~fitted].sum(axis=0)
            varies |= (rows[fitted] != first).any(axis=0)
        # One value that is not finite makes its sum so.
        finite = np.isfinite(total) & np.isfinite(others)
    return finite, varies, total / fitted_on.sum()


def _deviations(
    betas: NDArray[np.float32], fitted_on: NDArray[np.bool_], mean: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return standard deviations (ddof 0) round the mean."""
    squares = np.zeros(betas.shape[1])
    with np.errstate(invalid="ignore"):
        for rows, fitted in _blocks(betas, fitted_on):
            deviation = rows[fitted] - mean
            squares += np.einsum("ij,ij->j", deviation, deviation)
    deviations: NDArray[np.float64] = np.sqrt(squares / fitted_on.sum())
    return deviations


def _blocks(
    betas: NDArray[np.float32], fitted_on: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    for start in range(0, len(betas), _ROWS_PER_BLOCK):
        block = slice(start, start + _ROWS_PER_BLOCK)
        yield betas[block], fitted_on[block]


def no_statistics(betas: NDArray[np.float32]) -> SessionStatistics:
    """Stand in for T0 where betas come normalised: mean 0, deviation 1, fitted on nothing.

    Args:
        betas: float32 (n_trials, n_voxels).

    Returns:
        Statistics that change nothing but voxels that are constant or not finite.
    """
    bad = ~np.isfinite(betas).all(axis=0) | (betas.max(axis=0) == betas.min(axis=0))
    zero, one = np.zeros(betas.shape[1], dtype=np.float32), np.ones(betas.shape[1], dtype=np.float32)
    return SessionStatistics(zero, np.where(bad, zero, one), bad, np.zeros(len(betas), dtype=bool), False)


def apply_t0(
    betas: NDArray[np.float32], statistics: SessionStatistics, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Standardise one session.

    Args:
        betas: In the unit of the source, float32 (n_trials, n_voxels).
        statistics: Of the same session.
        out: Where to write, for instance ``betas`` itself.

    Returns:
        Standard deviations from the mean, float32 (n_trials, n_voxels); 0 in bad voxels.
    """
    scale = np.where(statistics.bad, np.float32(1), statistics.std)
    z = np.subtract(betas, statistics.mean, out=out)
    z /= scale
    z[:, statistics.bad] = 0.0
    return z
