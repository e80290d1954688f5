import numpy as np
import pytest
from sklearn.metrics import r2_score

from fmri_lightning.encoder.ridge import fit_ridge
from fmri_lightning.errors import UsageError
from tests.encoder.test_ridge import problem
from tests.encoder.test_ridge_folds import ALPHAS, averaged, folds_by_stimulus, refitted_predictions

pytestmark = pytest.mark.filterwarnings("ignore::fmri_lightning.encoder.ridge.AlphaAtEdgeWarning")


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def brute_force_score(scoring, features, targets, stimuli, folds, alpha):
    predictions, means = refitted_predictions(features, targets, folds, alpha)
    truth, predictions, means = (averaged(values, stimuli) for values in (targets, predictions, means))
    if scoring == "cosine":
        return cosines(predictions - means, truth - means).mean()
    if scoring == "r2":
        return r2_score(truth, predictions, multioutput="uniform_average")
    return -((truth - predictions) ** 2).mean()


@pytest.mark.parametrize("n_voxels", [5, 30, 200])
@pytest.mark.parametrize("scoring", ["mse", "r2", "cosine"])
@pytest.mark.parametrize("leave_out", ["stimulus", "folds"])
def test_scores_equal_those_of_refitting(n_voxels, scoring, leave_out, monkeypatch):
    # A batch narrower than the targets: a cosine is gathered over batches.
    monkeypatch.setattr("fmri_lightning.encoder.ridge_search.TARGET_BATCH", 2)
    features, targets, stimuli = problem(n_voxels=n_voxels, n_stimuli=20)
    targets = targets * [1, 10, 0.1, 1, 1]
    folds = stimuli if leave_out == "stimulus" else folds_by_stimulus(stimuli)
    arguments = {} if leave_out == "stimulus" else {"folds": folds}
    fit = fit_ridge(features, targets, stimuli, ALPHAS, scoring=scoring, dtype="float64", **arguments)
    expected = [brute_force_score(scoring, features, targets, stimuli, folds, alpha) for alpha in ALPHAS]
    np.testing.assert_allclose(fit.scores, expected, rtol=1e-8)
    assert fit.alpha[0] == ALPHAS[int(np.argmax(expected))]


def test_scores_can_disagree_about_alpha():
    # One large target without signal rules the pooled error, and its R² counts as one of twenty.
    features, targets, stimuli = problem(n_targets=20, n_voxels=60, noise=2.0)
    targets[:, 0] = 300 * np.random.default_rng(9).standard_normal(500)[stimuli]
    chosen = {scoring: fit_ridge(features, targets, stimuli, scoring=scoring).alpha[0] for scoring in ("mse", "r2")}
    assert chosen["mse"] > 3 * chosen["r2"]


def test_a_constant_target_does_not_weigh_on_the_mean_r2():
    features, targets, stimuli = problem()
    with_constant = np.column_stack([targets, np.full(len(targets), 0.1)])
    plain = fit_ridge(features, targets, stimuli, scoring="r2", dtype="float64")
    fit = fit_ridge(features, with_constant, stimuli, scoring="r2", dtype="float64")
    np.testing.assert_allclose(fit.scores, plain.scores)


def test_a_cosine_does_not_punish_the_largest_alphas():
    # Relative to the mean of all trials, the mean of the other trials points away from the one left out.
    features, targets, stimuli = problem()
    fit = fit_ridge(features, targets, stimuli, alphas=[1e8, 1e10, 1e12], scoring="cosine", dtype="float64")
    np.testing.assert_allclose(fit.scores, fit.scores[0], atol=1e-3)
    assert fit.scores[0] > 0.3


def test_refuses_a_cosine_per_target_and_unknown_scores():
    with pytest.raises(UsageError, match="all targets at one alpha"):
        fit_ridge(*problem(), scoring="cosine", alpha_per_target=True)
    with pytest.raises(UsageError, match="'mse', 'r2' or 'cosine'"):
        fit_ridge(*problem(), scoring="mae")


@pytest.mark.parametrize("n_voxels", [30, 200])
@pytest.mark.parametrize("alpha_per_target", [True, False])
@pytest.mark.parametrize("average_repeats", [True, False])
@pytest.mark.parametrize("in_folds", [True, False])
def test_left_out_predictions_equal_refitting(n_voxels, alpha_per_target, average_repeats, in_folds):
    features, targets, stimuli = problem(n_voxels=n_voxels, n_stimuli=20)
    targets[:, 2] = np.random.default_rng(5).standard_normal(500)[stimuli]
    folds = folds_by_stimulus(stimuli) if in_folds else None
    fit = fit_ridge(
        features,
        targets,
        stimuli,
        ALPHAS,
        alpha_per_target,
        folds=folds,
        average_repeats=average_repeats,
        keep_left_out=True,
        dtype="float64",
    )
    assert fit.left_out.dtype == np.float32
    np.testing.assert_array_equal(fit.left_out_stimuli, np.unique(stimuli))
    assert (len(np.unique(fit.alpha)) > 1) == alpha_per_target
    parts = folds if in_folds else stimuli
    for target, alpha in enumerate(fit.alpha):
        expected = averaged(refitted_predictions(features, targets, parts, alpha)[0], stimuli)[:, target]
        np.testing.assert_allclose(fit.left_out[:, target], expected, rtol=1e-5, atol=1e-5)


def test_left_out_predictions_are_made_only_on_request():
    fit = fit_ridge(*problem())
    assert fit.left_out is None
    assert fit.left_out_stimuli is None


def test_left_out_predictions_without_ids_are_those_of_the_trials():
    features, targets, _ = problem(n_voxels=200)
    fit = fit_ridge(features, targets, None, [30.0], keep_left_out=True)
    expected = refitted_predictions(features, targets, np.arange(len(features)), 30.0)[0]
    np.testing.assert_allclose(fit.left_out, expected, atol=2e-4)
    np.testing.assert_array_equal(fit.left_out_stimuli, np.arange(len(features)))
