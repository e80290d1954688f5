"""The closed-form linear optimum, and the production ridge that must tend to it."""

import numpy as np
import pytest

from fmri_lightning.ceiling.check import check_plan, large_sample_check
from fmri_lightning.ceiling.linear import linear_optimum
from fmri_lightning.encoder.ridge import fit_ridge
from tests.ceiling.small_brain import draw, small_brain


def error(predicted, truth):
    return np.square(predicted - truth).sum(axis=1).mean()


def test_equals_the_decoder_that_sees_every_trial_on_its_own():
    """For independent noise the mean of three trials says all that the three trials say."""
    brain, n = small_brain(), 3
    v = brain.n_voxels
    stacked = np.kron(np.ones((n, n)), brain.signal_covariance) + np.kron(np.eye(n), brain.noise_covariance)
    cross = np.tile(brain.embedding_signal_covariance, n)
    blocks = np.linalg.solve(stacked, cross.T).reshape(n, v, -1)
    weights = linear_optimum(brain, n).weights
    np.testing.assert_allclose(blocks, np.broadcast_to(weights / n, blocks.shape), atol=1e-10)
    assert np.abs(weights - linear_optimum(brain, 1).weights).max() > 0.01


@pytest.mark.parametrize("n_repeats", [1, 3])
def test_its_error_is_the_one_expected(n_repeats):
    brain, optimum = small_brain(), linear_optimum(small_brain(), n_repeats)
    truth, voxels = draw(brain, 100_000, np.random.default_rng(0), n_repeats)
    assert error(optimum.predict(voxels), truth) == pytest.approx(optimum.expected_error, rel=0.01)
    wrong = linear_optimum(brain, 4 - n_repeats)
    assert error(wrong.predict(voxels), truth) > error(optimum.predict(voxels), truth)


def test_no_ridge_of_any_alpha_beats_it():
    brain, optimum = small_brain(), linear_optimum(small_brain())
    rng = np.random.default_rng(0)
    truth, voxels = draw(brain, 50_000, rng)
    best = error(optimum.predict(voxels), truth)
    for n_train in (100, 20_000):
        targets, features = draw(brain, n_train, rng)
        ridges = [fit_ridge(features, targets, alphas=[alpha]) for alpha in (1e-2, 1e1, 1e3, 1e5)]
        errors = [error(ridge.predict(voxels), truth) for ridge in ridges]
        assert min(errors) > best * (1 - 1e-4)
    # With 20,000 stimuli the best of them is within half a percent.
    assert min(errors) < best * 1.005


@pytest.mark.filterwarnings("ignore:ridge. the smallest alpha")  # so many stimuli need hardly any penalty
@pytest.mark.parametrize(("mode", "repeats"), [("single", 1), ("average", 3)])
def test_production_ridge_on_many_stimuli_reaches_it(tmp_path, mode, repeats):
    few = large_sample_check(tmp_path / "few", check_plan(1, repeats=repeats), mode)
    many = large_sample_check(tmp_path / "many", check_plan(20, repeats=repeats), mode)
    assert many.stimuli == 20 * few.stimuli
    assert many.correlation > 0.999
    assert many.correlation > few.correlation
    assert many.ridge_error == pytest.approx(many.optimum_error, rel=0.003)
    assert many.optimum_error == pytest.approx(many.expected_error, rel=0.05)
