"""True embeddings that predictions are compared with, and the predictions of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.runs import Run
from fmri_lightning.generation.plan import items_of_table, rows_of_test_set, split_of
from fmri_lightning.generation.predictions import FILE_NAME, Predictions, read_predictions
from fmri_lightning.index.prediction_only import is_prediction_only
from fmri_lightning.index.table import index_manifest, read_index, sessions_covered


@dataclass(frozen=True, eq=False)
class Gallery:
    """True embeddings of the full test set, and the mean of the training stimuli.

    Attributes:
        cache: The CLIP cache of the run.
        ids: Stimuli of the test set, ascending (m,).
        mean: Mean true embedding of the training stimuli (d,), None without an index; of a prediction-only run, whose
            index has none, the one that its encoder carries.
    """

    cache: EmbeddingCache
    ids: NDArray[np.int32]
    mean: NDArray[np.float64] | None


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
    return table.take(rows)


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
    keep = rows_of_test_set(run.summary["test_set"], table, Path(index_root), sessions_covered(manifest))
    test = np.unique(items_of_table(table, "average", keep, split_of(run.summary["test_set"])).nsd_id)
    train = np.unique(table.of_split("train").nsd_id)
    if is_prediction_only(manifest):
        return Gallery(cache, test, _mean_of_encoder(run))
    mean = cache.rows(train).mean(axis=0, dtype=np.float64) if len(train) else None
    return Gallery(cache, test, mean)


def _mean_of_encoder(run: Run) -> NDArray[np.float64] | None:
    """Mean embedding of the stimuli that the encoder was trained on, as its space carries it."""
    _, about = read_predictions(run.folder / FILE_NAME)
    space = (about.get("spaces") or {}).get("source") or {}
    return None if space.get("mean") is None else np.asarray(space["mean"], dtype=np.float64)
