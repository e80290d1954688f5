"""Predictive variance of a ridge regression: how far a row lies from the rows that the weights were learnt from.

In the Bayesian reading of ridge (noise variance s_d^2 of dimension d, prior variance s_d^2 / alpha of its weights) the
variance of a prediction for a centred row x is ``s_d^2 * (x' (X'X + alpha I)^-1 x + 1/n)``; the bracket is the row's
leverage, the same for all dimensions.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fmri_lightning.errors import BadInputError

MAX_RANK = 2048
"""Eigenvectors that are kept: 129 MB for 15,724 voxels."""

_NEGLIGIBLE = 1e-10
"""Eigenvalues below this part of the largest are zeros but for rounding."""


class RidgeLeverage(nn.Module):
    """Leverage of rows, from the eigenvectors of the training rows' covariance.

    Of a truncated basis the eigenvalues of the directions that were left out lie between the smallest and the largest
    of them: their part of the leverage lies between two numbers, the middle is taken, and :meth:`bound` says how far
    off it can be.

    Args:
        mean: Mean training row, (n_features,) float64.
        basis: Orthonormal columns, (n_features, rank) float32, by falling eigenvalue.
        eigenvalues: Of X'X, (rank,) float64.
        left_out: Smallest and largest eigenvalue without a column, (2,) float64.
        alphas: Penalties, (n_alphas,) float64; with several, the mean leverage over them.
        noise: Residual variance per dimension, (dim,) float64, squared unit of the embedding.
        n_train: Training rows, (1,) int64.
    """

    mean: Tensor
    basis: Tensor
    eigenvalues: Tensor
    left_out: Tensor
    alphas: Tensor
    noise: Tensor
    n_train: Tensor

    NAMES = ("mean", "basis", "eigenvalues", "left_out", "alphas", "noise", "n_train")

    def __init__(self, **arrays: Tensor) -> None:
        super().__init__()
        for name in self.NAMES:
            self.register_buffer(name, arrays[name].detach().clone())

    def forward(self, features: Tensor) -> Tensor:
        """Leverage of preprocessed betas (batch, n_features): (batch, 1) float64, at least 1 / n_train."""
        squares, rest = self._parts(features)
        per_alpha = [
            (squares / (self.eigenvalues + alpha)).sum(dim=1) + rest * (1 / (self.left_out + alpha)).mean()
            for alpha in self.alphas
        ]
        return torch.stack(per_alpha).mean(dim=0)[:, None] + 1 / self.n_train

    def bound(self, features: Tensor) -> Tensor:
        """Largest error of :meth:`forward` by truncation, (batch, 1) float64."""
        _, rest = self._parts(features)
        low, high = self.left_out
        halves = [rest * (1 / (low + alpha) - 1 / (high + alpha)) / 2 for alpha in self.alphas]
        return torch.stack(halves).mean(dim=0)[:, None]

    def variance(self, features: Tensor) -> Tensor:
        """Variance of the predicted mean of rows (batch, n_features), (batch, dim) float64, without new noise."""
        variance: Tensor = self(features) * self.noise
        return variance

    def _parts(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Squared coordinates in the basis (batch, rank), and squared length outside of it (batch,)."""
        centred = features.double() - self.mean
        squares = (centred @ self.basis.double()).square()
        rest = (centred.square().sum(dim=1) - squares.sum(dim=1)).clamp(min=0)
        return squares, rest if self.basis.shape[1] < self.basis.shape[0] else torch.zeros_like(rest)


def fit_leverage(
    features: NDArray[np.floating],
    alphas: list[float],
    residuals: NDArray[np.floating],
    max_rank: int = MAX_RANK,
) -> RidgeLeverage:
    """Decompose the training rows.

    Args:
        features: The rows that the ridge was fitted on, (n, n_features), n >= 2.
        alphas: The penalties that were chosen.
        residuals: Target minus prediction of these rows, (n, dim); their variance is corrected for the degrees of
            freedom that the fit used.
        max_rank: Eigenvectors kept at most.

    Returns:
        The leverage.

    Raises:
        BadInputError: Shapes disagree, an alpha is not positive, or a number is not finite.
    """
    from scipy.linalg import eigh

    x = np.array(features, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2 or len(residuals) != len(x) or not alphas or min(alphas) <= 0 or max_rank < 1:
        raise BadInputError(
            f"leverage: {x.shape} features, {np.shape(residuals)} residuals and alphas {alphas} do not fit; fit ridge "
            "again"
        )
    mean = x.mean(axis=0)
    if not (np.isfinite(mean).all() and np.isfinite(residuals).all()):
        raise BadInputError(
            "leverage: training rows or residuals hold NaN or infinity; run again: fmri-lightning betas"
        )
    x -= mean
    dual = len(x) < x.shape[1]
    gram = x @ x.T if dual else x.T @ x
    size = len(gram)
    values, vectors = eigh(gram, subset_by_index=[max(0, size - max_rank - 1), size - 1])
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    rank = min(max_rank, size)
    if dual:
        # Their directions among the voxels cannot be told from rounding; what lies there has eigenvalue 0.
        rank = min(rank, int((values > _NEGLIGIBLE * values[0]).sum()))
        vectors = x.T @ (vectors[:, :rank] / np.sqrt(values[:rank]))
    left_out = values[rank] if rank < len(values) and values[rank] > _NEGLIGIBLE * values[0] else 0.0
    # In the dual form the voxels have directions that no training row has.
    least = 0.0 if dual or not left_out else max(0.0, float(eigh(gram, eigvals_only=True, subset_by_index=[0, 0])[0]))
    used = _degrees_of_freedom(values[:rank], float(left_out), size - rank, alphas)
    noise = np.square(np.asarray(residuals, dtype=np.float64)).sum(axis=0) / max(len(x) - 1 - used, 1.0)
    arrays = {
        "mean": mean,
        "basis": np.ascontiguousarray(vectors[:, :rank], dtype=np.float32),
        "eigenvalues": values[:rank].copy(),
        "left_out": np.array([least, left_out]),
        "alphas": np.array(alphas, dtype=np.float64),
        "noise": noise,
        "n_train": np.array([len(x)], dtype=np.int64),
    }
    return RidgeLeverage(**{name: torch.from_numpy(array) for name, array in arrays.items()})


def _degrees_of_freedom(values: NDArray[np.float64], left_out: float, n_left_out: int, alphas: list[float]) -> float:
    """Trace of the hat matrix; of what was left out the middle between none and all at the largest eigenvalue."""
    return float(np.mean([(values / (values + a)).sum() + n_left_out * left_out / (left_out + a) / 2 for a in alphas]))
