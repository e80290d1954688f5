"""Ridge regression with many targets: one decomposition, every alpha, exact leave-one-stimulus-out.

The largest matrix product of a fit is the smaller Gram matrix. When trials are fewer than voxels the dual form
decomposes X Xᵀ, otherwise the primal form decomposes Xᵀ X; everything after it is a matrix product per alpha.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray
from scipy.linalg import blas

from fmri_lightning.encoder.leave_out import GroupLeaveOut
from fmri_lightning.errors import BadInputError

TARGET_BATCH = 512
"""Targets per matrix product: bounds the working memory to (trials, 512) whatever the width of the target."""

NORMAL_EQUATION_TOLERANCE = 1e-3
"""Relative residual of the normal equations above which a float32 fit is repeated in float64."""


class AlphaAtEdgeWarning(UserWarning):
    """The best alpha lies at an end of the grid, so a better one may lie outside."""


@dataclass(frozen=True)
class RidgeFit:
    """A fitted ridge regression: ``predictions = features @ weights + intercept``.

    Attributes:
        weights: (voxels, targets) float32 or float64, as solved.
        intercept: (targets,), never penalised.
        alpha: Chosen penalty per target, (targets,) float64; all equal when one alpha serves all targets.
        alphas: The grid, (alphas,) float64, ascending.
        loo_mse: Mean squared leave-one-stimulus-out residual, (alphas, targets) float64.
        loo_r2: 1 - loo_mse / variance over stimuli, pooled over targets, (alphas,) float64.
        form: "dual" when trials < voxels, else "primal".
        dtype: "float32" or "float64", the arithmetic that was used in the end.
        at_edge: Whether the choice lies at an end of the grid.
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
) -> RidgeFit:
    """Fit ridge regression and choose alpha by exact leave-one-stimulus-out.

    All trials of a stimulus are left out together: leaving out single trials leaks its repeats and picks an alpha
    that can cost all of the test R². The residuals of the repeats are averaged before they are squared, which is
    how a repeated test picture is scored.

    Args:
        features: Voxels or components, (trials, voxels), any scale.
        targets: Embeddings, (trials, targets); trials of one stimulus carry the same row.
        stimuli: Stimulus id of each trial, (trials,) integers; None when every trial is its own stimulus.
        alphas: Penalties to try, each above 0. None takes half decades from 1e-3 to 1e3 times the mean eigenvalue
            of the Gram matrix, which makes the grid independent of the features' scale.
        alpha_per_target: Choose one alpha for every target instead of one for all (pooled squared error).
        form: "auto" takes the smaller Gram matrix; the other two exist for tests.
        dtype: Arithmetic; float32 falls back to float64 when it fails or is inaccurate.
        overwrite_features: Centre ``features`` in place instead of copying them (saves one copy in memory; only for
            arrays of ``dtype``).

    Returns:
        Weights, intercept, the chosen alpha and the leave-one-out curve.

    Raises:
        BadInputError: If shapes disagree, an alpha is not positive, fewer than two stimuli are given, or features
            or targets hold NaN or infinity (a decomposition would return NaN silently).
    """
    groups = _check_shapes(features, targets, stimuli)
    feature_mean, target_mean = _finite_mean(features, "features"), _finite_mean(targets, "targets")
    grid = None if alphas is None else _check_alphas(alphas)
    arithmetic = np.dtype(dtype)
    if overwrite_features and features.dtype != arithmetic:
        raise BadInputError(f"features of type {features.dtype} cannot be centred in place in {arithmetic}")
    x = _centred(features, feature_mean, arithmetic, in_place=overwrite_features)
    y = _centred(targets, target_mean, arithmetic, in_place=False)
    solved = _solve(x, y, groups, grid, alpha_per_target, _choose_form(form, *features.shape))
    if solved is None and arithmetic == np.float32:
        x, y = _centred_again(features, feature_mean, overwrite_features), _centred(targets, target_mean, np.float64)
        arithmetic = np.dtype(np.float64)
        solved = _solve(x, y, groups, grid, alpha_per_target, _choose_form(form, *features.shape))
    if solved is None:
        raise BadInputError(
            "ridge: the normal equations could not be solved accurately, not in float64 either; "
            "look for features of wildly different scale, or raise the smallest alpha"
        )
    at_edge = _warn_at_edge(solved.choice, solved.alphas)
    variance = _stimulus_variance(y, groups)
    return RidgeFit(
        weights=solved.weights,
        intercept=(target_mean - feature_mean @ solved.weights.astype(np.float64)).astype(arithmetic),
        alpha=solved.alphas[solved.choice],
        alphas=solved.alphas,
        loo_mse=solved.loo_mse,
        loo_r2=1 - solved.loo_mse.mean(axis=1) / variance if variance > 0 else np.full(len(solved.alphas), np.nan),
        form=_choose_form(form, *features.shape),
        dtype=arithmetic.name,
        at_edge=at_edge,
    )


