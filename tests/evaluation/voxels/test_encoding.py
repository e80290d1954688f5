"""Encoding accuracy: what planted signal gives, what its ceiling is in closed form, and that chance gives nothing."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from fmri_lightning.evaluation.voxels.encoding import encode_voxels, of_ceiling, permutation_ps
from fmri_lightning.evaluation.voxels.material import StimulusMeans
from fmri_lightning.evaluation.voxels.regional import by_region, mean_contributions
from fmri_lightning.metrics.false_discovery import benjamini_hochberg

N_TRAIN, N_TEST, DIM = 600, 400, 5


@pytest.fixture(scope="module")
def made():
    """Voxels that are linear in the embedding, of four signal-to-noise ratios; test means of three or one repeats."""
    rng = np.random.default_rng(0)
    ncsnr = np.repeat([0.0, 0.3, 0.6, 1.2], 15)
    tuning = rng.normal(size=(DIM, 60))
    tuning /= np.linalg.norm(tuning, axis=0)
    embeddings = rng.normal(size=(N_TRAIN + N_TEST, DIM)).astype(np.float32)
    repeats = np.where(np.arange(N_TRAIN + N_TEST) % 2, 3, 1)
    noise = rng.normal(size=(N_TRAIN + N_TEST, 60)) / np.sqrt(repeats)[:, None]
    responses = (ncsnr * (embeddings @ tuning) + noise).astype(np.float32)
    ids = np.arange(N_TRAIN + N_TEST, dtype=np.int32)
    parts = [StimulusMeans(ids[s], responses[s], repeats[s]) for s in (slice(N_TRAIN), slice(N_TRAIN, None))]
    return parts[0], embeddings[:N_TRAIN], parts[1], embeddings[N_TRAIN:], ncsnr


def encode(made, test_embeddings=None, **more):
    train, train_embeddings, test, embeddings, ncsnr = made
    nothing = np.full(len(ncsnr), np.nan)
    given = embeddings if test_embeddings is None else test_embeddings
    return encode_voxels(train, train_embeddings, test, given, ncsnr, nothing, n_permutations=300, **more)


def test_accuracy_reaches_the_ceiling_of_mixed_repeats_in_closed_form(made) -> None:
    found, ncsnr = encode(made), made[-1]
    # Half of the test stimuli have three repeats and half one: 1/n is (1/3 + 1) / 2.
    np.testing.assert_allclose(found.ceiling, ncsnr**2 / (ncsnr**2 + (1 / 3 + 1) / 2))
    for level in (0.6, 1.2):
        voxels = ncsnr == level
        assert found.r[voxels].mean() ** 2 == pytest.approx(found.ceiling[voxels].mean(), abs=0.04)
        assert found.of_ceiling[voxels].mean() == pytest.approx(1, abs=0.1)
    assert np.isnan(found.ceiling_published).all()


def test_a_ratio_stands_only_where_there_is_signal_to_explain(made) -> None:
    found, ncsnr = encode(made, min_ceiling=0.2), made[-1]
    assert np.isnan(found.of_ceiling[ncsnr <= 0.3]).all()
    assert np.isfinite(found.of_ceiling[ncsnr >= 0.6]).all()
    r, ceiling = np.array([0.5, -0.5, np.nan, 0.5, 0.5]), np.array([0.5, 0.5, 0.5, 0.0, np.nan])
    np.testing.assert_array_equal(of_ceiling(r, ceiling, 0.1), [0.5, 0.0, np.nan, np.nan, np.nan])


def test_another_pairing_of_stimuli_gives_nothing(made) -> None:
    found = encode(made, test_embeddings=np.roll(made[3], 7, axis=0))
    assert abs(found.r.mean()) < 0.02
    assert (found.q <= 0.05).sum() <= 1


def test_significance_finds_signal_and_keeps_noise_out(made) -> None:
    found, ncsnr = encode(made), made[-1]
    assert (found.q[ncsnr >= 0.6] <= 0.05).all()
    assert (found.q[ncsnr == 0] <= 0.05).sum() <= 2
    assert found.p.min() == pytest.approx(1 / 301)


def test_p_of_noise_is_uniform_and_never_zero() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 40, 400)).astype(np.float32)
    r = np.array([np.corrcoef(x[:, i], y[:, i])[0, 1] for i in range(400)])
    p = permutation_ps(x, y, r, 199, 0)
    assert p.min() >= 1 / 200
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.03)
    assert p.mean() == pytest.approx(0.5, abs=0.04)


def test_q_is_that_of_scipy_and_skips_what_was_not_tested() -> None:
    p = np.random.default_rng(2).uniform(size=300) ** 3
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p), rtol=1e-12)
    holes = np.insert(p, [0, 100], np.nan)
    np.testing.assert_allclose(benjamini_hochberg(holes)[np.isfinite(holes)], false_discovery_control(p))
    assert np.isnan(benjamini_hochberg(holes)).sum() == 2
    with pytest.raises(ValueError, match=r"0\.\.1"):
        benjamini_hochberg(np.array([0.5, 1.5]))


def test_intervals_of_regions_are_over_stimuli(made) -> None:
    found, ncsnr = encode(made), made[-1]
    members = {"strong": ncsnr == 1.2, "noise": ncsnr == 0, "empty": np.zeros(60, bool)}
    for values, moved in (
        (found.r, found.contribution),
        (found.of_ceiling, found.of_ceiling_contribution),
    ):
        rows = by_region(values, mean_contributions(moved, members), made[2].ids, members, 500, 0)
        assert rows["empty"]["value"] is None
        assert rows["strong"]["value"] == pytest.approx(values[members["strong"]].mean())
        assert rows["strong"]["ci_low"] < rows["strong"]["value"] < rows["strong"]["ci_high"]
        assert rows["strong"]["q25"] <= rows["strong"]["median"] <= rows["strong"]["q75"]
    assert rows["noise"]["n_voxels"] == 0


def test_a_voxel_that_does_not_vary_has_no_numbers(made) -> None:
    train, train_embeddings, test, embeddings, ncsnr = made
    still = [StimulusMeans(part.ids, part.responses.copy(), part.repeats) for part in (train, test)]
    for part in still:
        part.responses[:, 3] = 0.0
    found = encode((still[0], train_embeddings, still[1], embeddings, ncsnr))
    assert np.isnan([found.r[3], found.p[3], found.q[3], found.of_ceiling[3]]).all()
    assert np.isfinite(np.delete(found.r, 3)).all()
