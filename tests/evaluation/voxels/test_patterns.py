"""Patterns against closed forms: the forward model of a linear decoder, and voxels that only take noise away."""

import numpy as np
import pytest
from scipy.stats import rankdata

from fmri_lightning.encoder.ridge import fit_ridge
from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.voxels.patterns import Trials, components_of, contributions, haufe_patterns


def trials_of(x):
    return Trials(x, np.arange(len(x)), np.arange(x.shape[1]))


def auc(score, positive):
    ranks, n = rankdata(score), positive.sum()
    return (ranks[positive].sum() - n * (n + 1) / 2) / (n * (~positive).sum())


def test_the_pattern_of_a_linear_decoder_is_cov_x_w_cov_y_inverse() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 7)) @ rng.normal(size=(7, 7)) + rng.normal(size=7)
    w = rng.normal(size=(7, 3))
    found = haufe_patterns(trials_of(x), x @ w + 5, share=1.0)
    cov_x = np.cov(x.T)
    expected = cov_x @ w @ np.linalg.inv(w.T @ cov_x @ w)
    np.testing.assert_allclose(found.in_embedding_space(), expected, rtol=1e-8, atol=1e-10)


def test_the_pattern_is_the_forward_model_that_made_the_data() -> None:
    rng = np.random.default_rng(1)
    latent, forward = rng.normal(size=(60_000, 2)), rng.normal(size=(6, 2))
    x = latent @ forward.T + 0.3 * rng.normal(size=(60_000, 6))
    w = np.linalg.pinv(forward).T
    found = haufe_patterns(trials_of(x), x @ w, share=1.0)
    np.testing.assert_allclose(found.in_embedding_space(), forward, atol=0.02)
    assert np.abs(w - forward).max() > 0.2


def test_a_voxel_of_pure_noise_has_a_large_weight_and_no_pattern() -> None:
    """Haufe et al. 2014: the first voxel sees signal and distractor, the second the distractor alone."""
    rng = np.random.default_rng(2)
    signal, distractor = rng.normal(size=(2, 20_000))
    x = np.stack([signal + distractor, distractor], axis=1)
    w = np.linalg.lstsq(x, signal[:, None], rcond=None)[0]
    np.testing.assert_allclose(w[:, 0], [1, -1], atol=1e-8)
    found = haufe_patterns(trials_of(x), x @ w)
    np.testing.assert_allclose(found.in_embedding_space()[:, 0], [1, 0], atol=0.03)
    assert found.strength[0] == pytest.approx(0.5, abs=0.02)
    assert abs(found.strength[1]) < 0.002


def test_the_map_is_the_adjusted_share_of_a_regression_on_what_was_decoded() -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(size=(200, 4)) @ rng.normal(size=(4, 4))
    x = y @ rng.normal(size=(4, 5)) + 3 * rng.normal(size=(200, 5))
    found = haufe_patterns(trials_of(x), y, share=1.0)
    design = np.column_stack([np.ones(200), y])
    residual = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
    share = 1 - residual.var(axis=0) / x.var(axis=0)
    np.testing.assert_allclose(found.explained, share, rtol=1e-8)
    np.testing.assert_allclose(found.strength, 1 - (1 - share) * 199 / 195, rtol=1e-8)


def test_the_map_does_not_depend_on_the_axes_of_the_embedding() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(300, 6)), rng.normal(size=(300, 5)) * [5, 3, 2, 1, 0.5]
    turned = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    first, second = haufe_patterns(trials_of(x), y), haufe_patterns(trials_of(x), y @ turned - 7)
    np.testing.assert_allclose(first.strength, second.strength, atol=1e-9)


def test_noise_is_near_zero_whatever_the_number_of_components() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(400, 300)), rng.normal(size=(400, 150))
    found = haufe_patterns(trials_of(x), y)
    assert len(found.components.sd) > 100
    assert abs(found.strength.mean()) < 0.01
    assert found.explained.mean() > 0.25


def test_components_hold_the_share_asked_for_and_not_more() -> None:
    y = np.diag([3.0, 2.0, 1.0, 0.1]).repeat(2, axis=0) * np.tile([1, -1], 4)[:, None]
    kept = [len(components_of(y, share).sd) for share in (0.5, 0.9, 0.99, 1.0)]
    assert kept == [1, 2, 3, 4]


def test_what_trials_add_has_the_mean_and_the_spread_of_the_share() -> None:
    rng = np.random.default_rng(6)
    n = 300

    def draw():
        y = rng.normal(size=(n, 2))
        return y[:, :1] * 0.8 + rng.normal(size=(n, 3)), y

    shares, spreads = [], []
    for _ in range(400):
        x, y = draw()
        found = haufe_patterns(trials_of(x), y, share=1.0)
        part = contributions(found, trials_of(x), y, {"two": np.array([True, True, False]), "none": np.zeros(3, bool)})
        assert list(part) == ["two"]
        assert part["two"].mean() == pytest.approx(found.strength[:2].mean(), abs=1e-9)
        shares.append(found.strength[:2].mean())
        spreads.append(part["two"].std() / np.sqrt(n))
    assert np.mean(spreads) == pytest.approx(np.std(shares), rel=0.12)


def test_a_constant_voxel_has_no_pattern_and_a_constant_encoder_is_refused() -> None:
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(50, 3)), rng.normal(size=(50, 2))
    x[:, 1] = 4.0
    assert np.isnan(haufe_patterns(trials_of(x), y).strength).tolist() == [False, True, False]
    with pytest.raises(BadInputError, match="the same embedding for every training trial"):
        haufe_patterns(trials_of(x), np.ones((50, 2)) * 3.3)
    with pytest.raises(BadInputError, match="cannot tell 19 components apart"):
        haufe_patterns(trials_of(x[:20]), rng.normal(size=(20, 40)), share=1.0 - 1e-9)


def test_patterns_find_planted_voxels_where_weights_are_misled() -> None:
    """60 voxels with signal under a common noise, and 8 that see nothing but that noise, and see it well."""
    rng = np.random.default_rng(8)
    n, k = 1200, 6
    latent, noise = rng.normal(size=(n, k)), rng.normal(size=(n, k))
    informative = np.arange(68) < 60
    x = 2 * noise @ (rng.normal(size=(k, 68)) / np.sqrt(k))
    x += np.where(informative, latent @ (rng.normal(size=(k, 68)) / np.sqrt(k)), 0)
    x += np.where(informative, 1.0, 0.1) * rng.normal(size=(n, 68))
    x /= x.std(axis=0)
    y = latent @ rng.normal(size=(k, 30)) + 0.1 * rng.normal(size=(n, 30))
    fit = fit_ridge(x.astype(np.float32), y.astype(np.float32))
    by_weights = auc(np.linalg.norm(fit.weights, axis=1), informative)
    by_patterns = auc(haufe_patterns(trials_of(x), fit.predict(x)).strength, informative)
    print(f"AUC: patterns {by_patterns:.3f}, weights {by_weights:.3f}")
    assert by_patterns > 0.97
    assert by_patterns > by_weights + 0.1
