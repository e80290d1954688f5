"""The posterior mean: equal to quadrature and to the linear optimum where these are exact, and better elsewhere."""

import dataclasses

import numpy as np
import pytest

from fmri_lightning.ceiling.linear import linear_optimum
from fmri_lightning.ceiling.posterior import PosteriorResult, SamplerSettings, posterior_mean
from fmri_lightning.ceiling.recipe import KnownRecipe
from fmri_lightning.ceiling.target import VoxelInformation, make_target
from fmri_lightning.errors import BadInputError
from fmri_lightning.metrics.cosine import centred_cosine
from tests.ceiling.small_brain import LINEAR, draw, small_brain

MANY = SamplerSettings(draws=3000)


def quadrature(brain, voxels, n_repeats):
    """E[e | v] on a dense grid of latents, from the Gaussian likelihood with the whole noise covariance."""
    axis = np.linspace(-6, 6, 241 if brain.features.n_latents == 2 else 4001)
    grid = np.stack(np.meshgrid(*[axis] * brain.features.n_latents, indexing="ij"), -1)
    grid = grid.reshape(-1, brain.features.n_latents)
    phi = brain.features(grid)
    precision = n_repeats * np.linalg.inv(brain.noise_covariance)
    means = []
    for v in voxels:
        deviation = v - phi @ brain.tuning.T
        log = -0.5 * np.einsum("ij,ij->i", deviation @ precision, deviation) - 0.5 * np.square(grid).sum(axis=1)
        weight = np.exp(log - log.max())
        means.append(weight @ phi / weight.sum())
    return brain.mean + np.array(means) @ brain.embedding.T


@pytest.mark.parametrize(
    ("latents", "n_repeats", "nonlinear"),
    [
        (1, 1, 0.2),
        pytest.param(1, 4, 0.2, marks=pytest.mark.slow),
        pytest.param(2, 1, 0.2, marks=pytest.mark.slow),
        pytest.param(2, 3, 0.2, marks=pytest.mark.slow),
    ],
)
def test_equals_dense_quadrature(latents, n_repeats, nonlinear):
    result, exact, spread = against_quadrature(latents, n_repeats, nonlinear)
    deviation = np.linalg.norm(result.embeddings - exact, axis=1)
    assert result.converged
    assert deviation.mean() < 0.02 * spread
    # The error that is told is the error that is made, neither flattered nor inflated.
    assert 0.5 < np.sqrt(np.square(deviation).mean() / np.square(result.monte_carlo_error).mean()) < 1.7


