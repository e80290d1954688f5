"""Scores of the predicted embeddings themselves: cosines, and retrieval over the full test gallery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.encoder.validation import collapse_sentence
from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.runs import Run
from fmri_lightning.generation.plan import items_of_table, rows_of_test_set
from fmri_lightning.generation.predictions import FILE_NAME, Predictions, read_predictions
from fmri_lightning.index.table import index_manifest, read_index
from fmri_lightning.metrics.bootstrap import Interval
from fmri_lightning.metrics.cosine import centred_cosine, cosine, cosine_matrix, mean_vector_cosine
from fmri_lightning.metrics.retrieval import gallery_ranks, pooled_top_1, retrieval_ranks, top_k

POOL = 300


@dataclass(frozen=True, eq=False)
class Gallery:
    """True embeddings of the full test set, and the mean of the training stimuli.

    Attributes:
        cache: The CLIP cache of the run.
        ids: Stimuli of the test set, ascending (m,).
        mean: Mean true embedding of the training stimuli (d,), None without an index.
    """

    cache: EmbeddingCache
    ids: NDArray[np.int32]
    mean: NDArray[np.float64] | None


@dataclass(frozen=True)
class BrainScores:
    """Scores of predicted embeddings.

    Attributes:
        values: Metric to scores (n,).
        chance: Metric to chance level.
        mean_vector: Metric to the value that predicting the training mean reaches.
        skipped: Metric to the reason why it was not computed.
    """

    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    mean_vector: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def predictions_of(run: Run) -> Predictions:
    """Read a run's predictions in the order of its items.

    Args:
        run: The run.

    Returns:
        One row an item.

    Raises:
        BadInputError: The table is missing, damaged, or lacks items of the summary.
    """
    table, _ = read_predictions(run.folder / FILE_NAME)
    position = {int(trial): row for row, trial in enumerate(table.trial_id)}
    lacking = [trial for trial in run.trial_ids.tolist() if trial not in position]
    if lacking:
        raise BadInputError(
            f"{run.folder / FILE_NAME} lacks {len(lacking)} items of the summary; run the same predict command again"
        )
    rows = np.array([position[int(trial)] for trial in run.trial_ids], dtype=np.intp)
    if not np.array_equal(table.nsd_id[rows], run.ids):
        raise BadInputError(f"{run.folder / FILE_NAME} and its summary name other stimuli; run predict again")
    return Predictions(
        nsd_id=table.nsd_id[rows],
        trial_id=table.trial_id[rows],
        global_trial=table.global_trial[rows],
        source=None if table.source is None else table.source[rows],
        target=None if table.target is None else table.target[rows],
        cosine_pred_gt=table.cosine_pred_gt[rows],
        nn_nsd_id=table.nn_nsd_id[rows],
        nn_cosine=table.nn_cosine[rows],
        drawn_from_nsd_id=table.drawn_from_nsd_id[rows],
    )


def open_gallery(run: Run, clip_cache: Path | None) -> Gallery:
    """Open the true embeddings that a run's predictions are compared with.

    Args:
        run: The run; its provenance names CLIP cache, index and subject.
        clip_cache: Another place of the same cache.

    Returns:
        The gallery.

    Raises:
        BadInputError: No cache is named, it is not the one the run was made with, or it lacks stimuli.
    """
    provenance = run.summary.get("provenance", {})
    path = clip_cache if clip_cache is not None else provenance.get("clip_cache")
    if path is None:
        raise BadInputError("the run names no CLIP cache; give it with --clip_cache FILE")
    cache = EmbeddingCache.open(path)
    recorded = provenance.get("inputs", {}).get("clip_cache")
    if recorded is not None and recorded != cache.content_hash:
        raise BadInputError(f"{path} is not the CLIP cache that {run.folder} was made with; give it with --clip_cache")
    index_root = provenance.get("index_root")
    if index_root is None:
        return Gallery(cache, np.unique(run.ids), None)
    subject = str(run.summary["subject"])
    manifest, table = index_manifest(index_root, subject), read_index(index_root, subject)
    recorded = provenance.get("inputs", {}).get("index")
    if recorded is not None and recorded != manifest.content_hash:
        raise BadInputError(f"{index_root} is not the index that {run.folder} was made with; run predict again")
    n_sessions = int(manifest.config.get("n_sessions", 0))
    keep = rows_of_test_set(run.summary["test_set"], table, Path(index_root), n_sessions)
    test = np.unique(items_of_table(table, "average", keep).nsd_id)
    train = np.unique(table.of_split("train").nsd_id)
    mean = cache.rows(train).mean(axis=0, dtype=np.float64) if len(train) else None
    return Gallery(cache, test, mean)


def score_embeddings(predicted: NDArray[np.float32], ids: NDArray[np.int32], gallery: Gallery) -> BrainScores:
    """Compare predicted source embeddings with the true ones.

    Args:
        predicted: Raw source embeddings (n, d).
        ids: Stimulus of each (n,).
        gallery: True embeddings.

    Returns:
        Cosines; retrieval of the picture among all test stimuli, and of the brain among the items; top-1
        in pools of 300 where there are as many items. Equal stimuli are never distractors.
    """
    scores = BrainScores()
    truth = gallery.cache.rows(ids)
    scores.values["source_cosine"] = cosine(predicted, truth)
    if gallery.mean is not None:
        scores.values["source_centred_cosine"] = centred_cosine(predicted, truth, gallery.mean)
        scores.mean_vector["source_cosine"] = float(mean_vector_cosine(gallery.mean, truth).mean())
    to_gallery = cosine_matrix(predicted, gallery.cache.rows(gallery.ids))
    to_items = cosine_matrix(predicted, truth)
    _add_ranks(scores, "image_given_brain", gallery_ranks(to_gallery, ids, gallery.ids), len(gallery.ids))
    _add_ranks(scores, "brain_given_image", retrieval_ranks(to_items.T, ids), _brains_to_choose_from(ids))
    for name, matrix in (("image_given_brain", to_items), ("brain_given_image", to_items.T)):
        metric = f"{name}_top1_of_{POOL}"
        if len(ids) < POOL:
            scores.skipped[metric] = f"a pool of {POOL} needs as many items, the run has {len(ids)}"
            continue
        scores.values[metric] = pooled_top_1(matrix, ids, pool=POOL).per_item
        scores.chance[metric] = 1.0 / POOL
    return scores


def _brains_to_choose_from(ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """Candidates of each item: its own brain and those of other stimuli, never a repeat of its own."""
    _, which, counts = np.unique(ids, return_inverse=True, return_counts=True)
    return np.asarray(len(ids) - counts[which] + 1, dtype=np.int64)


def _add_ranks(scores: BrainScores, name: str, ranks: NDArray[np.int64], candidates: int | NDArray[np.int64]) -> None:
    for k in (1, 5):
        scores.values[f"{name}_top{k}"] = top_k(ranks, k)
        scores.chance[f"{name}_top{k}"] = float(np.minimum(k / np.asarray(candidates), 1.0).mean())
    scores.values[f"{name}_median_rank"] = ranks.astype(np.float64)
    scores.chance[f"{name}_median_rank"] = float(np.median((np.asarray(candidates) + 1) / 2.0))


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
