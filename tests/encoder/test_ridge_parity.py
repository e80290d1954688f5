"""The same folds and alphas in scikit-learn and himalaya give the same choice and weights, to 1e-4."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, GroupKFold, LeaveOneGroupOut, PredefinedSplit

from fmri_lightning.encoder.ridge import fit_ridge
from tests.encoder.test_ridge import problem

ALPHAS = np.logspace(0, 5, 11)


def single(n_voxels, repeats=(3,)):
    """Single precision and features that are noisy enough for an alpha inside the grid."""
    features, targets, stimuli = problem(n_stimuli=60, repeats=repeats, n_voxels=n_voxels, noise=6.0, seed=8)
    return features.astype(np.float32), targets.astype(np.float32), stimuli


def group_k_fold(features, stimuli):
    folds = np.empty(len(stimuli), dtype=int)
    for fold, (_, out) in enumerate(GroupKFold(5).split(features, groups=stimuli)):
        folds[out] = fold
    return folds


def assert_same_map(fit, coef, intercept):
    np.testing.assert_allclose(fit.weights, coef, atol=1e-4 * np.abs(coef).max())
    np.testing.assert_allclose(fit.intercept, intercept, rtol=1e-4)
    assert not fit.at_edge


@pytest.mark.parametrize("n_voxels", [40, 300])
def test_ridge_cv(n_voxels):
    features, targets, _ = single(n_voxels)
    reference = RidgeCV(alphas=ALPHAS, scoring=None, gcv_mode="eigen").fit(features, targets)
    fit = fit_ridge(features, targets, None, ALPHAS)
    assert fit.alpha[0] == reference.alpha_
    assert_same_map(fit, reference.coef_.T, reference.intercept_)
    np.testing.assert_allclose(fit.scores.max(), reference.best_score_, rtol=1e-4)


@pytest.mark.parametrize("n_voxels", [40, 300])
@pytest.mark.parametrize("splitter", [GroupKFold(5), LeaveOneGroupOut()])
def test_grid_search_over_groups(n_voxels, splitter):
    # Every stimulus is shown as often and the folds are of one size: a mean over folds is then a mean over trials.
    features, targets, stimuli = single(n_voxels)
    search = GridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=splitter, scoring="neg_mean_squared_error")
    search.fit(features, targets, groups=stimuli)
    arguments = {"folds": group_k_fold(features, stimuli)} if isinstance(splitter, GroupKFold) else {}
    fit = fit_ridge(features, targets, stimuli, ALPHAS, average_repeats=False, **arguments)
    np.testing.assert_allclose(fit.scores, search.cv_results_["mean_test_score"], rtol=1e-4)
    assert fit.alpha[0] == search.best_params_["alpha"]
    assert_same_map(fit, search.best_estimator_.coef_.T, search.best_estimator_.intercept_)


@pytest.mark.filterwarnings("ignore:Solving ridge is slower")
@pytest.mark.parametrize("alpha_per_target", [False, True])
@pytest.mark.parametrize("n_voxels", [40, 300])
def test_himalaya(n_voxels, alpha_per_target):
    kernel_ridge = pytest.importorskip("himalaya.kernel_ridge")
    linear = pytest.importorskip("himalaya.ridge")
    from himalaya.scoring import l2_neg_loss

    features, targets, stimuli = single(n_voxels)
    folds = group_k_fold(features, stimuli)
    fit = fit_ridge(features, targets, stimuli, ALPHAS, alpha_per_target, folds=folds, average_repeats=False)
    params = {"score_func": l2_neg_loss, "local_alpha": alpha_per_target}
    shared = {"alphas": ALPHAS, "fit_intercept": True, "cv": PredefinedSplit(folds), "solver_params": params}
    # Himalaya centres in the type it is given; in float64 it is the better reference.
    features, targets = features.astype(float), targets.astype(float)
    references = [linear.RidgeCV(**shared).fit(features, targets)]
    coefs = [references[0].coef_]
    if n_voxels > len(features):
        references.append(kernel_ridge.KernelRidgeCV(**shared).fit(features, targets))
        coefs.append(references[1].get_primal_coef())
    for reference, coef in zip(references, coefs, strict=True):
        best = np.array([np.flatnonzero(fit.alphas == alpha)[0] for alpha in fit.alpha])
        np.testing.assert_allclose(np.broadcast_to(reference.best_alphas_, fit.alpha.shape), fit.alpha)
        np.testing.assert_allclose(-fit.loo_mse[best, np.arange(len(best))], reference.cv_scores_, rtol=1e-4)
        np.testing.assert_allclose(fit.weights, coef, atol=1e-4 * np.abs(coef).max())
        np.testing.assert_allclose(fit.intercept, reference.intercept_, rtol=1e-4)
