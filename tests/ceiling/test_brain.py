"""The known brain: what is drawn has the moments that the closed forms say."""

import dataclasses

import numpy as np
import pytest

from fmri_lightning.ceiling.brain import draw_brain, smooth_correlation
from fmri_lightning.ceiling.features import HermiteFeatures
from fmri_lightning.ceiling.recipe import KNOWN_RECIPE, KnownRecipe
from fmri_lightning.errors import BadInputError
from fmri_lightning.simulate.recipe import RECIPE
from tests.ceiling.small_brain import small_brain

N = 400_000


def gap(samples_a, samples_b, expected):
    """Largest deviation of an empirical covariance from the expected one, in its own standard errors."""
    products = samples_a.T @ samples_b / len(samples_a)
    spread = np.sqrt((np.square(samples_a).T @ np.square(samples_b) / len(samples_a) - products**2) / len(samples_a))
    return np.abs((products - expected) / spread).max()


def test_features_are_orthonormal_under_the_gaussian_exactly():
    features = small_brain().features
    # Gauss-Hermite quadrature is exact for these polynomials; five latents, four nodes each.
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    grid = np.stack(np.meshgrid(*[nodes] * 5, indexing="ij"), -1).reshape(-1, 5)
    weight = np.prod(np.stack(np.meshgrid(*[weights / weights.sum()] * 5, indexing="ij"), -1).reshape(-1, 5), axis=1)
    phi = features(grid)
    assert features.n_features == 14
    np.testing.assert_allclose(weight @ phi, 0, atol=1e-12)
    np.testing.assert_allclose((phi * weight[:, None]).T @ phi, np.eye(14), atol=1e-12)


def test_jacobian_is_the_derivative():
    features = small_brain().features
    assert np.any(features.first == features.second)
    assert np.any(features.first != features.second)
    z = np.random.default_rng(0).standard_normal((3, 5))
    step = 1e-6
    numeric = [(features(z + step * axis) - features(z - step * axis)) / (2 * step) for axis in np.eye(5)]
    np.testing.assert_allclose(features.jacobian(z), np.stack(numeric, axis=-1), atol=1e-8)


def test_covariances_of_draws_equal_the_closed_forms():
    brain, rng = small_brain(), np.random.default_rng(1)
    latents = brain.draw_latents(N, rng)
    signals, embeddings, noise = brain.signals(latents), brain.embeddings(latents, rng), brain.noise(N, rng)
    centred = embeddings - brain.mean
    # The largest of some hundred standard normal deviates is below 5.
    assert gap(signals, signals, brain.signal_covariance) < 5
    assert gap(centred, signals, brain.embedding_signal_covariance) < 5
    assert gap(centred, centred, brain.embedding_covariance) < 5
    assert gap(noise, noise, brain.noise_covariance) < 5
    assert gap(noise, signals, 0) < 5
    assert np.abs(centred.mean(axis=0) / centred.std(axis=0)).max() < 5 / np.sqrt(N)


def test_noise_that_is_wrong_in_one_part_would_be_seen():
    brain = small_brain()
    wrong = dataclasses.replace(brain, shares={**brain.shares, "smooth": brain.shares["smooth"] * 1.1})
    noise = wrong.noise(N, np.random.default_rng(1))
    assert gap(noise, noise, brain.noise_covariance) > 8


def test_signal_and_noise_have_the_sizes_of_the_recipe():
    brain = draw_brain(3000, 0)
    np.testing.assert_allclose(np.diag(brain.signal_covariance), 1)
    np.testing.assert_allclose(np.diag(brain.noise_covariance), 1 / brain.ncsnr**2)
    np.testing.assert_allclose(np.square(brain.tuning[:, 48:]).sum(axis=1), KNOWN_RECIPE.nonlinear)
    np.testing.assert_allclose(sum(brain.shares.values()), 1)
    assert min(share.min() for share in brain.shares.values()) > 0
    low_rank = brain.shares["low_rank"]
    np.testing.assert_allclose(low_rank, np.minimum(brain.ncsnr**2, RECIPE.share_low_rank_cap))
    assert np.median(brain.ncsnr) == pytest.approx(0.36, rel=0.05)
    assert np.std(np.log(brain.ncsnr[brain.ncsnr < 1.3])) == pytest.approx(0.55, rel=0.08)
    assert brain.ncsnr.max() == 1.3


def test_embeddings_have_the_norm_and_mean_cosine_of_clip():
    brain, rng = draw_brain(10, 0), np.random.default_rng(0)
    embeddings = brain.embeddings(brain.draw_latents(4000, rng), rng)
    norm = np.linalg.norm(embeddings, axis=1)
    assert np.sqrt(np.square(norm).mean()) == pytest.approx(10, rel=0.01)
    cosines = embeddings @ brain.mean / norm / np.linalg.norm(brain.mean)
    assert cosines.mean() == pytest.approx(0.70, abs=0.02)
    linear, quadratic = (np.square(part).sum() for part in np.split(brain.embedding, [48], axis=1))
    assert quadratic / (linear + quadratic) == pytest.approx(0.10)


def test_smooth_noise_falls_off_over_space():
    brain = draw_brain(125, 0)
    correlation = smooth_correlation(brain.ijk)
    distance = np.linalg.norm(brain.ijk[:, None] - brain.ijk, axis=-1)
    assert correlation[distance == 1].mean() > 0.6
    assert correlation[distance > 4].max() < 0.1
    assert np.linalg.eigvalsh(brain.noise_covariance).min() > 0


def test_equal_seeds_give_equal_brains():
    a, b, other = draw_brain(30, 3), draw_brain(30, 3), draw_brain(30, 4)
    np.testing.assert_array_equal(a.tuning, b.tuning)
    np.testing.assert_array_equal(a.noise_covariance, b.noise_covariance)
    assert np.abs(a.tuning - other.tuning).max() > 0.1


def test_nonsense_is_refused():
    with pytest.raises(BadInputError, match="nonlinear"):
        KnownRecipe(nonlinear=1.5)
    with pytest.raises(BadInputError, match="no quadratic features"):
        KnownRecipe(quadratic=0)
    with pytest.raises(BadInputError, match="at least 2 voxels"):
        draw_brain(1, 0)
    with pytest.raises(IndexError):
        HermiteFeatures(2, np.array([0]), np.array([5]))(np.zeros((1, 2)))
