"""The best linear decoder of a known brain, in closed form: what a ridge tends to with ever more stimuli."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from fmri_lightning.ceiling.brain import KnownBrain
from fmri_lightning.ceiling.features import FloatArray


@dataclass(frozen=True, eq=False)
class LinearOptimum:
    """Linear map of least expected squared error (linear MMSE) from the mean of n repeats.

    Attributes:
        weights: (V, D).
        intercept: (D,), the mean embedding: voxels have mean 0.
        n_repeats: Repeats in the mean that it is best for.
        expected_error: Expected squared distance from the true embedding at that number of repeats.
    """

    weights: FloatArray
    intercept: FloatArray
    n_repeats: int
    expected_error: float

    def predict(self, voxels: FloatArray) -> FloatArray:
        """Predict raw embeddings (m, D) from voxels (m, V) in standard deviations of the signal."""
        return voxels @ self.weights + self.intercept


def linear_optimum(brain: KnownBrain, n_repeats: int = 1) -> LinearOptimum:
    """Solve (Sigma_ss + Sigma_n / n) W = Sigma_se.

    Args:
        brain: The known brain.
        n_repeats: Trials averaged before decoding.

    Returns:
        The optimum.
    """
    total = brain.signal_covariance + brain.noise_covariance / n_repeats
    cross = brain.embedding_signal_covariance
    weights = cho_solve(cho_factor(total, lower=True), cross.T)
    variance = np.square(brain.embedding).sum() + brain.residual_sd**2 * len(brain.mean)
    return LinearOptimum(weights, brain.mean, n_repeats, float(variance - np.sum(cross.T * weights)))