def _check_shapes(
    features: NDArray[np.floating], targets: NDArray[np.floating], stimuli: NDArray[np.integer] | None
) -> NDArray[np.int64]:
    """Return the group number 0..n_groups-1 of each trial."""
    if features.ndim != 2 or targets.ndim != 2 or len(features) != len(targets):
        raise BadInputError(
            f"ridge: features {features.shape} and targets {targets.shape} must be matrices with a row per trial each"
        )
    if 0 in features.shape or 0 in targets.shape:
        raise BadInputError(f"ridge: nothing to fit, features {features.shape} and targets {targets.shape}")
    ids = np.arange(len(features)) if stimuli is None else np.asarray(stimuli)
    if ids.shape != (len(features),):
        raise BadInputError(f"ridge: {len(features)} trials need as many stimulus ids, got {ids.shape}")
    unique, groups = np.unique(ids, return_inverse=True)
    if len(unique) < 2:
        raise BadInputError("ridge: leaving one stimulus out needs at least two stimuli")
    return np.asarray(groups, dtype=np.int64)


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
    # The subtraction runs in float64 per block: float32 means of large offsets would leave a shift behind.
    rows = max(1, (1 << 22) // matrix.shape[1])
    for start in range(0, len(matrix), rows):
        centred[start : start + rows] = matrix[start : start + rows] - mean
    return centred


def _centred_again(
    features: NDArray[np.floating], mean: NDArray[np.float64], already_centred: bool
) -> NDArray[np.floating]:
    if already_centred:
        return features.astype(np.float64)
    return _centred(features, mean, np.float64)


@dataclass
class _Solved:
    weights: NDArray[np.floating]
    choice: NDArray[np.int64]
    alphas: NDArray[np.float64]
    loo_mse: NDArray[np.float64]


def _solve(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    groups: NDArray[np.int64],
    grid: NDArray[np.float64] | None,
    alpha_per_target: bool,
    form: Literal["dual", "primal"],
) -> _Solved | None:
    """Solve for centred x and y; None when the arithmetic was not good enough."""
    dual = form == "dual"
    # BLAS wants Fortran order: the transpose of a C-ordered matrix is one without a copy.
    syrk = blas.ssyrk if x.dtype == np.float32 else blas.dsyrk
    gram = syrk(1.0, x.T, trans=1 if dual else 0)
    alphas = _default_alphas(gram) if grid is None else grid
    if dual:
        _lift_constant(gram)
    try:
        # The default driver (evr) is nine times slower here.
        eigenvalues, vectors = scipy.linalg.eigh(gram, lower=False, driver="evd", overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError:
        return None
    if not np.all(np.isfinite(eigenvalues)):
        return None
    eigenvalues = np.maximum(eigenvalues.astype(np.float64), 0)
    shrink = (1 / (eigenvalues + alphas[:, None])).astype(x.dtype)
    if dual:
        shrink[:, int(np.argmax(np.abs(vectors.sum(axis=0))))] = 0
    # Rows of `basis` belong to trials: eigenvectors themselves, or the voxels rotated onto them.
    basis = vectors if dual else x @ vectors
    leave_out = GroupLeaveOut.prepare(basis, shrink, groups, dual)
    loo_mse = np.empty((len(alphas), y.shape[1]))
    batches = [slice(start, start + TARGET_BATCH) for start in range(0, y.shape[1], TARGET_BATCH)]
    for batch in batches:
        rotated = basis.T @ y[:, batch]
        for index in range(len(alphas)):
            projected = basis @ (shrink[index][:, None] * rotated)
            loo_mse[index, batch] = leave_out.mean_squared(index, projected if dual else y[:, batch] - projected)
    if not np.all(np.isfinite(loo_mse)):
        return None
    n_targets = y.shape[1]
    choice = loo_mse.argmin(axis=0) if alpha_per_target else np.full(n_targets, loo_mse.mean(axis=1).argmin())
    weights = np.empty((x.shape[1], n_targets), dtype=x.dtype)
    for batch in batches:
        coefficients = vectors @ (shrink[choice[batch]].T * (basis.T @ y[:, batch]))
        weights[:, batch] = x.T @ coefficients if dual else coefficients
        if not _satisfies_normal_equations(x, y[:, batch], weights[:, batch], alphas[choice[batch]]):
            return None
    return _Solved(weights, choice, alphas, loo_mse)


def _default_alphas(gram: NDArray[np.floating]) -> NDArray[np.float64]:
    mean_eigenvalue = float(np.trace(gram, dtype=np.float64)) / len(gram)
    return np.asarray((mean_eigenvalue or 1.0) * np.logspace(-3, 3, 13))


def _lift_constant(gram: NDArray[np.floating]) -> None:
    """Give the constant vector, null in a centred dual Gram matrix, an eigenvalue far from all others.

    Its direction belongs to the intercept, which is refitted in every leave-out and must not be shrunk; among the
    other null vectors it could not be told apart.
    """
    n = len(gram)
    vector = np.random.default_rng(0).standard_normal(n).astype(gram.dtype)
    symv = blas.ssymv if gram.dtype == np.float32 else blas.dsymv
    largest = 1.0
    for _ in range(20):
        vector = symv(1.0, gram, vector, lower=0)
        largest = float(np.linalg.norm(vector)) or 1.0
        vector /= largest
    gram += gram.dtype.type(3 * largest / n)


def _satisfies_normal_equations(
    x: NDArray[np.floating], y: NDArray[np.floating], weights: NDArray[np.floating], alpha: NDArray[np.float64]
) -> bool:
    """Check (XᵀX + αI) W = XᵀY on a sample of the targets."""
    some = np.unique(np.linspace(0, y.shape[1] - 1, 8).astype(np.int64))
    w, right = weights[:, some], x.T @ y[:, some]
    left = x.T @ (x @ w) + w * alpha[some].astype(w.dtype)
    # Scaled by the terms that cancel, and by nothing when a target is constant.
    scale = np.linalg.norm(right)
    return bool(np.linalg.norm(left - right) <= NORMAL_EQUATION_TOLERANCE * scale + np.finfo(x.dtype).tiny)


def _stimulus_variance(y: NDArray[np.floating], groups: NDArray[np.int64]) -> float:
    member = scipy.sparse.csr_array((np.ones(len(groups)), (groups, np.arange(len(groups)))))
    means = (member @ y) / np.bincount(groups)[:, None]
    return float(np.var(means, axis=0).mean())


def _warn_at_edge(choice: NDArray[np.int64], alphas: NDArray[np.float64]) -> bool:
    """Warn when an end of the grid was chosen for every target, or for more than a quarter of them."""
    if len(alphas) == 1:
        return False
    low, high = float(np.mean(choice == 0)), float(np.mean(choice == len(alphas) - 1))
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
