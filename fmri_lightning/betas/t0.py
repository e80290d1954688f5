"""T0: z-score of each voxel within each session, by the session's training trials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
    finite = np.isfinite(betas).all(axis=0)
    rows = np.where(finite, betas[fitted_on], np.float32(0))
    mean = rows.mean(axis=0, dtype=np.float64)
    std = np.sqrt(np.square(rows - mean).mean(axis=0, dtype=np.float64))
    # A constant column's deviation is rounding, not zero, when its value has no exact mean.
    bad = ~finite | (rows.max(axis=0) == rows.min(axis=0))
    std[bad] = 0.0
    return SessionStatistics(mean.astype(np.float32), std.astype(np.float32), bad, fitted_on, transductive)


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


def apply_t0(betas: NDArray[np.float32], statistics: SessionStatistics) -> NDArray[np.float32]:
    """Standardise one session.

    Args:
        betas: In the unit of the source, float32 (n_trials, n_voxels).
        statistics: Of the same session.

    Returns:
        Standard deviations from the mean, float32 (n_trials, n_voxels); 0 in bad voxels.
    """
    scale = np.where(statistics.bad, np.float32(1), statistics.std)
    z = ((betas - statistics.mean) / scale).astype(np.float32, copy=False)
    z[:, statistics.bad] = 0.0
    return z
