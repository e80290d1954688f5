import numpy as np
import pytest
from sklearn.metrics import r2_score

from fmri_lightning.encoder.validation import embedding_scores, r2_per_dimension, validate_embeddings
from fmri_lightning.metrics.retrieval import retrieval_ranks


def noisy(n=50, dim=8, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.standard_normal((n, dim)) + 2
    return true + noise * rng.standard_normal((n, dim)), true


def test_a_constant_prediction_scores_as_the_mean_vector_does():
    _, true = noisy()
    mean = true.mean(axis=0)
    found = validate_embeddings(np.tile(mean, (50, 1)), true, mean)
    assert found.scores["cosine"] == pytest.approx(found.scores["mean_vector_cosine"])
    assert found.scores["cosine"] > 0.8
    assert found.scores["centred_cosine"] == 0
    assert found.scores["picture_from_brain_top1"] <= 1 / 50
    assert found.scores["r2"] == pytest.approx(0, abs=1e-12)
    assert found.collapsed


def test_a_constant_that_is_not_the_mean_is_collapsed_too():
    rng = np.random.default_rng(1)
    _, true = noisy(400)
    constant = true.mean(axis=0) + 0.3 * rng.standard_normal(8)
    jittered = constant + 1e-4 * rng.standard_normal(true.shape)
    assert validate_embeddings(jittered, true, true.mean(axis=0)).collapsed
    predicted, true = noisy(400, noise=3.0)
    assert not validate_embeddings(predicted, true, true.mean(axis=0)).collapsed


def test_perfect_predictions_score_one_with_repeats_too():
    true = np.random.default_rng(0).standard_normal((20, 8))
    ids = np.repeat(np.arange(20), 3)
    scores = embedding_scores(true[ids], true[ids], true.mean(axis=0), ids)
    ones = [f"{way}_{key}" for way in ("picture_from_brain", "brain_from_picture") for key in ("top1", "median_rank")]
    assert {scores[key] for key in ("two_way", *ones)} == {1.0}
    assert scores["centred_cosine"] == pytest.approx(1)
    assert (scores["n"], scores["pool"]) == (60, 60)


def test_directions_are_named_by_what_is_searched_for():
    # Brains 0 and 1 both look like picture 0, so brain 1 finds the wrong picture; but of all brains, brain 1 looks
    # most like picture 1, so every picture finds its brain.
    true = np.eye(3)
    predicted = np.array([[1.0, 0.1, 0.0], [0.9, 0.2, 0.0], [0.0, 0.0, 1.0]])
    scores = embedding_scores(predicted, true, np.zeros(3))
    assert scores["picture_from_brain_top1"] == pytest.approx(2 / 3)
    assert scores["brain_from_picture_top1"] == pytest.approx(1.0)
    assert scores["picture_from_brain_median_rank"] == 1


def test_pools_hold_300_and_ranks_everything():
    predicted, true = noisy(400, noise=2.0)
    scores = embedding_scores(predicted, true, true.mean(axis=0))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (predicted, true)]
    similarity = unit[0] @ unit[1].T
    assert scores["pool"] == 300
    assert scores["picture_from_brain_median_rank"] == np.median(retrieval_ranks(similarity))
    assert scores["brain_from_picture_median_rank"] == np.median(retrieval_ranks(similarity.T))
    rng, hits = np.random.default_rng(42), []
    for _ in range(30):
        chosen = np.sort(rng.choice(400, size=300, replace=False))
        part = similarity[np.ix_(chosen, chosen)]
        hits.append(np.mean(part.argmax(axis=1) == np.arange(300)))
    assert scores["picture_from_brain_top1"] == pytest.approx(np.mean(hits), abs=1e-12)
    assert 0 < scores["picture_from_brain_top1"] < scores["picture_from_brain_top5"] < 1


def test_explained_variance_is_that_of_sklearn():
    predicted, true = noisy()
    true[:, 3] = 5.0
    expected = r2_score(true, predicted, multioutput="raw_values", force_finite=False)
    found = r2_per_dimension(predicted, true)
    varying = np.arange(8) != 3
    np.testing.assert_allclose(found[varying], expected[varying], rtol=1e-12)
    assert np.isnan(found[3])
    assert embedding_scores(predicted, true, true.mean(axis=0))["r2"] == pytest.approx(expected[varying].mean())
