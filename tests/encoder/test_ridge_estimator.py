import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fmri_lightning.encoder.ridge import fit_ridge
from fmri_lightning.encoder.ridge_estimator import StimulusRidgeCV
from tests.encoder.test_ridge import problem

pytestmark = pytest.mark.filterwarnings("ignore::fmri_lightning.encoder.ridge.AlphaAtEdgeWarning")


@parametrize_with_checks([StimulusRidgeCV(), StimulusRidgeCV(dtype="float64", cv=2)])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize("alpha_per_target", [True, False])
def test_is_the_same_fit(alpha_per_target):
    features, targets, stimuli = problem(n_voxels=200, noise=3.0)
    options = {"alpha_per_target": alpha_per_target, "cv": 5, "scoring": "r2", "dtype": "float64"}
    model = StimulusRidgeCV(**options).fit(features, targets, stimuli)
    fit = fit_ridge(features, targets, stimuli, **options)
    np.testing.assert_array_equal(model.coef_, fit.weights.T)
    np.testing.assert_array_equal(model.intercept_, fit.intercept)
    np.testing.assert_array_equal(model.alpha_, fit.alpha if alpha_per_target else fit.alpha[0])
    np.testing.assert_array_equal(model.alphas_, fit.alphas)
    np.testing.assert_array_equal(model.cv_scores_, fit.scores)
    np.testing.assert_allclose(model.predict(features), fit.predict(features))
    assert model.n_features_in_ == 200


@pytest.mark.parametrize("one_target", [True, False])
def test_has_the_attributes_of_ridge_cv(one_target):
    features, targets, _ = problem(noise=3.0)
    y = targets[:, 0] if one_target else targets
    alphas = np.logspace(0, 4, 9)
    ours = StimulusRidgeCV(alphas=alphas, dtype="float64").fit(features, y)
    theirs = RidgeCV(alphas=alphas).fit(features, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-9)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_)
    assert np.shape(ours.intercept_) == np.shape(theirs.intercept_)
    assert ours.alpha_ == theirs.alpha_
    np.testing.assert_allclose(ours.predict(features), theirs.predict(features))
    assert ours.score(features, y) == pytest.approx(theirs.score(features, y))


def test_groups_may_have_names():
    features, targets, stimuli = problem()
    named = StimulusRidgeCV().fit(features, targets, groups=[f"picture {stimulus}" for stimulus in stimuli])
    numbered = StimulusRidgeCV().fit(features, targets, groups=stimuli)
    alone = StimulusRidgeCV().fit(features, targets)
    np.testing.assert_array_equal(named.cv_scores_, numbered.cv_scores_)
    assert not np.allclose(named.cv_scores_, alone.cv_scores_)


def test_works_in_a_pipeline_and_clones():
    features, targets, stimuli = problem()
    pipeline = make_pipeline(StandardScaler(), StimulusRidgeCV(scoring="cosine"))
    fitted = clone(pipeline).fit(features, targets, stimulusridgecv__groups=stimuli)
    scaled = StandardScaler().fit_transform(features)
    expected = StimulusRidgeCV(scoring="cosine").fit(scaled, targets, stimuli)
    np.testing.assert_allclose(fitted.predict(features), expected.predict(scaled))
    assert cross_val_predict(pipeline, features, targets, cv=3).shape == targets.shape


def test_a_grid_search_passes_groups_on_by_metadata_routing():
    features, targets, stimuli = problem()
    with sklearn.config_context(enable_metadata_routing=True):
        model = StimulusRidgeCV().set_fit_request(groups=True)
        search = GridSearchCV(model, {"scoring": ["mse", "r2"], "cv": ["stimulus", 4]}, cv=GroupKFold(3))
        search.fit(features, targets, groups=stimuli)
    expected = StimulusRidgeCV(**search.best_params_).fit(features, targets, stimuli)
    np.testing.assert_array_equal(search.best_estimator_.cv_scores_, expected.cv_scores_)


def test_refuses_with_the_error_of_scikit_learn():
    features, targets, stimuli = problem()
    with pytest.raises(ValueError, match="positive"):
        StimulusRidgeCV(alphas=[-1.0]).fit(features, targets)
    with pytest.raises(ValueError, match="all targets at one alpha"):
        StimulusRidgeCV(scoring="cosine", alpha_per_target=True).fit(features, targets)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        StimulusRidgeCV().fit(features, targets, stimuli[:-1])
