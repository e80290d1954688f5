import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from fmri_lightning.encoder.ridge import AlphaAtEdgeWarning, RidgeFit, fit_ridge
from fmri_lightning.errors import BadInputError


def problem(n_stimuli=40, repeats=(1, 2, 3), n_voxels=30, n_targets=5, noise=1.0, seed=0, offset=3.0):
    """Trials of stimuli shown 1, 2 or 3 times, in shuffled order; the rows of one stimulus share their target."""
    rng = np.random.default_rng(seed)
    stimuli = rng.permutation(np.concatenate([[i] * repeats[i % len(repeats)] for i in range(n_stimuli)]))
    truth = rng.standard_normal((n_stimuli, n_targets))
    mixing = rng.standard_normal((n_targets, n_voxels))
    features = truth[stimuli] @ mixing + noise * rng.standard_normal((len(stimuli), n_voxels)) + offset
    return features, truth[stimuli] - offset, stimuli + 100


def brute_force_loo(features, targets, stimuli, alpha):
    """Refit without each stimulus; average the residuals of its repeats, then square."""
    errors = []
    for stimulus in np.unique(stimuli):
        out = stimuli == stimulus
        model = Ridge(alpha=alpha, solver="cholesky").fit(features[~out], targets[~out])
        errors.append((targets[out] - model.predict(features[out])).mean(axis=0) ** 2)
    return np.mean(errors, axis=0)


@pytest.mark.parametrize("n_voxels", [30, 200])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
def test_equals_sklearn_at_a_fixed_alpha(n_voxels, dtype, tolerance):
    features, targets, stimuli = problem(n_voxels=n_voxels)
    fit = fit_ridge(features, targets, stimuli, alphas=[20.0], dtype=dtype)
    reference = Ridge(alpha=20.0).fit(features, targets)
    np.testing.assert_allclose(fit.weights, reference.coef_.T, atol=tolerance)
    np.testing.assert_allclose(fit.intercept, reference.intercept_, rtol=tolerance)
    assert fit.form == ("primal" if n_voxels == 30 else "dual")
    assert fit.dtype == dtype
    np.testing.assert_allclose(fit.predict(features), reference.predict(features), atol=5 * tolerance)


@pytest.mark.filterwarnings("ignore::fmri_lightning.encoder.ridge.AlphaAtEdgeWarning")
@pytest.mark.parametrize("n_voxels", [30, 200])
@pytest.mark.parametrize("repeats", [(3,), (1, 2, 3), (12, 1)])
def test_leave_one_stimulus_out_equals_refitting(n_voxels, repeats):
    features, targets, stimuli = problem(n_stimuli=20, repeats=repeats, n_voxels=n_voxels)
    alphas = [0.5, 30.0, 900.0]
    fit = fit_ridge(features, targets, stimuli, alphas=alphas, dtype="float64")
    for alpha, mse in zip(alphas, fit.loo_mse, strict=True):
        np.testing.assert_allclose(mse, brute_force_loo(features, targets, stimuli, alpha), rtol=1e-8)


def test_leave_one_out_of_single_trials_equals_ridge_cv():
    features, targets, _ = problem(repeats=(1,))
    alphas = np.logspace(-2, 4, 13)
    reference = RidgeCV(alphas=alphas, store_cv_results=True).fit(features, targets)
    fit = fit_ridge(features, targets, None, alphas=alphas, dtype="float64")
    np.testing.assert_allclose(fit.loo_mse.T, reference.cv_results_.mean(axis=0), rtol=1e-8)
    assert fit.alpha[0] == reference.alpha_


def test_dual_equals_primal():
    features, targets, stimuli = problem(n_voxels=50)
    primal = fit_ridge(features, targets, stimuli, form="primal", dtype="float64")
    # The default grid follows the size of the Gram matrix: the two are compared on one grid.
    dual = fit_ridge(features, targets, stimuli, alphas=primal.alphas, form="dual", dtype="float64")
    np.testing.assert_allclose(dual.weights, primal.weights, atol=1e-10)
    np.testing.assert_allclose(dual.loo_mse, primal.loo_mse, rtol=1e-8)


def test_shifting_features_and_targets_moves_only_the_intercept():
    features, targets, stimuli = problem(n_voxels=120)
    plain = fit_ridge(features, targets, stimuli)
    moved = fit_ridge(features + 50, targets - 20, stimuli, alphas=plain.alphas)
    np.testing.assert_allclose(moved.weights, plain.weights, atol=2e-5)
    np.testing.assert_allclose(moved.loo_mse, plain.loo_mse, rtol=1e-3)
    np.testing.assert_allclose(moved.predict(features + 50), plain.predict(features) - 20, atol=2e-3)


