"""The ridge regression as a scikit-learn estimator."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from fmri_lightning.encoder.ridge import fit_ridge
from fmri_lightning.encoder.ridge_search import Scoring
from fmri_lightning.errors import StageError


class StimulusRidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression that chooses alpha by exact leave-out of whole stimuli.

    A thin cover of :func:`fmri_lightning.encoder.ridge.fit_ridge`, which describes the parameters. Stimuli are told
    apart by ``groups``: in a pipeline they are passed as ``<step>__groups``, in a grid search by metadata routing
    (``set_fit_request(groups=True)``). Without them every sample is its own stimulus.

    Args:
        alphas: Penalties to try; None for a grid that follows the scale of the features.
        alpha_per_target: Choose one alpha for every target.
        cv: "stimulus", or a number of folds of stimuli.
        average_repeats: Average the left-out residuals of a stimulus before they are scored.
        scoring: "mse", "r2" or "cosine".
        dtype: Arithmetic.
        device: Where to solve.

    Attributes:
        coef_: Weights, (targets, voxels), or (voxels,) when y had one dimension.
        intercept_: (targets,), or a number.
        alpha_: Chosen alpha, a number; (targets,) with ``alpha_per_target`` and several targets.
        alphas_: The grid, ascending.
        cv_scores_: Score of each alpha over all targets, (alphas,), higher is better.
    """

    def __init__(
        self,
        *,
        alphas: ArrayLike | None = None,
        alpha_per_target: bool = False,
        cv: Literal["stimulus"] | int = "stimulus",
        average_repeats: bool = True,
        scoring: Scoring = "mse",
        dtype: Literal["float32", "float64"] = "float32",
        device: Any = "cpu",
    ) -> None:
        self.alphas = alphas
        self.alpha_per_target = alpha_per_target
        self.cv = cv
        self.average_repeats = average_repeats
        self.scoring = scoring
        self.dtype = dtype
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> StimulusRidgeCV:
        """Fit to features (trials, voxels) and targets (trials,) or (trials, targets).

        Args:
            X: Features.
            y: Targets.
            groups: Stimulus of each trial, of any sortable type.

        Returns:
            Itself.

        Raises:
            ValueError: If the ridge regression refuses its input.
        """
        features, targets = validate_data(
            self, X, y, dtype=[np.float64, np.float32], multi_output=True, y_numeric=True, ensure_min_samples=2
        )
        stimuli = None
        if groups is not None:
            check_consistent_length(features, groups)
            stimuli = np.unique(column_or_1d(groups), return_inverse=True)[1]
        one_target = targets.ndim == 1
        try:
            fit = fit_ridge(
                features,
                targets[:, None] if one_target else targets,
                stimuli,
                alphas=None if self.alphas is None else np.atleast_1d(np.asarray(self.alphas)).tolist(),
                alpha_per_target=self.alpha_per_target,
                dtype=self.dtype,
                cv=self.cv,
                average_repeats=self.average_repeats,
                scoring=self.scoring,
                device=self.device,
            )
        except StageError as error:
            raise ValueError(str(error)) from error
        self.coef_ = fit.weights[:, 0] if one_target else fit.weights.T
        self.intercept_ = fit.intercept[0] if one_target else fit.intercept
        self.alpha_ = fit.alpha if self.alpha_per_target and not one_target else float(fit.alpha[0])
        self.alphas_ = fit.alphas
        self.cv_scores_ = fit.scores
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.floating]:
        """Predict targets of features (n, voxels); as many dimensions as y had."""
        check_is_fitted(self)
        features = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return np.asarray(features @ self.coef_.T + self.intercept_)
