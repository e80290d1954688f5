"""What the maps of a run are computed from: its brain, its encoder, the true embeddings, and its regions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.brain.parts import BrainOfRun, open_brain, open_encoder
from fmri_lightning.evaluation.gallery import open_gallery
from fmri_lightning.evaluation.runs import Run, load_run
from fmri_lightning.evaluation.voxels.rois import Rois, find_rois
from fmri_lightning.generation.plan import split_of

if TYPE_CHECKING:
    from fmri_lightning.betas.preprocess import Preprocess
    from fmri_lightning.embeddings.cache import EmbeddingCache
    from fmri_lightning.encoder.load import LoadedEncoder

MIN_TRAIN, MIN_TEST = 10, 4


@dataclass(frozen=True, eq=False)
class Material:
    """Everything of one run, checked to belong together.

    Attributes:
        run: The run.
        brain: Index and betas of its subject.
        transform: Its preprocessing.
        encoder: Its encoder.
        cache: True embeddings.
        train: Rows of the store that are training trials (n_trials,).
        test: Rows of the store that are trials of the run's stimuli (m_trials,).
        read: Voxels of the store that the encoder reads, ascending (v,): those of the preprocessing that carry signal.
        rois: Regions of the store.
    """

    run: Run
    brain: BrainOfRun
    transform: Preprocess
    encoder: LoadedEncoder
    cache: EmbeddingCache
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    read: NDArray[np.int64]
    rois: Rois

    @property
    def n_voxels(self) -> int:
        """Voxels of the store."""
        return int(self.brain.store.betas.shape[1])

    def trial_ids(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """Stimulus of each of some rows (n,)."""
        return np.asarray(self.brain.table.nsd_id[rows], dtype=np.int32)

    def means(self, rows: NDArray[np.int64], voxels: NDArray[np.int64]) -> StimulusMeans:
        """Average the repeats of every stimulus among some rows, in some voxels."""
        ids = self.trial_ids(rows)
        betas = np.asarray(self.brain.store.betas[rows], dtype=np.float32)[:, voxels]
        stimuli, means = average_repeats(betas, ids)
        return StimulusMeans(stimuli, means, np.unique(ids, return_counts=True)[1])


@dataclass(frozen=True, eq=False)
class StimulusMeans:
    """Responses to stimuli.

    Attributes:
        ids: nsd_id ascending (n,).
        responses: Mean T0 betas over the repeats, float32 (n, voxels).
        repeats: Trials behind each mean (n,).
    """

    ids: NDArray[np.int32]
    responses: NDArray[np.float32]
    repeats: NDArray[np.int64]


def open_material(
    folder: Path,
    clip_cache: Path | None = None,
    betas: Path | None = None,
    preproc: Path | None = None,
    rois: list[str] | None = None,
    min_voxels: int = 10,
) -> Material:
    """Open all inputs of a run; refuse those that it was not made from.

    Args:
        folder: Run folder of predict.
        clip_cache: Another place of its CLIP cache.
        betas: Another place of its betas.
        preproc: Another place of its preprocessing.
        rois: Volumes whose labels are the regions, or "all"; None for the named regions.
        min_voxels: Smaller regions are left out.

    Returns:
        The material.

    Raises:
        BadInputError: An input is missing or another one, or there are too few trials.
        UsageError: A volume is unknown.
    """
    run = load_run(folder)
    brain = open_brain(run, betas)
    transform, encoder = open_encoder(run, preproc)
    cache = open_gallery(run, clip_cache).cache
    table, store = brain.table, brain.store
    train = np.flatnonzero(table.split == "train")
    test = np.flatnonzero((table.split == split_of(run.summary["test_set"])) & np.isin(table.nsd_id, run.ids))
    for name, rows, least in (("training", train, MIN_TRAIN), ("test", test, MIN_TEST)):
        n = len(np.unique(table.nsd_id[rows]))
        if n < least:
            raise BadInputError(f"{folder} has {n} {name} stimuli; maps of voxels need at least {least}")
    columns = np.sort(transform.columns.numpy()).astype(np.int64)
    read = columns[~store.dropped[columns]]
    found = find_rois(store.roi_labels, read, store.betas.shape[1], rois, min_voxels)
    return Material(run, brain, transform, encoder, cache, train, test, read, found)
