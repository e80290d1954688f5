"""Noise levels against the generator's own schedule, and errors that are known to stand for a level."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from fmri_lightning.adapter.reliability.noise_levels import errors_of_levels, match_levels, squared_cosine_abar
from fmri_lightning.errors import BadInputError

# sqrt(abar) and the standard deviation of the noise at levels 0, 100, 250, 500, as unCLIP adds it.
KNOWN = {0: (1.000, 0.0064), 100: (0.986, 0.169), 250: (0.920, 0.393), 500: (0.702, 0.713)}


def test_the_schedule_is_that_of_diffusers():
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    np.testing.assert_allclose(squared_cosine_abar(), scheduler.alphas_cumprod.numpy(), rtol=2e-4, atol=1e-8)


@pytest.mark.parametrize("level", KNOWN)
def test_known_levels(level):
    signal, noise = KNOWN[level]
    abar = squared_cosine_abar()[level]
    assert np.sqrt(abar) == pytest.approx(signal, abs=6e-4)
    assert errors_of_levels("label_only", False)[level] == pytest.approx(noise, abs=6e-4)
    assert errors_of_levels("add", False)[level] == pytest.approx(noise / signal, abs=2e-3)
    assert match_levels(np.array([noise]), "label_only", False, 999)[0] == pytest.approx(level, abs=1)
    assert match_levels(np.array([noise / signal]), "add", False, 999)[0] == pytest.approx(level, abs=1)


@pytest.mark.parametrize("mode", ["add", "label_only"])
@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("spread", [1.0, 0.4])
def test_every_level_is_found_again(mode, calibrated, spread):
    errors = errors_of_levels(mode, calibrated, spread)
    assert (np.diff(errors) > 0).all()
    assert match_levels(errors, mode, calibrated, 999, spread).tolist() == list(range(1000))


def noised(level, spread, n=400_000):
    """True embeddings of one dimension, and what the U-Net saw of them in training."""
    generator = torch.Generator().manual_seed(level)
    true = spread * torch.randn(n, generator=generator)
    noise = torch.randn(n, generator=generator)
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    return true.numpy(), scheduler.add_noise(true, noise, torch.tensor([level])).numpy()


@pytest.mark.parametrize("spread", [1.0, 0.5])
@pytest.mark.parametrize("level", [100, 250, 500])
def test_a_regression_that_knows_as_much_as_the_level_is_given_it(level, spread):
    true, seen = noised(level, spread)
    best = seen * (true @ seen) / (seen @ seen)  # least squares: the mean of the truth given what was seen
    error = np.sqrt(np.square(best - true).mean()) / spread
    assert match_levels(np.array([error]), "label_only", False, 999, spread)[0] == pytest.approx(level, abs=3)
    calibrated = best * true.std() / best.std()
    error = np.sqrt(np.square(calibrated - true).mean()) / spread
    assert match_levels(np.array([error]), "label_only", True, 999, spread)[0] == pytest.approx(level, abs=3)


@pytest.mark.parametrize("spread", [1.0, 0.5])
def test_added_noise_is_as_large_as_the_error(spread):
    level = match_levels(np.array([0.4]), "add", False, 999, spread)[0]
    true, seen = noised(int(level), spread)
    scale = np.sqrt(squared_cosine_abar()[level])
    assert (seen / scale - true).std() == pytest.approx(0.4 * spread, rel=0.01)


def test_the_largest_level_is_kept_and_nan_is_refused():
    assert match_levels(np.array([0.0, 0.5, 5.0]), "label_only", False, 350).tolist()[::2] == [0, 350]
    with pytest.raises(BadInputError, match="NaN"):
        match_levels(np.array([0.1, np.nan]), "add", False, 999)
