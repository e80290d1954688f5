"""Exact leave-one-group-out residuals of a linear smoother, without refitting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

LARGEST_SMALL_GROUP = 8
"""Repeats of a stimulus: pairs of positions go through one skinny product for all alphas. Above: one by one."""

CHUNK_VALUES = 1 << 24
"""Values of an intermediate product (64 MiB in float32)."""


@dataclass
class GroupLeaveOut:
    """Averaged leave-one-group-out residuals for every alpha.

    For a smoother ``ŷ = H y`` that minimises a penalised square loss, the residuals of group g predicted from all
    other groups are ``(I - H)_gg⁻¹ (y - ŷ)_g``, exactly. Their mean over the group is one inner product per target:
    its weights depend on alpha and not on the target.

    Attributes:
        averages: One sparse (groups, trials) matrix per alpha that maps residuals to averaged left-out residuals.
    """

    averages: list[scipy.sparse.csr_array]

    @classmethod
    def prepare(
        cls,
        basis: NDArray[np.floating],
        shrink: NDArray[np.floating],
        groups: NDArray[np.int64],
        dual: bool,
    ) -> GroupLeaveOut:
        """Invert the diagonal blocks of ``I - H`` for every alpha.

        Args:
            basis: Q of the dual form (eigenvectors) or Z = X V of the primal form, (trials, k).
            shrink: 1 / (eigenvalue + alpha), (alphas, k); 0 for the intercept's direction in the dual form.
            groups: Group number of each trial, (trials,), 0..n_groups-1.
            dual: Whether blocks are ``Q_g s Q_gᵀ`` (``I - H`` divided by alpha, which cancels) or
                ``I - 1/n - Z_g s Z_gᵀ``.

        Returns:
            The object that turns residuals into averaged left-out ones.
        """
        n_trials, n_alphas = len(basis), len(shrink)
        weights = np.empty((n_alphas, n_trials))
        sizes = np.bincount(groups)
        order = np.argsort(groups, kind="stable")
        starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
        for size in np.unique(sizes):
            rows = order[starts[sizes == size][:, None] + np.arange(size)]
            blocks = _blocks_in_chunks(basis, shrink, rows)
            if not dual:
                blocks = np.eye(size) - 1 / n_trials - blocks
            solved = _solve_ones(blocks)
            weights[:, rows.ravel()] = solved.reshape(n_alphas, -1) / size
        matrices = [
            scipy.sparse.csr_array(
                (row.astype(basis.dtype), (groups, np.arange(n_trials))), shape=(len(sizes), n_trials)
            )
            for row in weights
        ]
        return cls(matrices)

    def mean_squared(self, alpha_index: int, residuals: NDArray[np.floating]) -> NDArray[np.float64]:
        """Square the averaged left-out residuals and take the mean over groups.

        Args:
            alpha_index: Which alpha the residuals belong to.
            residuals: ``y - ŷ`` (primal) or ``(y - ŷ) / alpha`` (dual), (trials, targets).

        Returns:
            float64 (targets,).
        """
        left_out = self.left_out(alpha_index, residuals)
        return np.asarray(np.einsum("gt,gt->t", left_out, left_out, dtype=np.float64) / len(left_out))

    def left_out(self, alpha_index: int, residuals: NDArray[np.floating]) -> NDArray[np.floating]:
        """Averaged left-out residuals, (groups, targets); arguments as in :meth:`mean_squared`."""
        return np.asarray(self.averages[alpha_index] @ residuals)


def _solve_ones(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row sums of each block's inverse, (alphas, groups, size); NaN where a block is singular.

    NaN marks arithmetic that was not good enough; the caller repeats the fit in float64.
    """
    ones = np.ones((*blocks.shape[:-1], 1))
    try:
        return np.asarray(np.linalg.solve(blocks, ones)[..., 0])
    except np.linalg.LinAlgError:
        return np.full(blocks.shape[:-1], np.nan)


def _blocks_in_chunks(
    basis: NDArray[np.floating], shrink: NDArray[np.floating], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Blocks ``B_g s B_gᵀ`` for groups of one size: rows (groups, size) give (alphas, groups, size, size)."""
    n_groups, size = rows.shape
    blocks = np.empty((len(shrink), n_groups, size, size))
    if size > LARGEST_SMALL_GROUP:
        for group, members in enumerate(rows):
            part = basis[members]
            for index, scale in enumerate(shrink):
                blocks[index, group] = (part * scale) @ part.T
        return blocks
    step = max(1, CHUNK_VALUES // basis.shape[1])
    for start in range(0, n_groups, step):
        chunk = rows[start : start + step]
        for i in range(size):
            first = basis[chunk[:, i]]
            for j in range(i + 1):
                product = (first * basis[chunk[:, j]]) @ shrink.T
                blocks[:, start : start + step, i, j] = product.T
                blocks[:, start : start + step, j, i] = product.T
    return blocks
