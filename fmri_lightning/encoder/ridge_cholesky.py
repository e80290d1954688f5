"""Ridge regression by a Cholesky factor per alpha, in torch: matrix products and no eigensolver, which suits a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmri_lightning.encoder.ridge_folds import Folds
from fmri_lightning.encoder.ridge_search import Columns, InaccurateError, PerBatch, default_alphas
from fmri_lightning.errors import ResourceError

CHUNK_VALUES = 1 << 27
"""Values of an intermediate product (512 MiB in float32)."""


@contextmanager
def full_float32_products() -> Iterator[None]:
    """Multiply float32 matrices in float32: TF32 keeps 10 bits, and a Gram matrix of it is not positive definite."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class CholeskySolver:
    """Gram matrix on a device, factorised anew at every alpha.

    The residuals and blocks of ``I - H`` are those of :mod:`fmri_lightning.encoder.leave_out`, so the left-out
    residuals are the same numbers as after an eigendecomposition. A matrix that is not positive definite in its
    arithmetic is refused: no jitter is added, which would be another alpha than the one reported.

    Args:
        x: Centred features, (trials, voxels).
        y: Centred targets, (trials, targets).
        folds: What is left out together.
        grid: Alphas, ascending; None for the default grid.
        form: Which Gram matrix.
        device: Where to compute.

    Raises:
        ResourceError: If the device does not exist.
    """

    def __init__(
        self,
        x: NDArray[np.floating],
        y: NDArray[np.floating],
        folds: Folds,
        grid: NDArray[np.float64] | None,
        form: Literal["dual", "primal"],
        device: str | torch.device,
    ) -> None:
        self.device = torch.device(device)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise ResourceError("ridge: device='cuda', but torch finds no CUDA device; use device='cpu'")
        self.x, self.y = torch.from_numpy(x).to(self.device), torch.from_numpy(y).to(self.device)
        self.folds, self.dual = folds, form == "dual"
        self.gram = self.x @ self.x.T if self.dual else self.x.T @ self.x
        mean_eigenvalue = float(self.gram.diagonal().double().mean())
        self.alphas = default_alphas(mean_eigenvalue) if grid is None else grid
        # The constant vector is null in a centred dual Gram matrix. Lifted to a usual eigenvalue, it can be taken out
        # of the inverse again without cancellation.
        self.lift = mean_eigenvalue if self.dual else 0.0
        self.gram += self.lift / len(self.gram)

    def left_out(self, alpha_index: int) -> PerBatch:
        """Left-out residuals at one alpha."""
        smoother = self._scaled_remainder(alpha_index) if self.dual else self._half_hat(alpha_index)
        factors = [(rows, _factor(self._blocks(smoother, rows), "a block of I - H")) for rows in self._chunks()]

        def residuals(columns: Columns) -> NDArray[np.floating]:
            y = self._targets(columns)
            full = smoother @ y if self.dual else y - smoother.T @ (smoother @ y)
            left_out = torch.empty_like(full)
            for rows, factor in factors:
                left_out[rows] = torch.cholesky_solve(full[rows].double(), factor).to(full.dtype)
            # Averaged on the CPU: a GPU would add the repeats in an order that changes from run to run.
            return np.asarray(self.folds.rows(left_out.cpu().numpy()))

        return residuals

    def weights(self, alpha_index: int) -> PerBatch:
        """Weights of the full fit at one alpha."""
        lower = self._factor_gram(alpha_index)

        def solve(columns: Columns) -> NDArray[np.floating]:
            y = self._targets(columns)
            w = self.x.T @ torch.cholesky_solve(y, lower) if self.dual else torch.cholesky_solve(self.x.T @ y, lower)
            return np.asarray(w.cpu().numpy())

        return solve

    def _targets(self, columns: Columns) -> Tensor:
        return self.y[:, columns if isinstance(columns, slice) else torch.from_numpy(columns).to(self.device)]

    def _factor_gram(self, alpha_index: int) -> Tensor:
        system = self.gram.clone()
        system.diagonal().add_(float(self.alphas[alpha_index]))
        return _factor(system, f"the Gram matrix at alpha {self.alphas[alpha_index]:.3g}")

    def _scaled_remainder(self, alpha_index: int) -> Tensor:
        """(I - H) / alpha of the dual form, (trials, trials)."""
        inverse: Tensor = torch.cholesky_inverse(self._factor_gram(alpha_index))
        return inverse.sub_(1 / (len(inverse) * (float(self.alphas[alpha_index]) + self.lift)))

    def _half_hat(self, alpha_index: int) -> Tensor:
        """T of the primal form, (voxels, trials): H = 1/n + Tᵀ T."""
        half: Tensor = torch.linalg.solve_triangular(self._factor_gram(alpha_index), self.x.T, upper=False)
        return half

    def _blocks(self, smoother: Tensor, rows: Tensor) -> Tensor:
        """Blocks of I - H (divided by alpha in the dual form) of folds of one size, (folds, size, size) float64."""
        if self.dual:
            return smoother[rows[:, :, None], rows[:, None]].double()
        part = smoother.T[rows]
        identity = torch.eye(rows.shape[1], dtype=torch.float64, device=self.device)
        return identity - 1 / len(self.x) - (part @ part.mT).double()

    def _chunks(self) -> Iterator[Tensor]:
        """Trials of folds of one size, (folds, size), as many as one intermediate product may hold."""
        members = self.folds.members()
        for size in sorted({len(fold) for fold in members}):
            rows = torch.from_numpy(np.stack([fold for fold in members if len(fold) == size])).to(self.device)
            width = size if self.dual else max(size, self.x.shape[1])
            yield from rows.split(max(1, CHUNK_VALUES // (size * width)))


def _factor(matrices: Tensor, what: str) -> Tensor:
    lower: Tensor
    lower, info = torch.linalg.cholesky_ex(matrices)
    if bool((info != 0).any()):
        raise InaccurateError(f"{what} is not positive definite")
    return lower
