"""Features of items as predict makes them, for the test set and for val pictures alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.preprocess import Preprocess
from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.encoder.padded import padded_forward
from fmri_lightning.encoder.uncertainty.signals import ItemFeatures, TrialMode
from fmri_lightning.records import TrialTable
from fmri_lightning.seeding import sample_seed


def item_features(
    betas: Any,
    preprocess: Preprocess,
    rows: Sequence[NDArray[np.integer]],
    nsd_ids: NDArray[np.integer],
    global_trials: NDArray[np.integer],
) -> ItemFeatures:
    """Preprocess the trials of items, and their means.

    Args:
        betas: Beta store, (trials, n_voxels), indexed by rows.
        preprocess: Fitted.
        rows: Rows of the store that belong to each item, n of them.
        nsd_ids: Picture of each item, (n,).
        global_trials: Trial of each item, (n,), -1 where several are averaged.

    Returns:
        Features.

    Raises:
        BadInputError: A preprocessed beta is NaN or infinite.
    """
    counts = np.array([len(group) for group in rows], dtype=np.int64)
    trials = np.asarray(betas[np.concatenate(rows)], dtype=np.float32)
    _, means = average_repeats(trials, np.repeat(np.arange(len(rows)), counts))
    # By picture and trial, so that an item's masks are its own in any set of items.
    pairs = zip(nsd_ids.tolist(), global_trials.tolist(), strict=True)
    seeds = np.array([sample_seed(nsd_id, trial + 1, 1) for nsd_id, trial in pairs], dtype=np.int64)
    return ItemFeatures(padded_forward(preprocess, means), padded_forward(preprocess, trials), counts, seeds)


def rows_of_pictures(
    table: TrialTable, nsd_ids: NDArray[np.integer], trial_mode: TrialMode
) -> tuple[list[NDArray[np.int64]], NDArray[np.int32], NDArray[np.int32]]:
    """List the items that pictures make.

    Args:
        table: Index.
        nsd_ids: Pictures, (n,).
        trial_mode: "single" makes an item of every trial.

    Returns:
        Rows of each item, its picture and its trial (-1 where several are averaged).
    """
    rows = [np.flatnonzero(table.nsd_id == nsd_id) for nsd_id in nsd_ids]
    if trial_mode == "single":
        rows = [np.array([row]) for row in np.concatenate(rows)]
    first = np.array([group[0] for group in rows])
    shown = table.nsd_id[first].astype(np.int32)
    single = trial_mode == "single"
    return rows, shown, table.global_trial[first].astype(np.int32) if single else np.full(len(rows), -1, np.int32)
