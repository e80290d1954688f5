"""Ridge regression with many targets: one decomposition, every alpha, exact leave-out of whole stimuli.

The largest matrix product of a fit is the smaller Gram matrix. When trials are fewer than voxels the dual form
decomposes X Xᵀ, otherwise the primal form decomposes Xᵀ X; everything after it is a matrix product per alpha.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.encoder.ridge_evd import EvdSolver
from fmri_lightning.encoder.ridge_folds import Folds, make_folds
from fmri_lightning.encoder.ridge_search import Found, InaccurateError, Scoring, Solver, search
from fmri_lightning.errors import BadInputError, UsageError

if TYPE_CHECKING:
    import torch


FLAT = 1e-4
"""Relative gain of the left-out error from the second smallest alpha to the smallest below which none is lost."""


class AlphaAtEdgeWarning(UserWarning):
    """The best alpha lies at an end of the grid, so a better one may lie outside."""


class CholeskyFailedWarning(UserWarning):
    """Cholesky factors were not accurate enough, and the fit was repeated on the CPU in float64."""


@dataclass(frozen=True)
class RidgeFit:
    """A fitted ridge regression: ``predictions = features @ weights + intercept``.

    Attributes:
        weights: (voxels, targets) float32 or float64, as solved.
        intercept: (targets,), never penalised.
        alpha: Chosen penalty per target, (targets,) float64; all equal when one alpha serves all targets.
        alphas: The grid, (alphas,) float64, ascending.
        loo_mse: Mean squared left-out residual, (alphas, targets) float64.
        loo_r2: 1 - loo_mse / variance over the scored rows, both pooled over targets, (alphas,) float64.
        form: "dual" when trials < voxels, else "primal".
        dtype: "float32" or "float64", the arithmetic that was used in the end.
        at_edge: Whether the choice lies at an end of the grid.
        scores: What one alpha for all targets is chosen by, (alphas,) float64, higher is better: the negative mean
            of ``loo_mse``, the mean R² or the mean cosine.
        left_out: Predictions of each stimulus from the trials outside its fold, at the chosen alpha, averaged over
            its repeats, (stimuli, targets) float32; None unless asked for.
        left_out_stimuli: Ids of its rows, ascending; None with it.
    """

    weights: NDArray[np.floating]
    intercept: NDArray[np.floating]
    alpha: NDArray[np.float64]
    alphas: NDArray[np.float64]
    loo_mse: NDArray[np.float64]
    loo_r2: NDArray[np.float64]
    form: Literal["dual", "primal"]
    dtype: str
    at_edge: bool
    scores: NDArray[np.float64]
    left_out: NDArray[np.float32] | None = None
    left_out_stimuli: NDArray[np.integer] | None = None

    def predict(self, features: NDArray[np.floating]) -> NDArray[np.floating]:
        """Predict targets of features (n, voxels); returns (n, targets)."""
        return np.asarray(features @ self.weights + self.intercept)


def fit_ridge(
    features: NDArray[np.floating],
    targets: NDArray[np.floating],
    stimuli: NDArray[np.integer] | None = None,
    alphas: Sequence[float] | None = None,
    alpha_per_target: bool = False,
    form: Literal["auto", "dual", "primal"] = "auto",
    dtype: Literal["float32", "float64"] = "float32",
    overwrite_features: bool = False,
    *,
    cv: Literal["stimulus"] | int = "stimulus",
    folds: NDArray[np.integer] | None = None,
    average_repeats: bool = True,
    scoring: Scoring = "mse",
    keep_left_out: bool = False,
    device: str | torch.device = "cpu",
    solver: Literal["auto", "evd", "cholesky"] = "auto",
) -> RidgeFit:
    """Fit ridge regression and choose alpha by exact leave-out of whole stimuli.

    All trials of a stimulus are left out together: leaving out single trials leaks its repeats and picks an alpha
    that can cost all of the test R². The residuals of the repeats are averaged before they are squared, which is
    how a repeated test picture is scored. The intercept is refitted in every leave-out.

    Args:
        features: Voxels or components, (trials, voxels), any scale.
        targets: Embeddings, (trials, targets); trials of one stimulus carry the same row.
        stimuli: Stimulus id of each trial, (trials,) integers; None when every trial is its own stimulus.
        alphas: Penalties to try, each above 0. None takes half decades from 1e-5 to 1e3 times the mean eigenvalue
            of the Gram matrix, which makes the grid independent of the features' scale.
        alpha_per_target: Choose one alpha for every target, by its smallest error, instead of one for all.
        form: "auto" takes the smaller Gram matrix; the other two exist for tests.
        dtype: Arithmetic; float32 falls back to float64 when it fails or is inaccurate.
        overwrite_features: Centre ``features`` in place instead of copying them (saves one copy in memory; only for
            arrays of ``dtype``).
        cv: "stimulus" leaves out one stimulus at a time; a number, that many folds of stimuli.
        folds: Fold number of each trial, (trials,), in place of ``cv``; a stimulus lies in one fold.
        average_repeats: Average the left-out residuals of a stimulus before they are scored, in folds too. False
            scores single trials, as other packages do.
        scoring: What one alpha for all targets is chosen by: "mse", the squared error pooled over targets; "r2", the
            mean of the targets' R², in which every target weighs the same; "cosine", the mean cosine of prediction
            and target, both relative to the mean of the trials that the prediction was learnt from.
        keep_left_out: Return the left-out predictions at the chosen alpha.
        device: Where to solve: "cpu", "cuda" or a torch device.
        solver: "auto" takes one eigendecomposition on the CPU and Cholesky factors per alpha elsewhere.

    Returns:
        Weights, intercept, the chosen alpha and the leave-out curve.

    Raises:
        BadInputError: If shapes disagree, an alpha is not positive, fewer than two stimuli are given, folds tear a
            stimulus apart, or features or targets hold NaN or infinity (a decomposition would return NaN silently).
        UsageError: If the arguments contradict each other.
    """
    ids = _check_shapes(features, targets, stimuli)
    _check_arguments(scoring, alpha_per_target, device, solver)
    parts = make_folds(ids, cv, folds, average_repeats)
    feature_mean, target_mean = _finite_mean(features, "features"), _finite_mean(targets, "targets")
    grid = None if alphas is None else _check_alphas(alphas)
    arithmetic = np.dtype(dtype)
    if overwrite_features and features.dtype != arithmetic:
        raise BadInputError(f"features of type {features.dtype} cannot be centred in place in {arithmetic}")
    task = _Task(parts, grid, _choose_form(form, *features.shape), scoring, alpha_per_target, keep_left_out)
    by_cholesky = solver == "cholesky" or (solver == "auto" and str(device) != "cpu")
    x = _centred(features, feature_mean, arithmetic, in_place=overwrite_features)
    y = _centred(targets, target_mean, arithmetic, in_place=False)
    failure = ""
    try:
        found = task.by_cholesky(x, y, device) if by_cholesky else task.by_evd(x, y)
    except InaccurateError as error:
        # Solved again after this clause: inside it, the error keeps the matrices of the failed attempt.
        failure = str(error)
    if failure:
        if not by_cholesky and arithmetic == np.float64:
            raise _unsolvable(failure)
        if by_cholesky:
            warnings.warn(
                f"ridge: Cholesky on {device} in {arithmetic} failed, {failure}; solved on the CPU in float64",
                CholeskyFailedWarning,
                stacklevel=2,
            )
        del x
        x, y = _centred_again(features, feature_mean, overwrite_features), _centred(targets, target_mean, np.float64)
        arithmetic = np.dtype(np.float64)
        try:
            found = task.by_evd(x, y)
        except InaccurateError as error:
            raise _unsolvable(str(error)) from error
    at_edge = _warn_at_edge(found.choice, found.alphas, found.mse, default_grid=alphas is None)
    variance = found.variance.mean()
    return RidgeFit(
        weights=found.weights,
        intercept=(target_mean - feature_mean @ found.weights.astype(np.float64)).astype(arithmetic),
        alpha=found.alphas[found.choice],
        alphas=found.alphas,
        loo_mse=found.mse,
        loo_r2=1 - found.mse.mean(axis=1) / variance if variance > 0 else np.full(len(found.alphas), np.nan),
        form=task.form,
        dtype=arithmetic.name,
        at_edge=at_edge,
        scores=found.scores,
        left_out=None if found.left_out is None else (found.left_out + target_mean).astype(np.float32),
        left_out_stimuli=None if found.left_out is None else np.unique(ids),
    )


@dataclass(frozen=True)
class _Task:
    folds: Folds
    grid: NDArray[np.float64] | None
    form: Literal["dual", "primal"]
    scoring: Scoring
    alpha_per_target: bool
    keep_left_out: bool

    def by_evd(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> Found:
        return self._search(EvdSolver(x, y, self.folds, self.grid, self.form), x, y)

    def by_cholesky(self, x: NDArray[np.floating], y: NDArray[np.floating], device: Any) -> Found:
        # Importing torch takes seconds and 300 MB, which the CPU does without.
        from fmri_lightning.encoder.ridge_cholesky import CholeskySolver, full_float32_products

        with full_float32_products():
            return self._search(CholeskySolver(x, y, self.folds, self.grid, self.form, device), x, y)

    def _search(self, solver: Solver, x: NDArray[np.floating], y: NDArray[np.floating]) -> Found:
        return search(solver, x, y, self.folds, self.scoring, self.alpha_per_target, self.keep_left_out)


def _unsolvable(reason: str) -> BadInputError:
    return BadInputError(
        f"ridge: the normal equations could not be solved accurately, not in float64 either ({reason}); "
        "look for features of wildly different scale, or raise the smallest alpha"
    )


def _check_shapes(
    features: NDArray[np.floating], targets: NDArray[np.floating], stimuli: NDArray[np.integer] | None
) -> NDArray[np.integer]:
    """Return the stimulus id of each trial."""
    if features.ndim != 2 or targets.ndim != 2 or len(features) != len(targets):
        raise BadInputError(
            f"ridge: features {features.shape} and targets {targets.shape} must be matrices with a row per trial each"
        )
    if 0 in features.shape or 0 in targets.shape:
        raise BadInputError(f"ridge: nothing to fit, features {features.shape} and targets {targets.shape}")
    ids = np.arange(len(features)) if stimuli is None else np.asarray(stimuli)
    if ids.shape != (len(features),):
        raise BadInputError(f"ridge: {len(features)} trials need as many stimulus ids, got {ids.shape}")
    return ids


def _check_arguments(scoring: str, alpha_per_target: bool, device: Any, solver: str) -> None:
    if scoring not in ("mse", "r2", "cosine"):
        raise UsageError(f"ridge: scoring is 'mse', 'r2' or 'cosine', got {scoring!r}")
    if scoring == "cosine" and alpha_per_target:
        raise UsageError("ridge: a cosine needs all targets at one alpha; use scoring='mse' or alpha_per_target=False")
    if solver not in ("auto", "evd", "cholesky"):
        raise UsageError(f"ridge: solver is 'auto', 'evd' or 'cholesky', got {solver!r}")
    if solver == "evd" and str(device) != "cpu":
        raise UsageError(f"ridge: solver='evd' runs on the CPU; use device='cpu' or solver='cholesky' for {device}")


def _finite_mean(matrix: NDArray[np.floating], what: str) -> NDArray[np.float64]:
    # A sum is NaN or infinite as soon as one addend is: one pass and no boolean matrix.
    mean = np.asarray(matrix.mean(axis=0, dtype=np.float64))
    bad = np.flatnonzero(~np.isfinite(mean))
    if len(bad):
        raise BadInputError(
            f"ridge: NaN or infinity in {len(bad)} of {len(mean)} columns of the {what} (first: column {bad[0]}); "
            "repair or mask them before fitting"
        )
    return mean


def _check_alphas(alphas: Sequence[float]) -> NDArray[np.float64]:
    grid = np.unique(np.asarray(alphas, dtype=np.float64))
    if not len(grid) or not np.all(np.isfinite(grid)) or grid[0] <= 0:
        raise BadInputError(f"ridge: every alpha must be a positive number, got {list(alphas)}")
    return grid


def _choose_form(form: str, n_trials: int, n_voxels: int) -> Literal["dual", "primal"]:
    if form == "auto":
        return "dual" if n_trials < n_voxels else "primal"
    return "dual" if form == "dual" else "primal"


def _centred(
    matrix: NDArray[np.floating], mean: NDArray[np.float64], dtype: Any, in_place: bool = False
) -> NDArray[np.floating]:
    if in_place:
        matrix -= mean.astype(matrix.dtype)
        return matrix
    centred = np.empty(matrix.shape, dtype=dtype)
    # The mean is float64, and so is the subtraction: a float32 mean of a large offset would leave a shift behind.
    np.subtract(matrix, mean, out=centred, casting="same_kind")
    return centred


def _centred_again(
    features: NDArray[np.floating], mean: NDArray[np.float64], already_centred: bool
) -> NDArray[np.floating]:
    if already_centred:
        return features.astype(np.float64)
    return _centred(features, mean, np.float64)


def _warn_at_edge(
    choice: NDArray[np.int64], alphas: NDArray[np.float64], mse: NDArray[np.float64], default_grid: bool
) -> bool:
    """Warn when an end of the grid was chosen for every target, or for more than a quarter of them."""
    if len(alphas) == 1:
        return False
    low, high = float(np.mean(choice == 0)), float(np.mean(choice == len(alphas) - 1))
    if default_grid and mse[1].mean() - mse[0].mean() <= FLAT * mse[1].mean():
        # The default grid begins where the penalty is next to nothing: a curve that is flat there stays flat below.
        low = 0.0
    at_edge = max(low, high) > 0.25
    if at_edge:
        end, alpha = ("smallest", alphas[0]) if low > high else ("largest", alphas[-1])
        warnings.warn(
            f"ridge: the {end} alpha of the grid, {alpha:.3g}, was chosen for {max(low, high):.0%} of the targets; "
            "extend the grid in that direction",
            AlphaAtEdgeWarning,
            stacklevel=3,
        )
    return at_edge
