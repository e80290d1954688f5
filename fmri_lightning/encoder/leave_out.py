"""Exact left-out residuals of a linear smoother, without refitting.

For a smoother ``ŷ = H y`` that minimises a penalised square loss, the residuals of the trials F predicted from all
other trials are ``(I - H)_FF⁻¹ (y - ŷ)_F``, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray
from scipy.linalg import blas

from fmri_lightning.encoder.ridge_folds import Folds
from fmri_lightning.encoder.ridge_products import outer, product
from fmri_lightning.encoder.ridge_scratch import Scratch

LARGEST_SMALL_GROUP = 8
"""Repeats of a stimulus: pairs of positions go through one skinny product for all alphas. Above: one by one."""

CHUNK_VALUES = 1 << 22
"""Values of an intermediate product (16 MiB in float32)."""

LeaveOut = Callable[[NDArray[np.floating]], NDArray[np.floating]]
"""Turns residuals of the full fit at one alpha, (trials, targets), into left-out residuals, (rows, targets), which are
valid until the next call."""


def prepare_leave_out(
    basis: NDArray[np.floating], shrink: NDArray[np.floating], folds: Folds, dual: bool
) -> GroupLeaveOut | FoldLeaveOut:
    """Choose the form of the identity that suits the folds.

    Args:
        basis: Q of the dual form (eigenvectors) or Z = X V of the primal form, (trials, k).
        shrink: 1 / (eigenvalue + alpha), (alphas, k); 0 for the intercept's direction in the dual form.
        folds: Which trials are left out together, and which rows are scored.
        dual: Whether blocks are ``Q_F s Q_Fᵀ`` (``I - H`` divided by alpha, which cancels when the residuals are
            divided too) or ``I - 1/n - Z_F s Z_Fᵀ``.

    Returns:
        An object whose ``at(alpha_index)`` is a :data:`LeaveOut`.
    """
    if folds.folds_are_stimuli:
        return GroupLeaveOut.prepare(basis, shrink, folds, dual)
    return FoldLeaveOut(basis, shrink, folds, dual)


@dataclass
class GroupLeaveOut:
    """Leave-one-stimulus-out residuals for every alpha.

    The inverted blocks of all stimuli make one sparse matrix per alpha; where repeats are averaged, the average of its
    rows is taken once and not per target.

    Attributes:
        maps: One sparse (rows, trials) matrix per alpha that maps residuals to left-out residuals of scored rows.
    """

    maps: list[scipy.sparse.csr_array]

    @classmethod
    def prepare(
        cls, basis: NDArray[np.floating], shrink: NDArray[np.floating], folds: Folds, dual: bool
    ) -> GroupLeaveOut:
        """Invert the diagonal blocks of ``I - H`` for every alpha; arguments of :func:`prepare_leave_out`."""
        n_trials, members = len(basis), folds.members()
        sizes = np.array([len(trials) for trials in members])
        values: list[NDArray[np.floating]] = []
        places: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        for size in np.unique(sizes):
            rows = np.stack([trials for trials in members if len(trials) == size])
            blocks = _blocks_in_chunks(basis, shrink, rows)
            if not dual:
                blocks = np.eye(size) - 1 / n_trials - blocks
            values.append(_inverted(blocks).reshape(len(shrink), -1).astype(basis.dtype))
            places.append((np.repeat(rows, size, axis=1).ravel(), np.tile(rows, (1, size)).ravel()))
        row, column = (np.concatenate(part) for part in zip(*places, strict=True))
        shape = (n_trials, n_trials)
        inverses = [scipy.sparse.csr_array((of_alpha, (row, column)), shape=shape) for of_alpha in np.hstack(values)]
        return cls([folds.rows(inverse) for inverse in inverses])

    def at(self, alpha_index: int) -> LeaveOut:
        """Return the leave-out at one alpha."""
        return lambda residuals: np.asarray(self.maps[alpha_index] @ residuals)


@dataclass
class FoldLeaveOut:
    """Left-out residuals of folds that hold many trials, one alpha after the other.

    A fold smaller than the rank of the basis solves with its block of ``I - H``; a larger one with the Gram matrix of
    the other trials, which is then the smaller of the two (Woodbury).

    Attributes:
        basis: As in :func:`prepare_leave_out`.
        shrink: As there.
        folds: As there.
        dual: As there.
    """

    basis: NDArray[np.floating]
    shrink: NDArray[np.floating]
    folds: Folds
    dual: bool

    def __post_init__(self) -> None:
        self._scratch = Scratch()
        members = self.folds.members()
        self._order = np.concatenate(members)
        stops = np.cumsum([len(trials) for trials in members])
        self._parts = [slice(stop - len(trials), stop) for trials, stop in zip(members, stops, strict=True)]
        # Fold by fold, in the basis' own order of memory: then every fold is a view.
        if not np.array_equal(self._order, np.arange(len(self._order))):
            by_column = self.basis.flags.f_contiguous
            self.basis = np.take(self.basis.T, self._order, axis=1).T if by_column else self.basis[self._order]
        # A Gram matrix here is smaller than the fold's part of the basis, so together they are smaller than the basis.
        self._grams = {
            part.start: outer(self._with_constant(part).T)
            for part in self._parts
            if part.stop - part.start > self.basis.shape[1]
        }

    def at(self, alpha_index: int) -> LeaveOut:
        """Factorise all folds at one alpha; what was returned for another one is no longer valid.

        Raises:
            numpy.linalg.LinAlgError: If a block is not positive definite in this arithmetic.
        """
        solvers = [
            self._wide_fold(part, alpha_index) if part.start in self._grams else self._fold(part, alpha_index)
            for part in self._parts
        ]

        def leave_out(residuals: NDArray[np.floating]) -> NDArray[np.floating]:
            by_fold = self._scratch.take("by_fold", residuals.shape, residuals.dtype)
            np.take(residuals, self._order, axis=0, out=by_fold)
            for part, solve in zip(self._parts, solvers, strict=True):
                by_fold[part] = solve(by_fold[part])
            left_out = self._scratch.take("left_out", residuals.shape, residuals.dtype)
            left_out[self._order] = by_fold
            return np.asarray(self.folds.rows(left_out))

        return leave_out

    def _fold(self, part: slice, alpha_index: int) -> LeaveOut:
        rows, dtype = self.basis[part], self.basis.dtype
        layout: Literal["C", "F"] = "F" if rows.flags.f_contiguous or self.basis.flags.f_contiguous else "C"
        scaled = self._scratch.take("scaled", rows.shape, dtype, layout)
        np.multiply(rows, np.sqrt(self.shrink[alpha_index]), out=scaled)
        block = self._scratch.take(f"block {part.start}", (len(rows), len(rows)), dtype, "F")
        outer(scaled, out=block)
        if not self.dual:
            block *= -1
            block -= block.dtype.type(1 / len(self.basis))
            block.flat[:: len(block) + 1] += 1
        upper, _ = scipy.linalg.cho_factor(block, overwrite_a=True, check_finite=False)
        trsm = blas.strsm if block.dtype == np.float32 else blas.dtrsm

        def solve(residuals: NDArray[np.floating]) -> NDArray[np.floating]:
            # From the right side, on the transpose: C-ordered residuals are Fortran-ordered there without a copy.
            half = trsm(1.0, upper, residuals.T, side=1, overwrite_b=1)
            return np.asarray(trsm(1.0, upper, half, side=1, trans_a=1, overwrite_b=1).T)

        return solve

    def _wide_fold(self, part: slice, alpha_index: int) -> LeaveOut:
        system = -self._grams[part.start]
        # The constant column has the norm 1 and, being the intercept, no penalty.
        system.flat[:: len(system) + 1] += np.append(1 / self.shrink[alpha_index], 1).astype(system.dtype)
        factor = scipy.linalg.cho_factor(system, overwrite_a=True, check_finite=False)

        def solve(residuals: NDArray[np.floating]) -> NDArray[np.floating]:
            rows = self._with_constant(part)
            return np.asarray(residuals + rows @ scipy.linalg.cho_solve(factor, rows.T @ residuals, check_finite=False))

        return solve

    def _with_constant(self, part: slice) -> NDArray[np.floating]:
        rows = np.empty((part.stop - part.start, self.basis.shape[1] + 1), dtype=self.basis.dtype)
        rows[:, :-1] = self.basis[part]
        rows[:, -1] = 1 / np.sqrt(len(self.basis))
        return rows


def _inverted(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverses of blocks (alphas, groups, size, size); NaN where one is singular.

    NaN marks arithmetic that was not good enough; the caller repeats the fit in float64.
    """
    try:
        return np.asarray(np.linalg.inv(blocks))
    except np.linalg.LinAlgError:
        return np.full(blocks.shape, np.nan)


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
                pairs = product(first * basis[chunk[:, j]], shrink.T)
                blocks[:, start : start + step, i, j] = pairs.T
                blocks[:, start : start + step, j, i] = pairs.T
    return blocks
