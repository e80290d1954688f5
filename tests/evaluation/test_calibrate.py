"""Confidence that goes with hits, confidence that does not, and where it is not asked."""

import numpy as np
import pytest

from fmri_lightning.evaluation.calibrate import calibrate
from fmri_lightning.evaluation.embedding_scores import EmbeddingScores
from fmri_lightning.metrics.calibration import gallery_margin

N, DIM = 200, 30
GALLERY = np.arange(0, 2 * N, 2, dtype=np.int32)


def decoded(noise, seed=0):
    """Similarities of predictions whose noise differs between items, and the cosine of each with its truth."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(N, DIM))
    predicted = truth + np.asarray(noise)[:, None] * rng.normal(size=(N, DIM))
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (predicted, truth)]
    similarity = unit[0] @ unit[1].T
    return EmbeddingScores(to_gallery=[similarity]), {"pixcorr": np.diagonal(similarity).copy()}


def test_items_of_little_noise_are_the_confident_ones() -> None:
    found, scores = decoded(np.linspace(0.2, 3.0, N))
    answer = calibrate(found, scores, GALLERY, GALLERY)
    assert answer["scores"]["pixcorr"]["spearman"] > 0.7
    kept = answer["scores"]["pixcorr"]["selective"]
    assert kept["coverage"] == [1.0, 0.75, 0.5, 0.25]
    assert np.all(np.diff(kept["score"]) > 0)
    assert kept["score"][0] == pytest.approx(scores["pixcorr"].mean())
    assert answer["top1"]["auroc"] > 0.8
    assert answer["top1"]["hit_rate"] == (found.to_gallery[0].argmax(axis=1) == np.arange(N)).mean()
    assert sum(answer["top1"]["curve"]["n"]) == N


def test_probabilities_are_right_where_all_items_are_alike() -> None:
    found, scores = decoded(np.full(N, 1.5))
    answer = calibrate(found, scores, GALLERY, GALLERY)
    assert abs(answer["top1"]["mean_probability"] - answer["top1"]["hit_rate"]) < 0.08


def test_scores_that_confidence_knows_nothing_of_do_not_go_with_it() -> None:
    found, _ = decoded(np.linspace(0.2, 3.0, N))
    scores = {"pixcorr": np.random.default_rng(5).normal(size=N)}
    assert abs(calibrate(found, scores, GALLERY, GALLERY)["scores"]["pixcorr"]["spearman"]) < 0.2


def test_scores_that_are_not_defined_are_left_out() -> None:
    found, scores = decoded(np.linspace(0.2, 3.0, N))
    scores["pixcorr"][::2] = np.nan
    kept = gallery_margin(found.to_gallery[0])[1::2], scores["pixcorr"][1::2]
    expected = np.corrcoef(*(np.argsort(np.argsort(values)) for values in kept))[0, 1]
    assert calibrate(found, scores, GALLERY, GALLERY)["scores"]["pixcorr"]["spearman"] == pytest.approx(expected)
    scores["pixcorr"][:] = np.nan
    assert calibrate(found, scores, GALLERY, GALLERY)["scores"]["pixcorr"]["spearman"] is None


def test_few_stimuli_or_undefined_predictions_are_not_asked() -> None:
    found, scores = decoded(np.ones(N))
    few = EmbeddingScores(to_gallery=[found.to_gallery[0][:6]])
    assert calibrate(few, {"pixcorr": scores["pixcorr"][:6]}, GALLERY[:6], GALLERY) is None
    found.to_gallery[0][3] = np.nan
    assert calibrate(found, scores, GALLERY, GALLERY) is None
