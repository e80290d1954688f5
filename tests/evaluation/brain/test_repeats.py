"""The ceiling that repeats set: what a perfect encoder reaches on noisy trials is what the formula says."""

import numpy as np
import pytest

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.brain.repeats import agreement_of_repeats, project
from fmri_lightning.metrics.cosine import centred_cosine

DIM, N = 300, 200


def trials(noise, n_repeats, seed=0):
    """True embeddings around a mean, and a prediction per trial that is the truth plus noise."""
    rng = np.random.default_rng(seed)
    mean = 3.0 * rng.normal(size=DIM)
    truth = mean + rng.normal(size=(N, DIM))
    predicted = truth[:, None] + noise * rng.normal(size=(N, n_repeats, DIM))
    return mean, truth, predicted.astype(np.float32)


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_an_encoder_whose_noise_free_prediction_is_the_truth_reaches_the_ceiling(noise) -> None:
    mean, truth, predicted = trials(noise, 3)
    ids = np.repeat(np.arange(N), 3)
    stimuli, agreement = agreement_of_repeats(predicted.reshape(-1, DIM), ids, mean)
    assert np.array_equal(stimuli, np.arange(N))
    assert agreement.mean() == pytest.approx(1 / (1 + noise**2), abs=0.01)
    for used in (1, 3):
        reached = centred_cosine(predicted[:, :used].mean(axis=1), truth, mean).mean()
        assert np.sqrt(project(agreement.mean(), used)) == pytest.approx(reached, abs=0.01)


def test_a_collapsed_encoder_has_no_agreement() -> None:
    mean, _, _ = trials(1.0, 3)
    noise = np.random.default_rng(1).normal(size=(3 * N, DIM)) + mean
    _, agreement = agreement_of_repeats(noise.astype(np.float32), np.repeat(np.arange(N), 3), mean)
    assert abs(agreement.mean()) < 0.01


def test_order_of_trials_does_not_matter_and_single_pictures_are_left_out() -> None:
    mean, _, predicted = trials(1.0, 2)
    flat, ids = predicted.reshape(-1, DIM), np.repeat(np.arange(N), 2)
    keep = np.setdiff1d(np.arange(2 * N), [5])
    stimuli, agreement = agreement_of_repeats(flat[keep], ids[keep], mean)
    assert 2 not in stimuli
    assert len(stimuli) == N - 1
    order = np.random.default_rng(2).permutation(keep)
    assert agreement_of_repeats(flat[order], ids[order], mean)[1] == pytest.approx(agreement, abs=1e-9)


def test_pictures_shown_once_define_nothing() -> None:
    mean, _, predicted = trials(1.0, 1)
    with pytest.raises(BadInputError, match="no test picture was shown twice"):
        agreement_of_repeats(predicted[:, 0], np.arange(N), mean)


def test_projection_is_that_of_spearman_and_brown() -> None:
    assert project(0.5, 1) == 0.5
    assert project(0.5, 3) == pytest.approx(0.75)
    assert project(1.0, 7) == 1.0
