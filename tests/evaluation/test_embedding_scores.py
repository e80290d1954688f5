"""Scores of predicted embeddings: chance levels, and what a stimulus adds as candidate of others."""

import numpy as np
import pytest

from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.evaluation.embedding_scores import score_embeddings
from fmri_lightning.evaluation.gallery import Gallery
from fmri_lightning.metrics.bootstrap import top_k_influence
from fmri_lightning.metrics.cosine import cosine_matrix

from .conftest import ANCHORS, DIM, N_TEST, N_TRAIN


def test_retrieval_knows_what_a_stimulus_adds_as_candidate(world) -> None:
    cache = EmbeddingCache.open(world.base / "clip.parquet")
    ids = ANCHORS.astype(np.int32)
    noisy = world.embeddings[ANCHORS] + np.random.default_rng(0).normal(size=(N_TEST, DIM)).astype(np.float32) * 2
    found = score_embeddings(noisy, ids, Gallery(cache, ids, world.embeddings[:N_TRAIN].mean(axis=0)))
    to_all = cosine_matrix(noisy, world.embeddings[ANCHORS])
    forward, backward = top_k_influence(to_all, 5, ids, ids), top_k_influence(to_all.T, 5, ids)
    assert found.influence["picture_from_brain_top5"] == pytest.approx(forward, abs=1e-9)
    assert found.influence["brain_from_picture_top5"] == pytest.approx(backward, abs=1e-9)
    assert not np.array_equal(forward, found.values["picture_from_brain_top5"])
    assert np.isfinite(found.values["picture_from_brain_csls_mrr"]).all()


def test_chance_of_single_trials_is_what_random_predictions_reach(world) -> None:
    cache = EmbeddingCache.open(world.base / "clip.parquet")
    ids = np.repeat(ANCHORS[:4], [1, 2, 3, 3]).astype(np.int32)
    gallery = Gallery(cache, ANCHORS.astype(np.int32), None)
    rng = np.random.default_rng(0)
    draws = [score_embeddings(rng.normal(size=(9, DIM)).astype(np.float32), ids, gallery) for _ in range(400)]
    for metric in ("brain_from_picture_top1", "brain_from_picture_top5"):
        reached = np.mean([draw.values[metric] for draw in draws])
        assert reached == pytest.approx(draws[0].chance[metric], abs=0.03), metric


def test_centred_and_scaled_retrieval_equal_their_formulas(world) -> None:
    cache = EmbeddingCache.open(world.base / "clip.parquet")
    ids, mean = ANCHORS.astype(np.int32), world.embeddings[:N_TRAIN].mean(axis=0, dtype=np.float64)
    noisy = world.embeddings[ANCHORS] + np.random.default_rng(1).normal(size=(N_TEST, DIM)).astype(np.float32) * 2
    found = score_embeddings(noisy, ids, Gallery(cache, ids, mean)).values
    plain = cosine_matrix(noisy, world.embeddings[ANCHORS])
    centred = cosine_matrix(noisy - mean, world.embeddings[ANCHORS] - mean)
    nearest = [np.sort(plain, axis=axis) for axis in (0, 1)]
    scaled = 2 * plain - nearest[0][-10:].mean(axis=0)[None, :] - nearest[1][:, -10:].mean(axis=1)[:, None]
    for variant, similarity in (("", plain), ("_centred", centred), ("_csls", scaled)):
        for way, matrix in (("picture_from_brain", similarity), ("brain_from_picture", similarity.T)):
            ranks = (matrix >= np.diagonal(matrix)[:, None]).sum(axis=1)
            assert np.array_equal(found[f"{way}{variant}_median_rank"], ranks), (way, variant)
            assert found[f"{way}{variant}_mrr"] == pytest.approx(1 / ranks)
            assert np.array_equal(found[f"{way}{variant}_top10"], ranks <= 10)
    assert not np.array_equal(found["picture_from_brain_mrr"], found["picture_from_brain_centred_mrr"])
    assert not np.array_equal(found["brain_from_picture_mrr"], found["brain_from_picture_csls_mrr"])
