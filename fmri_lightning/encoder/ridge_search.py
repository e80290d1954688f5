"""Scores of every alpha from left-out residuals, the choice, and the weights: the same for every way of solving."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.encoder.ridge_folds import Folds
from fmri_lightning.encoder.ridge_products import product

TARGET_BATCH = 512
"""Targets per matrix product: bounds the working memory to (trials, 512) whatever the width of the target."""

NORMAL_EQUATION_TOLERANCE = 1e-3
"""Relative residual of the normal equations above which a fit is repeated in float64."""

Scoring = Literal["mse", "r2", "cosine"]
Columns = slice | NDArray[np.intp]
PerBatch = Callable[[Columns], NDArray[np.floating]]


class InaccurateError(ArithmeticError):
    """The arithmetic was not good enough; the fit is repeated in float64."""


class Solver(Protocol):
    """Centred features and targets, decomposed or ready to be factorised at any alpha of the grid."""

    alphas: NDArray[np.float64]

    def left_out(self, alpha_index: int) -> PerBatch:
        """Left-out residuals at one alpha: columns of the targets to (rows, columns)."""

    def weights(self, alpha_index: int) -> PerBatch:
        """Weights of the full fit at one alpha: columns of the targets to (voxels, columns)."""


@dataclass
class Found:
    """What a search over the grid returns.

    Attributes:
        weights: (voxels, targets).
        alphas: The grid, ascending.
        choice: Index of the alpha of each target, (targets,).
        mse: Mean squared left-out residual, (alphas, targets).
        scores: Score of each alpha over all targets, (alphas,); higher is better.
        variance: Variance of each target over the scored rows, (targets,).
        left_out: Left-out predictions of the centred targets, (stimuli, targets), or None.
    """

    weights: NDArray[np.floating]
    alphas: NDArray[np.float64]
    choice: NDArray[np.int64]
    mse: NDArray[np.float64]
    scores: NDArray[np.float64]
    variance: NDArray[np.float64]
    left_out: NDArray[np.floating] | None


def default_alphas(mean_eigenvalue: float) -> NDArray[np.float64]:
    """Half decades from 1e-5 to 1e3 times the mean eigenvalue of the Gram matrix."""
    return np.asarray((mean_eigenvalue or 1.0) * np.logspace(-5, 3, 17))


def search(
    solver: Solver,
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    folds: Folds,
    scoring: Scoring,
    alpha_per_target: bool,
    keep_left_out: bool,
) -> Found:
    """Score the grid, choose and solve.

    Args:
        solver: Of the same ``x``, ``y`` and ``folds``.
        x: Centred features, (trials, voxels).
        y: Centred targets, (trials, targets).
        folds: What is left out together, and scored.
        scoring: See :func:`fmri_lightning.encoder.ridge.fit_ridge`.
        alpha_per_target: Whether each target takes the alpha of its own smallest error.
        keep_left_out: Whether to compute the left-out predictions at the chosen alpha.

    Returns:
        Choice, weights and scores.

    Raises:
        InaccurateError: If a score is not finite or the weights do not solve the normal equations.
    """
    mse, cosine = _score_grid(solver, y, folds, scoring == "cosine")
    variance = _variance(y, folds)
    scores = _scores(scoring, mse, cosine, variance)
    n_targets = y.shape[1]
    choice = mse.argmin(axis=0) if alpha_per_target else np.full(n_targets, scores.argmax())
    weights = np.empty((x.shape[1], n_targets), dtype=x.dtype)
    for alpha_index in np.unique(choice):
        solve = solver.weights(alpha_index)
        for columns in _batches(np.flatnonzero(choice == alpha_index)):
            weights[:, columns] = solve(columns)
            _check_normal_equations(x, y, weights, columns, solver.alphas[alpha_index])
    left_out = _left_out_predictions(solver, y, folds, choice) if keep_left_out else None
    return Found(weights, solver.alphas, choice, mse, scores, variance, left_out)


def _batches(columns: NDArray[np.intp]) -> Iterator[Columns]:
    for start in range(0, len(columns), TARGET_BATCH):
        batch = columns[start : start + TARGET_BATCH]
        # Neighbours as a slice: NumPy copies what is picked by an array.
        yield slice(batch[0], batch[-1] + 1) if batch[-1] - batch[0] + 1 == len(batch) else batch


def _score_grid(
    solver: Solver, y: NDArray[np.floating], folds: Folds, with_cosine: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mse, cosine = np.empty((len(solver.alphas), y.shape[1])), np.full(len(solver.alphas), np.nan)
    for alpha_index in range(len(solver.alphas)):
        left_out, tally = solver.left_out(alpha_index), _CosineTally(folds)
        for columns in _batches(np.arange(y.shape[1])):
            residuals = left_out(columns)
            mse[alpha_index, columns] = np.einsum("rt,rt->t", residuals, residuals, dtype=np.float64) / len(residuals)
            if with_cosine:
                tally.add(y[:, columns], residuals)
        if with_cosine:
            cosine[alpha_index] = tally.mean()
    if not np.all(np.isfinite(mse)):
        raise InaccurateError("a left-out residual is not finite")
    return mse, cosine


class _CosineTally:
    """Cosine of left-out predictions and targets per row, over batches of targets.

    Both are taken relative to the mean of the trials that the prediction was learnt from. Relative to the mean of all
    trials, a prediction that knows nothing but its training mean would point away from the target.
    """

    def __init__(self, folds: Folds) -> None:
        self.folds = folds
        n_rows = folds.row_of_trial.max() + 1
        self.dots, self.predicted, self.target = np.zeros(n_rows), np.zeros(n_rows), np.zeros(n_rows)

    def add(self, y: NDArray[np.floating], residuals: NDArray[np.floating]) -> None:
        target = self.folds.rows(y) - self.folds.training_means(y)
        predicted = target - residuals
        self.dots += np.einsum("rt,rt->r", target, predicted, dtype=np.float64)
        self.predicted += np.einsum("rt,rt->r", predicted, predicted, dtype=np.float64)
        self.target += np.einsum("rt,rt->r", target, target, dtype=np.float64)

    def mean(self) -> float:
        norms = np.sqrt(self.predicted * self.target)
        return float(np.mean(np.divide(self.dots, norms, out=np.zeros_like(norms), where=norms > 0)))


def _variance(y: NDArray[np.floating], folds: Folds) -> NDArray[np.float64]:
    variance = np.empty(y.shape[1])
    for columns in _batches(np.arange(y.shape[1])):
        part = y[:, columns]
        # A constant target has the variance of its rounding unless it is named.
        variance[columns] = np.where(part.max(axis=0) > part.min(axis=0), folds.rows(part).var(axis=0, dtype=float), 0)
    return variance


def _scores(
    scoring: Scoring, mse: NDArray[np.float64], cosine: NDArray[np.float64], variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    if scoring == "cosine":
        return cosine
    varies = variance > 0
    if scoring == "r2" and varies.any():
        return np.asarray(1 - (mse[:, varies] / variance[varies]).mean(axis=1))
    return np.asarray(-mse.mean(axis=1))


def _check_normal_equations(
    x: NDArray[np.floating], y: NDArray[np.floating], weights: NDArray[np.floating], columns: Columns, alpha: float
) -> None:
    """Check (XᵀX + αI) W = XᵀY on a sample of the targets."""
    targets = np.arange(y.shape[1])[columns]
    some = targets[np.unique(np.linspace(0, len(targets) - 1, 8).astype(np.int64))]
    # The columns of an array picked by another come Fortran-ordered or C-ordered as NumPy likes.
    w, right = np.ascontiguousarray(weights[:, some]), product(x.T, np.ascontiguousarray(y[:, some]))
    left = product(x.T, product(x, w)) + w * w.dtype.type(alpha)
    # Scaled by the terms that cancel, and by nothing when a target is constant.
    scale = np.linalg.norm(right)
    if not np.linalg.norm(left - right) <= NORMAL_EQUATION_TOLERANCE * scale + np.finfo(x.dtype).tiny:
        raise InaccurateError("the weights do not solve the normal equations")


def _left_out_predictions(
    solver: Solver, y: NDArray[np.floating], folds: Folds, choice: NDArray[np.int64]
) -> NDArray[np.floating]:
    """Left-out predictions of the centred targets at the chosen alphas, averaged over repeats: (stimuli, targets)."""
    predictions = np.empty((folds.stimulus_of_trial.max() + 1, y.shape[1]), dtype=y.dtype)
    for alpha_index in np.unique(choice):
        left_out = solver.left_out(alpha_index)
        for columns in _batches(np.flatnonzero(choice == alpha_index)):
            predictions[:, columns] = folds.stimuli(folds.rows(y[:, columns]) - left_out(columns))
    return predictions