@pytest.mark.parametrize("latents", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_hills_apart_get_their_weights(latents):
    """Quadratic voxels leave the sign of a latent open: chains alone would stay on the hill where they began."""
    result, exact, spread = against_quadrature(latents, 4, 0.9, SamplerSettings(draws=1000, temper_all=True))
    deviation = np.linalg.norm(result.embeddings - exact, axis=1)
    assert result.converged
    assert result.summary()["n_tempered"] == 40
    assert deviation.mean() < 0.03 * spread
    assert deviation.max() < 0.15 * spread
    plain, exact, _ = against_quadrature(latents, 4, 0.9, SamplerSettings(draws=1000))
    # Those that were tempered are right. Whether chains that met have missed a hill, which is what temper_all is for,
    # hangs on where they began and on the rounding of the processor.
    tempered = plain.tempered > 0
    assert tempered.sum() < 20
    missed = np.linalg.norm(plain.embeddings - exact, axis=1)
    assert np.all(missed[tempered] < 0.2 * spread)


def against_quadrature(latents, n_repeats, nonlinear, settings=MANY):
    recipe = KnownRecipe(latents=latents, quadratic=3, dim=6, nonlinear=nonlinear, embedding_quadratic=0.4)
    brain = small_brain(16, latents, recipe)
    _, voxels = draw(brain, 40, np.random.default_rng(0), n_repeats)
    exact = quadrature(brain, voxels, n_repeats)
    result = posterior_mean(brain, voxels, n_repeats, settings)
    return result, exact, np.linalg.norm(exact - brain.mean, axis=1).mean()


@pytest.mark.parametrize("n_repeats", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_equals_the_linear_optimum_where_all_is_linear(n_repeats):
    brain = small_brain(40, recipe=dataclasses.replace(LINEAR, latents=12))
    _, voxels = draw(brain, 60, np.random.default_rng(0), n_repeats)
    result = posterior_mean(brain, voxels, n_repeats, MANY)
    linear = linear_optimum(brain, n_repeats).predict(voxels)
    assert result.converged
    deviation = np.linalg.norm(result.embeddings - linear, axis=1)
    assert deviation.mean() < 0.03 * np.linalg.norm(linear - brain.mean, axis=1).mean()
    assert np.sqrt(np.square(deviation).mean() / np.square(result.monte_carlo_error).mean()) < 1.5


def test_the_mean_of_trials_says_what_the_trials_say():
    brain, rng = small_brain(), np.random.default_rng(0)
    signals = brain.signals(brain.draw_latents(5, rng))
    trials = [signals + brain.noise(5, rng) for _ in range(3)]
    information = VoxelInformation.of(brain)
    mean = make_target(brain, information, np.mean(trials, axis=0), 3)
    alone = [make_target(brain, information, trial, 1) for trial in trials]
    np.testing.assert_allclose(mean.t, sum(one.t for one in alone), rtol=1e-9)
    np.testing.assert_allclose(mean.fisher, sum(one.fisher for one in alone), rtol=1e-9)


@pytest.fixture(scope="module")
def nonlinear():
    """A brain where quadratic features matter, with 1,000 test pictures and their posterior."""
    recipe = KnownRecipe(latents=6, quadratic=12, dim=16, nonlinear=0.5, embedding_quadratic=0.4)
    brain = small_brain(80, 2, recipe)
    truth, voxels = draw(brain, 1000, np.random.default_rng(0), 3)
    return brain, truth, voxels, posterior_mean(brain, voxels, 3)


def test_beats_the_linear_optimum_where_not_all_is_linear(nonlinear):
    brain, truth, voxels, result = nonlinear
    linear = linear_optimum(brain, 3).predict(voxels)
    gain = np.square(linear - truth).sum(axis=1) - np.square(result.embeddings - truth).sum(axis=1)
    assert result.converged
    assert gain.mean() > 5 * gain.std() / np.sqrt(len(gain))


def test_its_error_is_orthogonal_to_functions_of_the_voxels(nonlinear):
    """What a conditional mean is: no function of the data says anything about its error."""
    brain, truth, voxels, result = nonlinear
    error = truth - result.embeddings
    functions = {
        "voxels": voxels,
        "squares": np.square(voxels),
        "itself": result.embeddings - brain.mean,
        "its squares": np.square(result.embeddings - brain.mean),
        "linear optimum": linear_optimum(brain, 3).predict(voxels) - brain.mean,
    }
    for name, values in functions.items():
        standard = (values - values.mean(axis=0)) / values.std(axis=0)
        correlation = standard.T @ (error / error.std(axis=0)) / np.sqrt(len(error))
        # Standard normal deviates: the mean square is 1, the largest of a thousand below 5.
        assert np.square(correlation).mean() < 1.35, name
        assert np.abs(correlation).max() < 5, name
    linear_error = truth - linear_optimum(brain, 3).predict(voxels)
    squares = np.square(voxels) - np.square(voxels).mean(axis=0)
    seen = squares.T @ linear_error / np.sqrt(len(voxels)) / squares.std(axis=0)[:, None] / linear_error.std(axis=0)
    assert np.square(seen).mean() > 2, "the test would not see an error that depends on the voxels"


def test_no_direction_scores_higher_in_centred_cosine(nonlinear):
    brain, truth, voxels, result = nonlinear
    best = centred_cosine(result.directions, truth, brain.mean)
    for other in (result.embeddings, linear_optimum(brain, 3).predict(voxels)):
        difference = best - centred_cosine(other, truth, brain.mean)
        assert difference.mean() > -2 * difference.std() / np.sqrt(len(difference))
    shifted = brain.mean + 0.2 * np.random.default_rng(0).standard_normal(len(brain.mean)) / np.sqrt(len(brain.mean))
    assert centred_cosine(result.directions, truth, shifted).mean() == pytest.approx(best.mean(), abs=0.01)


def test_chains_that_are_too_short_say_so(nonlinear):
    brain, _, voxels, _ = nonlinear
    short = posterior_mean(brain, voxels[:200], 3, SamplerSettings(warmup=1, draws=4))
    assert not short.converged
    assert short.summary()["converged"] is False
    assert short.summary()["n_rhat_above_limit"] > 100


def test_a_bad_rhat_cannot_hide():
    ones, bad = np.ones((100, 2)), np.ones(100)
    bad[:3] = [np.nan, 5.0, 1.2]
    result = PosteriorResult(ones, ones, ones[:, 0], bad, ones[:, 0], 0 * ones[:, 0], 0.0, 1.0)
    assert result.n_bad == 3
    assert not result.converged


def test_settings_out_of_range_are_refused():
    with pytest.raises(BadInputError, match="even number"):
        SamplerSettings(draws=5)
