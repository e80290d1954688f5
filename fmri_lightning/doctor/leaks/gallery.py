"""What a run searched and scored: test pictures in the results, training pictures in the nearest-neighbour gallery."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.doctor.leaks.parts import NEXT, RunParts
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.nearest import first_by_hash, nearest
from fmri_lightning.generation.predictions import FILE_NAME, Predictions, read_predictions
from fmri_lightning.generation.summary import SUMMARY
from fmri_lightning.manifest import read_json
from fmri_lightning.metrics.cosine import cosine, mean_vector_cosine

TIE = 1e-6
"""Cosines of two neighbours closer than this may change places by rounding."""


def check_results(parts: RunParts) -> list[str]:
    """Check results and neighbours of a run against its index and cache.

    Args:
        parts: The run.

    Returns:
        Lines for the report.

    Raises:
        BadInputError: A result is no test stimulus, a neighbour no training stimulus or not the nearest one, or the
            baseline is not that of the training mean; stimuli and trials are named.
    """
    predictions, about = read_predictions(parts.folder / FILE_NAME)
    path = parts.folder / SUMMARY
    summary = read_json(path) if path.is_file() else None
    if parts.table is None:
        return ["results: the run has no index; splits, neighbours and baseline are not there to check"]
    _require_split(f"{FILE_NAME}, nsd_id", predictions.nsd_id, "test", parts)
    _require_split(f"{FILE_NAME}, nn_nsd_id", predictions.nn_nsd_id[predictions.nn_nsd_id >= 0], "train", parts)
    _require_baseline(FILE_NAME, about.get("mean_vector_cosine"), predictions, parts)
    if summary is not None:
        _check_summary(summary, predictions, parts)
    lines = [f"results: {len(predictions)} items, all of them test stimuli"]
    if summary is None:
        lines.append(f"results: no {SUMMARY} there to check; no pictures were drawn, or not yet all of them")
    cache, used = _searched(predictions, parts)
    if cache is None or used is None or not (predictions.nn_nsd_id >= 0).any():
        return [*lines, "gallery: the run searched none"]
    gallery = first_by_hash(parts.train_ids, parts.data.get("gallery_limit"))
    _require_nearest(predictions, used, cache, gallery, parts)
    return [*lines, f"gallery: {len(gallery)} training stimuli, every neighbour the nearest of them"]


def _check_summary(summary: dict[str, Any], predictions: Predictions, parts: RunParts) -> None:
    results = summary["results"]
    _require_split(f"{SUMMARY}, nsdId", _ids(results, "nsdId"), "test", parts)
    _require_split(f"{SUMMARY}, nn_nsdId", _ids(results, "nn_nsdId"), "train", parts)
    row_of = {int(trial): row for row, trial in enumerate(predictions.trial_id)}
    for result in results:
        row = row_of.get(int(result["trial_id"]))
        neighbour = -1 if result["nn_nsdId"] is None else int(result["nn_nsdId"])
        found = (int(result["nsdId"]), neighbour)
        expected = None if row is None else (int(predictions.nsd_id[row]), int(predictions.nn_nsd_id[row]))
        if found != expected:
            raise BadInputError(
                f"{parts.folder / SUMMARY}: nsdId and nn_nsdId of trial_id {result['trial_id']} are {found}, "
                f"{FILE_NAME} has {expected}; {NEXT}"
            )
    size, expected_size = summary["gallery"]["size"], _gallery_size(predictions, parts)
    if size != expected_size:
        raise BadInputError(
            f"{parts.folder / SUMMARY}: the gallery held {size} stimuli, expected {expected_size} training stimuli; "
            f"{NEXT}"
        )
    _require_baseline(SUMMARY, summary.get("mean_vector_cosine"), predictions, parts)


def _ids(results: list[dict[str, Any]], key: str) -> NDArray[np.int32]:
    return np.array([result[key] for result in results if result[key] is not None], dtype=np.int32)


def _require_split(what: str, ids: NDArray[np.int32], split: str, parts: RunParts) -> None:
    wrong = np.setdiff1d(ids, parts.stimuli(split))
    if len(wrong):
        kind = {"train": "training", "test": "test"}[split]
        raise BadInputError(
            f"{parts.folder / what}: not {kind} stimuli of {parts.subject}, expected {kind} stimuli only: "
            f"{parts.name_stimuli(wrong)}; {NEXT}"
        )


def _searched(predictions: Predictions, parts: RunParts) -> tuple[EmbeddingCache | None, NDArray[np.float32] | None]:
    """The cache that predict searched and what it searched for: source embeddings, or target ones where it has none."""
    if predictions.source is not None:
        return parts.caches.get("clip_cache"), predictions.source
    return parts.caches.get("target_cache"), predictions.target


def _gallery_size(predictions: Predictions, parts: RunParts) -> int:
    if _searched(predictions, parts)[0] is None:
        return 0
    return len(first_by_hash(parts.train_ids, parts.data.get("gallery_limit")))


def _require_baseline(what: str, found: float | None, predictions: Predictions, parts: RunParts) -> None:
    cache, _ = _searched(predictions, parts)
    if cache is None or found is None:
        return
    mean = cache.rows(parts.train_ids).mean(axis=0, dtype=np.float64)
    expected = float(mean_vector_cosine(mean, cache.rows(predictions.nsd_id)).mean())
    if abs(found - expected) > TIE:
        raise BadInputError(
            f"{parts.folder / what}: mean_vector_cosine is {found:.6f}, that of the mean of the "
            f"{len(parts.train_ids)} training stimuli is {expected:.6f}; the mean saw other stimuli; {NEXT}"
        )


def _require_nearest(
    predictions: Predictions,
    used: NDArray[np.float32],
    cache: EmbeddingCache,
    gallery: NDArray[np.int32],
    parts: RunParts,
) -> None:
    best, values = nearest(used, cache.rows(gallery), gallery)
    recorded = cosine(used, cache.rows(predictions.nn_nsd_id))
    outside = ~np.isin(predictions.nn_nsd_id, gallery)
    wrong = np.flatnonzero(outside | (np.abs(recorded - values) > TIE))
    if len(wrong):
        row = int(wrong[0])
        raise BadInputError(
            f"{parts.folder / FILE_NAME}: the neighbours of {len(wrong)} items are not the nearest of the "
            f"{len(gallery)} stimuli of the gallery, first nsd_id {int(predictions.nsd_id[row])}: found "
            f"{int(predictions.nn_nsd_id[row])}, expected {int(best[row])}; {NEXT}"
        )
