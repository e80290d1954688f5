import numpy as np
import pytest

from fmri_lightning.betas import reliability
from fmri_lightning.betas.reliability import (
    estimate_ncsnr,
    noise_ceiling,
    pair_reliability,
    project_reliability,
)
from fmri_lightning.betas.rows import stimulus_rows
from fmri_lightning.errors import BadInputError


def simulate(n_stimuli, ncsnr, repeats=3, seed=0):
    """Voxels of known ncsnr and unit variance, trials in random order; repeats may be a number per picture."""
    rng = np.random.default_rng(seed)
    counts = np.broadcast_to(repeats, n_stimuli)
    nsd_id = rng.permutation(np.repeat(np.arange(n_stimuli) * 7, counts))
    ncsnr = np.asarray(ncsnr)
    noise = 1 / np.sqrt(1 + ncsnr**2)
    signal = rng.standard_normal((n_stimuli, len(ncsnr))) * ncsnr * noise
    betas = signal[nsd_id // 7] + rng.standard_normal((len(nsd_id), len(ncsnr))) * noise
    betas = (betas - betas.mean(axis=0)) / betas.std(axis=0)
    return betas.astype(np.float32), nsd_id


@pytest.fixture
def mixed():
    """Pictures shown one, two, three and five times."""
    betas, nsd_id = simulate(60, np.full(9, 0.8), repeats=np.resize([1, 2, 3, 5], 60))
    return betas, nsd_id, stimulus_rows(nsd_id)[1]


def test_ncsnr_equals_a_plain_loop_over_pictures_with_any_number_of_repeats(mixed, monkeypatch):
    betas, nsd_id, groups = mixed
    monkeypatch.setattr(reliability, "_STIMULI_PER_BLOCK", 7)
    found = estimate_ncsnr(betas, groups)
    for voxel in range(betas.shape[1]):
        variances = []
        for i in sorted(set(nsd_id.tolist())):
            trials = betas[nsd_id == i, voxel].astype(float)
            if len(trials) > 1:
                variances.append(sum((t - trials.mean()) ** 2 for t in trials) / (len(trials) - 1))
        noise = sum(variances) / len(variances)
        assert found[voxel] == pytest.approx(np.sqrt(max(1 - noise, 0) / noise), rel=1e-9)


def test_ncsnr_recovers_what_was_planted():
    planted = np.linspace(0, 1.3, 40)
    betas, nsd_id = simulate(1000, planted)
    found = estimate_ncsnr(betas, stimulus_rows(nsd_id)[1])
    assert np.corrcoef(planted, found)[0, 1] > 0.98
    assert abs(np.median(found) - np.median(planted)) < 0.03


def test_ncsnr_of_pure_signal_noise_and_nothing():
    rng = np.random.default_rng(0)
    nsd_id = np.repeat(np.arange(50), 2)
    signal = rng.standard_normal(50)[nsd_id]
    opposite = np.tile([1.0, -1.0], 50)  # repeats that contradict each other
    betas = np.stack([signal, opposite, np.zeros(100)], axis=1)
    found = estimate_ncsnr(betas, stimulus_rows(nsd_id)[1])
    assert found[0] > 1e5
    assert found[1:].tolist() == [0, 0]


def test_pair_reliability_equals_a_plain_loop(mixed, monkeypatch):
    betas, _, groups = mixed
    monkeypatch.setattr(reliability, "_STIMULI_PER_BLOCK", 7)
    found = pair_reliability(betas, groups, n_draws=4, seed=3, min_stimuli=10)
    repeated = [group for group in groups if len(group) > 1]
    counts = np.array([len(group) for group in repeated])
    rng = np.random.default_rng(3)
    first = rng.integers(0, counts, size=(4, len(counts)))
    second = (first + rng.integers(1, counts, size=(4, len(counts)))) % counts
    assert np.all(first != second)
    z = np.zeros(betas.shape[1])
    for draw in range(4):
        a = betas[[group[i] for group, i in zip(repeated, first[draw], strict=True)]]
        b = betas[[group[i] for group, i in zip(repeated, second[draw], strict=True)]]
        z += [np.arctanh(np.corrcoef(a[:, v], b[:, v])[0, 1]) / 4 for v in range(betas.shape[1])]
    assert np.allclose(found, np.tanh(z), atol=1e-6)


def test_pair_reliability_is_ncsnr_squared_over_itself_plus_one():
    planted = np.linspace(0, 1.3, 60)
    betas, nsd_id = simulate(3000, planted)
    found = pair_reliability(betas, stimulus_rows(nsd_id)[1])
    assert np.abs(found - planted**2 / (planted**2 + 1)).max() < 0.05


def test_identical_repeats_and_constant_voxels_stay_finite():
    rng = np.random.default_rng(0)
    nsd_id = np.repeat(np.arange(120), 2)
    betas = np.stack([rng.standard_normal(120)[nsd_id], np.zeros(240)], axis=1)
    found = pair_reliability(betas, stimulus_rows(nsd_id)[1])
    assert found[0] == pytest.approx(1)
    assert found[1] == 0


def test_projection_to_three_repeats():
    r = np.array([0, 0.2, 0.5, 1, -0.9])
    assert project_reliability(r) == pytest.approx([0, 0.6 / 1.4, 1.5 / 2, 1, -1])
    # The same number as the noise ceiling of three repeats: one threshold serves both masks.
    ncsnr = np.array([0.1, 0.36, 1.2])
    assert project_reliability(ncsnr**2 / (ncsnr**2 + 1)) == pytest.approx(noise_ceiling(ncsnr, np.array([3])))


def test_noise_ceiling_of_mixed_repeats_weights_inverse_counts():
    assert noise_ceiling(np.array([0.5]), np.array([3, 3, 2, 1]))[0] == pytest.approx(
        0.25 / (0.25 + (2 / 3 + 1 / 2 + 1) / 4)
    )


def test_too_few_repeated_pictures_are_refused_with_the_way_out():
    betas, nsd_id = simulate(150, [0.5], repeats=np.r_[np.full(99, 3), np.full(51, 1)])
    with pytest.raises(BadInputError, match=r"99 training pictures .* 100 are needed .*--mask roi"):
        pair_reliability(betas, stimulus_rows(nsd_id)[1])
