"""Scores of the predicted embeddings themselves: cosines, and retrieval over the full test gallery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.encoder.validation import collapse_sentence
from fmri_lightning.evaluation.gallery import Gallery
from fmri_lightning.evaluation.metric_table import VARIANTS
from fmri_lightning.metrics.bootstrap import Interval, top_k_influence
from fmri_lightning.metrics.cosine import centred_cosine, cosine, cosine_matrix, mean_vector_cosine
from fmri_lightning.metrics.retrieval import csls, gallery_ranks, pooled_top_1, reciprocal_rank, retrieval_ranks, top_k

POOL = 300
KS = (1, 5, 10)
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class EmbeddingScores:
    """Scores of predicted embeddings.

    Attributes:
        values: Metric to scores (n,).
        chance: Metric to chance level.
        mean_vector: Metric to the value that predicting the training mean reaches.
        skipped: Metric to the reason why it was not computed.
        influence: Metric to what each item adds to the mean, as query and as candidate (n,), where that differs.
        to_gallery: Similarity of every prediction with every test stimulus (n, m), centred where a mean is known.
    """

    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    mean_vector: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    influence: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    to_gallery: list[Matrix] = field(default_factory=list)


def score_embeddings(predicted: NDArray[np.float32], ids: NDArray[np.int32], gallery: Gallery) -> EmbeddingScores:
    """Compare predicted source embeddings with the true ones.

    Args:
        predicted: Raw source embeddings (n, d).
        ids: Stimulus of each (n,).
        gallery: True embeddings.

    Returns:
        Cosines; retrieval of the picture among all test stimuli, and of the brain among the items; top-1
        in pools of 300 where there are as many items. Each plain, after the training mean is taken off both sides
        (``_centred``), and by cross-domain similarity local scaling (``_csls``, which uses the other test
        predictions). Equal stimuli are never distractors.
    """
    scores = EmbeddingScores()
    truth, candidates = gallery.cache.rows(ids), gallery.cache.rows(gallery.ids)
    scores.values["source_cosine"] = cosine(predicted, truth)
    if gallery.mean is not None:
        scores.values["source_centred_cosine"] = centred_cosine(predicted, truth, gallery.mean)
        scores.mean_vector["source_cosine"] = float(mean_vector_cosine(gallery.mean, truth).mean())
    plain = (cosine_matrix(predicted, candidates), cosine_matrix(predicted, truth))
    similarities = {"": plain, "_csls": (csls(plain[0]), csls(plain[1]))}
    if gallery.mean is not None:
        centre = gallery.mean
        similarities["_centred"] = (
            cosine_matrix(predicted - centre, candidates - centre),
            cosine_matrix(predicted - centre, truth - centre),
        )
    for variant in VARIANTS:
        if variant in similarities:
            _add_retrieval(scores, variant, *similarities[variant], ids, gallery.ids)
    scores.to_gallery.append(similarities.get("_centred", plain)[0])
    return scores


def _add_retrieval(
    scores: EmbeddingScores,
    variant: str,
    to_gallery: Matrix,
    to_items: Matrix,
    ids: NDArray[np.int32],
    gallery_ids: NDArray[np.int32],
) -> None:
    forward, backward = f"picture_from_brain{variant}", f"brain_from_picture{variant}"
    _add_ranks(scores, forward, gallery_ranks(to_gallery, ids, gallery_ids), len(gallery_ids))
    _add_ranks(scores, backward, retrieval_ranks(to_items.T, ids), _brains_to_choose_from(ids))
    for k in KS:
        scores.influence[f"{forward}_top{k}"] = top_k_influence(to_gallery, k, ids, gallery_ids)
        scores.influence[f"{backward}_top{k}"] = top_k_influence(to_items.T, k, ids)
    for name, matrix in ((forward, to_items), (backward, to_items.T)):
        metric = f"{name}_top1_of_{POOL}"
        if len(ids) < POOL:
            scores.skipped[metric] = f"a pool of {POOL} needs as many items, the run has {len(ids)}"
            continue
        scores.values[metric] = pooled_top_1(matrix, ids, pool=POOL).per_item


def _brains_to_choose_from(ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """Candidates of each item: its own brain and those of other stimuli, never a repeat of its own."""
    _, which, counts = np.unique(ids, return_inverse=True, return_counts=True)
    return np.asarray(len(ids) - counts[which] + 1, dtype=np.int64)


def _add_ranks(
    scores: EmbeddingScores, name: str, ranks: NDArray[np.int64], candidates: int | NDArray[np.int64]
) -> None:
    many = np.atleast_1d(np.asarray(candidates))
    for k in KS:
        scores.values[f"{name}_top{k}"] = top_k(ranks, k)
        scores.chance[f"{name}_top{k}"] = float(np.minimum(k / many, 1.0).mean())
    scores.values[f"{name}_median_rank"] = ranks.astype(np.float64)
    scores.chance[f"{name}_median_rank"] = float(np.median((many + 1) / 2.0))
    scores.values[f"{name}_mrr"] = reciprocal_rank(ranks)
    harmonic = np.cumsum(1.0 / np.arange(1, many.max() + 1))
    scores.chance[f"{name}_mrr"] = float((harmonic[many - 1] / many).mean())


def tell_collapse(summary: Mapping[str, Any]) -> str | None:
    """Say in words that an encoder has not been shown to beat a constant.

    Args:
        summary: ``summary.json`` of a run by one protocol.

    Returns:
        The sentence; None where the whole interval of the centred cosine lies above 0, or it was not scored.
    """
    found = summary["metrics"].get("source_centred_cosine")
    if found is None or found["value"] is None or found["ci_low"] is None or found["ci_low"] > 0:
        return None
    return collapse_sentence("The encoder", Interval(found["value"], found["ci_low"], found["ci_high"])) + "."
