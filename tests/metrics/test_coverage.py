"""Intervals hold the score of the population as often as they say, over simulated data sets of 200 stimuli.

Embeddings have 100 dimensions with a falling spectrum. ``dense``: half of the stimuli crowd in one category. ``hubs``:
predictions shrink to the mean of the cone, to which the true embeddings are near to different degrees.
"""

from functools import cache

import numpy as np
import pytest

from fmri_lightning.metrics.bootstrap import bootstrap_interval, top_k_influence, two_way_influence
from fmri_lightning.metrics.cosine import cosine_matrix
from fmri_lightning.metrics.identification import two_way_identification
from fmri_lightning.metrics.pixcorr import pixel_correlation
from fmri_lightning.metrics.retrieval import retrieval_ranks, top_k

N, DIM = 200, 100
SPECTRUM = np.arange(1, DIM + 1) ** -0.5
SPECTRUM /= np.linalg.norm(SPECTRUM)
AXES = np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, 2)))[0].T


def embeddings(rng, population, signal):
    """Truth and prediction (N, DIM) of a fresh data set."""
    truth, noise = rng.standard_normal((N, DIM)) * SPECTRUM, rng.standard_normal((N, DIM)) / np.sqrt(DIM)
    if population == "dense":
        truth = np.where(rng.random((N, 1)) < 0.5, 2 * AXES[0] + 0.35 * truth, 1.5 * truth)
    if population == "hubs":
        truth = truth * np.exp(0.6 * rng.standard_normal((N, 1)))
        return AXES[1] + truth, AXES[1] + signal * truth + 0.5 * noise
    return truth, signal * truth + noise


def two_way(rng, population, signal, with_influence=True):
    similarity = cosine_matrix(*embeddings(rng, population, signal))
    return two_way_identification(similarity), two_way_influence(similarity) if with_influence else None


def top_1(rng, population, signal, with_influence=True):
    truth, predicted = embeddings(rng, population, signal)
    similarity = cosine_matrix(predicted, truth)
    return top_k(retrieval_ranks(similarity), 1), top_k_influence(similarity) if with_influence else None


def pixcorr(rng, population, signal, with_influence=True):
    """Pictures of 8 x 8 pixels whose quality differs between stimuli."""
    truth = rng.random((N, 8, 8, 3))
    quality = signal * np.exp(0.8 * rng.standard_normal((N, 1, 1, 1)))
    scores = pixel_correlation(truth, quality * truth + rng.random(truth.shape))
    return scores, scores


CASES = {
    "two_way 75 normal": (two_way, "normal", 0.093),
    "two_way 75 dense": (two_way, "dense", 0.076),
    "two_way 75 hubs": (two_way, "hubs", 0.177),
    "two_way 90 normal": (two_way, "normal", 0.184),
    "two_way 90 dense": (two_way, "dense", 0.183),
    "two_way 90 hubs": (two_way, "hubs", 0.277),
    "top_1 30 normal": (top_1, "normal", 0.229),
    "top_1 30 dense": (top_1, "dense", 0.189),
    "top_1 30 hubs": (top_1, "hubs", 0.351),
    "pixcorr": (pixcorr, "pictures", 0.3),
}


@cache
def population_score(case):
    """Mean over 400 other data sets: its error is a twentieth of the standard error of one."""
    score, population, signal = CASES[case]
    rng = np.random.default_rng(77)
    return np.mean([score(rng, population, signal, False)[0].mean() for _ in range(400)])


def coverage(case, simulations, of_scores=False):
    score, population, signal = CASES[case]
    truth, rng = population_score(case), np.random.default_rng(78)
    covered = 0
    for simulation in range(simulations):
        scores, influence = score(rng, population, signal)
        found = bootstrap_interval(scores if of_scores else influence, n_resamples=1000, seed=simulation)
        covered += found.low <= truth <= found.high
    return covered / simulations


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_intervals_cover_95_percent(case):
    """Within 95 ± 2 %, and two standard errors of the simulation."""
    assert coverage(case, 1000) == pytest.approx(0.95, abs=0.02 + 2 * np.sqrt(0.95 * 0.05 / 1000))


@pytest.mark.parametrize("case", ["two_way 90 dense", "top_1 30 hubs", "pixcorr"])
def test_intervals_cover_in_a_short_simulation(case):
    assert coverage(case, 200) == pytest.approx(0.95, abs=0.02 + 2.6 * np.sqrt(0.95 * 0.05 / 200))


def test_scores_of_anchors_alone_do_not_cover():
    """Why influences are resampled: with distractors held fixed, a fifth of the intervals miss."""
    assert coverage("two_way 90 dense", 150, of_scores=True) < 0.89
