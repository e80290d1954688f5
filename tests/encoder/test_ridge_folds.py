import numpy as np
import pytest
from sklearn.linear_model import Ridge

from fmri_lightning.encoder.ridge import AlphaAtEdgeWarning, fit_ridge
from fmri_lightning.encoder.ridge_folds import make_folds
from fmri_lightning.errors import BadInputError
from tests.encoder.test_ridge import problem

ALPHAS = [0.5, 30.0, 900.0]
pytestmark = pytest.mark.filterwarnings("ignore::fmri_lightning.encoder.ridge.AlphaAtEdgeWarning")


def folds_by_stimulus(stimuli, n_folds=4, seed=2):
    """Fold of each trial, drawn per stimulus: folds of different sizes, with numbers that have gaps."""
    rng = np.random.default_rng(seed)
    unique, number = np.unique(stimuli, return_inverse=True)
    return 10 * rng.permutation(np.arange(len(unique)) % n_folds)[number]


def refitted_predictions(features, targets, folds, alpha):
    """Each trial predicted by a fit, intercept and all, without its fold; and the mean of that fit's targets."""
    predictions, means = np.empty_like(targets), np.empty_like(targets)
    for fold in np.unique(folds):
        out = folds == fold
        model = Ridge(alpha=alpha, solver="cholesky").fit(features[~out], targets[~out])
        predictions[out], means[out] = model.predict(features[out]), targets[~out].mean(axis=0)
    return predictions, means


def averaged(values, stimuli):
    return np.stack([values[stimuli == stimulus].mean(axis=0) for stimulus in np.unique(stimuli)])


# 5 voxels: a fold holds more trials than there are voxels, so it solves with the other trials' Gram matrix.
@pytest.mark.parametrize("n_voxels", [5, 30, 200])
@pytest.mark.parametrize("average_repeats", [True, False])
def test_k_fold_equals_refitting(n_voxels, average_repeats):
    features, targets, stimuli = problem(n_voxels=n_voxels)
    folds = folds_by_stimulus(stimuli)
    fit = fit_ridge(features, targets, stimuli, ALPHAS, dtype="float64", folds=folds, average_repeats=average_repeats)
    for alpha, mse in zip(ALPHAS, fit.loo_mse, strict=True):
        errors = targets - refitted_predictions(features, targets, folds, alpha)[0]
        rows = averaged(errors, stimuli) if average_repeats else errors
        np.testing.assert_allclose(mse, (rows**2).mean(axis=0), rtol=1e-8)


@pytest.mark.parametrize("n_voxels", [30, 200])
def test_single_trials_of_a_left_out_stimulus_equal_refitting(n_voxels):
    features, targets, stimuli = problem(n_voxels=n_voxels, n_stimuli=20)
    fit = fit_ridge(features, targets, stimuli, ALPHAS, dtype="float64", average_repeats=False)
    for alpha, mse in zip(ALPHAS, fit.loo_mse, strict=True):
        errors = targets - refitted_predictions(features, targets, stimuli, alpha)[0]
        np.testing.assert_allclose(mse, (errors**2).mean(axis=0), rtol=1e-8)


@pytest.mark.parametrize("form", ["dual", "primal"])
def test_as_many_folds_as_stimuli_leave_out_one_at_a_time(form):
    features, targets, stimuli = problem(n_voxels=60)
    one_by_one = fit_ridge(features, targets, stimuli, ALPHAS, dtype="float64", form=form)
    names = fit_ridge(features, targets, stimuli, ALPHAS, dtype="float64", form=form, folds=-stimuli)
    number = fit_ridge(features, targets, stimuli, ALPHAS, dtype="float64", form=form, cv=len(np.unique(stimuli)))
    np.testing.assert_allclose(names.loo_mse, one_by_one.loo_mse, rtol=1e-9)
    np.testing.assert_array_equal(number.loo_mse, one_by_one.loo_mse)


def test_single_precision_gives_the_same_k_fold_curve():
    features, targets, stimuli = problem(n_voxels=400, n_stimuli=100, noise=8.0)
    double = fit_ridge(features, targets, stimuli, cv=5, dtype="float64")
    single = fit_ridge(features, targets, stimuli, alphas=double.alphas, cv=5)
    assert single.dtype == "float32"
    np.testing.assert_allclose(single.loo_mse, double.loo_mse, rtol=2e-3)
    assert single.alpha[0] == double.alpha[0]


def test_a_number_of_folds_is_dealt_by_stimulus_and_not_by_trial():
    stimuli = np.array([30, 10, 20, 10, 40, 50, 30])
    folds = make_folds(stimuli, 2, None, True)
    assert folds.fold_of_trial.tolist() == [0, 0, 1, 0, 1, 0, 0]
    assert [members.tolist() for members in folds.members()] == [[0, 1, 3, 5, 6], [2, 4]]
    assert not folds.folds_are_stimuli
    assert make_folds(stimuli, "stimulus", None, True).folds_are_stimuli


def test_order_of_trials_does_not_matter_to_folds():
    features, targets, stimuli = problem()
    order = np.random.default_rng(1).permutation(len(features))
    plain = fit_ridge(features, targets, stimuli, ALPHAS, dtype="float64", cv=3)
    other = fit_ridge(features[order], targets[order], stimuli[order], ALPHAS, dtype="float64", cv=3)
    np.testing.assert_allclose(other.loo_mse, plain.loo_mse, rtol=1e-9)


def test_targets_beyond_one_batch_are_scored_and_solved_like_the_first(monkeypatch):
    features, targets, stimuli = problem(n_targets=7)
    at_once = fit_ridge(features, targets, stimuli, alpha_per_target=True, cv=3, keep_left_out=True, dtype="float64")
    monkeypatch.setattr("fmri_lightning.encoder.ridge_search.TARGET_BATCH", 2)
    batched = fit_ridge(features, targets, stimuli, alpha_per_target=True, cv=3, keep_left_out=True, dtype="float64")
    for name in ("loo_mse", "weights", "left_out"):
        np.testing.assert_allclose(getattr(batched, name), getattr(at_once, name), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cv": 1}, "2 to 40"),
        ({"cv": 41}, "2 to 40"),
        ({"cv": "trial"}, "'stimulus' or a number"),
        ({"folds": np.zeros(79, dtype=int)}, "one fold"),
        ({"folds": np.arange(79)}, "trials in two folds"),
        ({"folds": np.arange(5)}, "as many fold numbers"),
    ],
)
def test_refuses_folds_that_cannot_be(arguments, message):
    features, targets, stimuli = problem()
    assert len(stimuli) == 79
    with pytest.raises(BadInputError, match=message):
        fit_ridge(features, targets, stimuli, **arguments)


def test_folds_that_follow_the_trials_would_choose_another_alpha():
    # The trap of plain k-fold: repeats of a stimulus in two folds predict each other.
    features, targets, stimuli = problem(n_stimuli=60, repeats=(3,), n_voxels=150, n_targets=40, noise=0.3, seed=3)
    noisy = targets + 3 * np.random.default_rng(4).standard_normal((500, 40))[stimuli]
    grouped = fit_ridge(features, noisy, stimuli, np.logspace(-2, 6, 17), cv=5)
    leaking = fit_ridge(features, noisy, None, np.logspace(-2, 6, 17), cv=5)
    assert grouped.alpha[0] > 3 * leaking.alpha[0]


def test_warns_at_the_edge_of_the_grid_in_folds_too():
    with pytest.warns(AlphaAtEdgeWarning):
        assert fit_ridge(*problem(), alphas=[1e7, 1e8], cv=4).at_edge