def test_order_of_trials_and_names_of_stimuli_do_not_matter():
    features, targets, stimuli = problem()
    order = np.random.default_rng(1).permutation(len(features))
    plain = fit_ridge(features, targets, stimuli, dtype="float64")
    other = fit_ridge(features[order], targets[order], 7 - 3 * stimuli[order], dtype="float64")
    np.testing.assert_allclose(other.weights, plain.weights, atol=1e-10)
    np.testing.assert_allclose(other.loo_mse, plain.loo_mse, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::fmri_lightning.encoder.ridge.AlphaAtEdgeWarning")
def test_one_alpha_per_target_is_the_best_of_each_target():
    features, targets, stimuli = problem(n_targets=6)
    targets = np.concatenate([targets, np.random.default_rng(5).standard_normal((500, 2))[stimuli]], axis=1)
    fit = fit_ridge(features, targets, stimuli, alpha_per_target=True, dtype="float64")
    assert len(np.unique(fit.alpha)) > 1
    for target in range(targets.shape[1]):
        assert fit.alpha[target] == fit.alphas[fit.loo_mse[:, target].argmin()]
        reference = Ridge(alpha=fit.alpha[target]).fit(features, targets[:, target])
        np.testing.assert_allclose(fit.weights[:, target], reference.coef_, atol=1e-9)


@pytest.mark.filterwarnings("ignore::fmri_lightning.encoder.ridge.AlphaAtEdgeWarning")
def test_leaving_out_single_trials_would_choose_another_alpha():
    # The trap that grouping avoids: with clean repeats, a trial predicts its own repeats at any alpha.
    features, targets, stimuli = problem(n_stimuli=60, repeats=(3,), n_voxels=150, n_targets=40, noise=0.3, seed=3)
    rng = np.random.default_rng(4)
    noisy = targets + 3 * rng.standard_normal((500, 40))[stimuli]
    grouped = fit_ridge(features, noisy, stimuli, alphas=np.logspace(-2, 6, 17))
    leaking = fit_ridge(features, noisy, None, alphas=np.logspace(-2, 6, 17))
    assert grouped.alpha[0] > 3 * leaking.alpha[0]


@pytest.mark.parametrize(("alphas", "end"), [([1e-6, 1e-5], "largest"), ([1e7, 1e8], "smallest")])
def test_warns_at_the_edge_of_the_grid(alphas, end):
    features, targets, stimuli = problem()
    with pytest.warns(AlphaAtEdgeWarning, match=f"the {end} alpha of the grid"):
        fit = fit_ridge(features, targets, stimuli, alphas=alphas)
    assert fit.at_edge


def test_no_warning_where_no_penalty_is_best_and_a_smaller_one_changes_nothing():
    # Many trials, no noise but that of the target: least squares is right.
    rng = np.random.default_rng(0)
    features = rng.standard_normal((600, 6))
    targets = features @ rng.standard_normal((6, 4)) + 0.05 * rng.standard_normal((600, 4))
    fit = fit_ridge(features, targets, dtype="float64")
    assert fit.alpha[0] == fit.alphas[0]
    assert not fit.at_edge
    with pytest.warns(AlphaAtEdgeWarning, match="the smallest alpha"):
        fit_ridge(features, targets, alphas=[50.0, 100.0])


def test_default_grid_holds_the_best_alpha_at_any_scale_of_the_features():
    features, targets, stimuli = problem(noise=8.0)
    fits = [fit_ridge(features * scale, targets, stimuli, dtype="float64") for scale in (1e-3, 1.0, 1e3)]
    for fit in fits:
        assert isinstance(fit, RidgeFit)
        assert not fit.at_edge
        np.testing.assert_allclose(fit.loo_mse, fits[0].loo_mse, rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["features", "targets"])
def test_refuses_nan_before_decomposing(value, where):
    features, targets, stimuli = problem()
    (features if where == "features" else targets)[3, 2] = value
    with pytest.raises(BadInputError, match=f"1 of .* columns of the {where} \\(first: column 2\\)"):
        fit_ridge(features, targets, stimuli)


def test_repeats_in_float64_what_float32_cannot_solve():
    # A voxel 1e5 times larger than the others: its eigenvalue drowns the others in float32.
    features, targets, stimuli = problem(offset=0.0)
    features[:, 0] *= 1e5
    fit = fit_ridge(features, targets, stimuli, alphas=[1e-2])
    reference = Ridge(alpha=1e-2, solver="svd").fit(features, targets)
    assert fit.dtype == "float64"
    np.testing.assert_allclose(fit.predict(features), reference.predict(features), atol=1e-5)


def test_centring_in_place_gives_the_same_fit():
    features, targets, stimuli = problem()
    features = features.astype(np.float32)
    plain = fit_ridge(features, targets, stimuli)
    in_place = features.copy()
    np.testing.assert_allclose(
        fit_ridge(in_place, targets, stimuli, overwrite_features=True).weights, plain.weights, atol=1e-5
    )
    assert not np.array_equal(in_place, features)


def test_a_constant_voxel_gets_no_weight():
    features, targets, stimuli = problem()
    features[:, 4] = 7.0
    np.testing.assert_allclose(fit_ridge(features, targets, stimuli).weights[4], 0, atol=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y, s: (x, y[:-1], s), "a row per trial"),
        (lambda x, y, s: (x[:0], y[:0], s[:0]), "nothing to fit"),
        (lambda x, y, s: (x, y, s[:-1]), "stimulus ids"),
        (lambda x, y, s: (x, y, s * 0), "at least two stimuli"),
    ],
)
def test_refuses_wrong_shapes(change, message):
    with pytest.raises(BadInputError, match=message):
        fit_ridge(*change(*problem()))


@pytest.mark.parametrize("alphas", [[], [0.0, 1.0], [-1.0], [float("nan")]])
def test_refuses_alphas_that_are_not_positive(alphas):
    with pytest.raises(BadInputError, match="positive"):
        fit_ridge(*problem(), alphas=alphas)
