"""Ridge regression by one eigendecomposition of the smaller Gram matrix, which serves every alpha."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.linalg import blas

from fmri_lightning.encoder.leave_out import LeaveOut, prepare_leave_out
from fmri_lightning.encoder.ridge_folds import Folds
from fmri_lightning.encoder.ridge_products import outer, product
from fmri_lightning.encoder.ridge_scratch import Scratch
from fmri_lightning.encoder.ridge_search import Columns, InaccurateError, PerBatch, default_alphas


class EvdSolver:
    """Eigenvectors of X Xᵀ (dual) or Xᵀ X (primal) and everything that is rotated onto them.

    Args:
        x: Centred features, (trials, voxels), C-ordered.
        y: Centred targets, (trials, targets).
        folds: What is left out together.
        grid: Alphas, ascending; None for the default grid.
        form: Which Gram matrix.

    Raises:
        InaccurateError: If the decomposition fails in this arithmetic.
    """

    def __init__(
        self,
        x: NDArray[np.floating],
        y: NDArray[np.floating],
        folds: Folds,
        grid: NDArray[np.float64] | None,
        form: Literal["dual", "primal"],
    ) -> None:
        self.x, self.y, self.dual = x, y, form == "dual"
        gram = outer(x if self.dual else x.T)
        self.alphas = default_alphas(float(np.trace(gram, dtype=np.float64)) / len(gram)) if grid is None else grid
        if self.dual:
            _lift_constant(gram)
        eigenvalues, self.vectors = _decompose(gram)
        self.shrink = (1 / (eigenvalues + self.alphas[:, None])).astype(x.dtype)
        if self.dual:
            self.shrink[:, int(np.argmax(np.abs(self.vectors.sum(axis=0))))] = 0
        # Rows of the basis belong to trials: eigenvectors themselves, or the voxels rotated onto them.
        self.basis = self.vectors if self.dual else product(x, self.vectors)
        self.rotated = product(self.basis.T, y)
        self._scratch = Scratch()
        self._leave_out = prepare_leave_out(self.basis, self.shrink, folds, self.dual)

    def left_out(self, alpha_index: int) -> PerBatch:
        """Left-out residuals at one alpha."""
        leave_out, shrink = self._leave_out_at(alpha_index), self.shrink[alpha_index][:, None]

        def residuals(columns: Columns) -> NDArray[np.floating]:
            rotated = self.rotated[:, columns]
            scaled = self._scratch.take("scaled", rotated.shape, rotated.dtype)
            projected = self._scratch.take("projected", (len(self.basis), rotated.shape[1]), rotated.dtype)
            product(self.basis, np.multiply(shrink, rotated, out=scaled), out=projected)
            # In the dual form this is already the residual, divided by alpha.
            return leave_out(projected if self.dual else np.subtract(self.y[:, columns], projected, out=projected))

        return residuals

    def weights(self, alpha_index: int) -> PerBatch:
        """Weights of the full fit at one alpha."""
        shrink = self.shrink[alpha_index][:, None]

        def solve(columns: Columns) -> NDArray[np.floating]:
            coefficients = product(self.vectors, shrink * self.rotated[:, columns])
            return product(self.x.T, coefficients) if self.dual else coefficients

        return solve

    def _leave_out_at(self, alpha_index: int) -> LeaveOut:
        try:
            return self._leave_out.at(alpha_index)
        except np.linalg.LinAlgError as error:
            raise InaccurateError("the block of a fold is not positive definite") from error


def _decompose(gram: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.floating]]:
    try:
        # The default driver (evr) is nine times slower here.
        eigenvalues, vectors = scipy.linalg.eigh(gram, lower=False, driver="evd", overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError as error:
        raise InaccurateError("the eigendecomposition did not converge") from error
    if not np.all(np.isfinite(eigenvalues)):
        raise InaccurateError("an eigenvalue is not finite")
    return np.maximum(eigenvalues.astype(np.float64), 0), vectors


def _lift_constant(gram: NDArray[np.floating]) -> None:
    """Give the constant vector, null in a centred dual Gram matrix, an eigenvalue far from all others.

    Its direction belongs to the intercept, which is refitted in every leave-out and must not be shrunk; among the
    other null vectors it could not be told apart.
    """
    n = len(gram)
    vector = np.random.default_rng(0).standard_normal(n).astype(gram.dtype)
    symv = blas.ssymv if gram.dtype == np.float32 else blas.dsymv
    largest = 1.0
    for _ in range(10):
        vector = symv(1.0, gram, vector, lower=0)
        largest = float(np.linalg.norm(vector)) or 1.0
        vector /= largest
    gram += gram.dtype.type(3 * largest / n)
