"""The leak linter: recompute every statistic from training trials alone, and name the trials that do not belong.

Records of what was fitted on what are checked first; then the numbers themselves, for a record can be wrong.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.artefact import read_preprocess
from fmri_lightning.betas.fit import FittedPreprocess, PreprocessConfig, fit_preprocess
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.split import split_hash
from fmri_lightning.index.table import index_manifest, read_index
from fmri_lightning.manifest import Manifest, require_input
from fmri_lightning.records import TrialTable

T0_TOLERANCE = {"float32": 1e-4, "float16": 3e-4}
"""Largest mean of a standardised session, in standard deviations; one foreign trial among 750 moves it by 1e-3."""


def check_leaks(store_folder: Path, preproc_folder: Path, index_root: Path, subject: str) -> list[str]:
    """Check that no statistic of T0, T1 and T2 saw a trial outside the train split.

    Args:
        store_folder: Beta store of the subject.
        preproc_folder: Preprocessing of the subject.
        index_root: Folder of the indices.
        subject: For instance "subj01".

    Returns:
        One line per check that passed, and per stamped exception (transductive sessions, published ncsnr).

    Raises:
        BadInputError: At the first leak, naming the statistic and trials by global_trial.
    """
    table = read_index(index_root, subject)
    manifest = index_manifest(index_root, subject)
    hint = f"fmri-lightning betas --subject {subject} --overwrite"
    split = check_split(table, manifest)
    store = BetaStore.open(store_folder, verify=True)
    require_input(store.manifest, "index", manifest.content_hash, hint)
    passed = [split, *check_t0(store, table)]
    fitted, preproc = read_preprocess(preproc_folder)
    require_input(preproc, "betas", store.manifest.content_hash, hint)
    fields = PreprocessConfig.__dataclass_fields__
    config = PreprocessConfig(**{name: preproc.config[name] for name in fields})
    return passed + check_preprocess(store, table, fitted, config)


def check_split(table: TrialTable, manifest: Manifest) -> str:
    """Check that no picture is in two splits, and that the split is the one that later stages carry.

    Args:
        table: The index.
        manifest: Its manifest.

    Returns:
        A line for the report.

    Raises:
        BadInputError: A picture is in two splits, its trials are named; or the split has another hash.
    """
    pictures, inverse = np.unique(table.nsd_id, return_inverse=True)
    memberships = np.unique(np.stack([inverse, np.unique(table.split, return_inverse=True)[1]]), axis=1)[0]
    torn = np.flatnonzero(np.bincount(memberships, minlength=len(pictures)) > 1)
    if len(torn):
        rows = np.flatnonzero(inverse == torn[0])
        trials = ", ".join(f"{int(table.global_trial[row])} ({table.split[row]})" for row in rows)
        raise BadInputError(
            f"split: {len(torn)} pictures are in two splits, first nsd_id {int(pictures[torn[0]])}, global_trial "
            f"{trials}; build the index again: fmri-lightning index --overwrite"
        )
    found, expected = split_hash(table.nsd_id, table.split), str(manifest.config["split_hash"])
    if found != expected:
        raise BadInputError(
            f"split: the index has split {found[:12]}, its manifest names {expected[:12]}; build the index again: "
            "fmri-lightning index --overwrite"
        )
    return "split: no picture is in two splits"


def check_t0(store: BetaStore, table: TrialTable) -> list[str]:
    """Check that each session was standardised by its training trials.

    Over the trials a mean was taken from, standardised values add up to 0; over the training trials they do so
    only if these are the same. Which other trials took part is solved from the sum that is left.

    Args:
        store: The store.
        table: The index it was made from.

    Returns:
        One line per check passed or stamped exception.

    Raises:
        BadInputError: If a session saw another trial.
    """
    told = str(store.manifest.config.get("t0", ""))
    if told.startswith("skipped"):
        return [f"T0: {told}; what was done to them before cannot be checked here"]
    lines = []
    is_train = table.split == "train"
    transductive = {int(s) for s in store.manifest.config["transductive_sessions"]}
    for session in np.unique(table.session).tolist():
        rows = np.flatnonzero(table.session == session)
        train = rows[is_train[rows]]
        if session in transductive:
            if len(train):
                raise BadInputError(f"T0: session {session} is stamped transductive and has {len(train)} train trials")
            lines.append(f"T0: session {session} has no train trials and is stamped transductive")
            continue
        recorded = rows[store.t0["fitted_on"][rows] & ~is_train[rows]]
        if len(recorded):
            raise BadInputError(f"T0: session {session} was fitted on {_names(table, recorded)}")
        _require_zero_sum(store, table, session, train, rows[~is_train[rows]])
    lines.append("T0: every session's mean and deviation are those of its train trials")
    return lines


def _require_zero_sum(
    store: BetaStore, table: TrialTable, session: int, train: NDArray[np.int64], others: NDArray[np.int64]
) -> None:
    alive = ~store.dropped
    z = store.betas[train].astype(np.float64)[:, alive]
    tolerance = T0_TOLERANCE[str(store.betas.dtype)]
    residual = z.sum(axis=0)
    if np.abs(residual).max() / len(train) > tolerance:
        foreign = store.betas[others].astype(np.float64)[:, alive]
        share = np.linalg.lstsq(foreign.T, -residual, rcond=None)[0] if len(others) else np.zeros(0)
        raise BadInputError(
            f"T0: the mean of session {session} is not that of its train trials; it saw "
            f"{_names(table, others[share > 0.5])}"
        )
    if np.abs(np.sqrt(np.square(z).mean(axis=0)) - 1).max() > 10 * tolerance:
        raise BadInputError(f"T0: the standard deviation of session {session} is not that of its train trials")


def check_preprocess(
    store: BetaStore, table: TrialTable, fitted: FittedPreprocess, config: PreprocessConfig
) -> list[str]:
    """Check that T1 and T2 come from training trials, by their records and by fitting them again.

    Args:
        store: The store.
        table: The index.
        fitted: The preprocessing in question.
        config: Its settings.

    Returns:
        One line per check passed or stamped exception.

    Raises:
        BadInputError: If a statistic saw another trial or differs from the one fitted again.
    """
    train_trials = table.global_trial[table.split == "train"]
    for name, trials in fitted.fitted_on.items():
        foreign = np.flatnonzero(np.isin(table.global_trial, np.setdiff1d(trials, train_trials)))
        if len(foreign):
            raise BadInputError(f"{config.tier}: {name} was fitted on {_names(table, foreign)}")
    again = fit_preprocess(store, table, config).arrays
    if not np.array_equal(again["columns"], fitted.arrays["columns"]):
        differ = len(np.setxor1d(again["columns"], fitted.arrays["columns"]))
        raise BadInputError(f"T1: {differ} voxels of the mask differ from the mask of the train trials; it saw others")
    for name in ("mean", "scale", "pca_mean", "components"):
        if name not in again:
            continue
        difference = float(np.abs(again[name] - fitted.arrays[name]).max())
        if difference > 1e-5:
            culprits = _culprits(store, table, fitted) if name == "mean" else "other trials"
            raise BadInputError(
                f"{config.tier}: {name} differs by {difference:.2g} from that of the train trials; it saw {culprits}"
            )
    lines = [f"{config.tier}: every statistic is that of the train trials"]
    if config.tier != "T0" and config.mask == "ncsnr_published":
        lines.append("T1: the published ncsnr saw test trials, and is stamped so")
    return lines


def _culprits(store: BetaStore, table: TrialTable, fitted: FittedPreprocess) -> str:
    """Solve which other trials explain the shift of the T1 mean."""
    columns = fitted.arrays["columns"]
    train, others = np.flatnonzero(table.split == "train"), np.flatnonzero(table.split != "train")
    mean = store.betas[train].astype(np.float64)[:, columns].mean(axis=0)
    foreign = store.betas[others].astype(np.float64)[:, columns] - mean
    share = np.linalg.lstsq(foreign.T, fitted.arrays["mean"] - mean, rcond=None)[0]
    return _names(table, others[share > 0.5 / (len(train) + len(others))])


def _names(table: TrialTable, rows: NDArray[np.int64]) -> str:
    listed = ", ".join(f"{int(table.global_trial[row])} ({table.split[row]})" for row in rows[:5])
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"{len(rows)} trials outside train: {listed}{more}" if len(rows) else "trials that cannot be told apart"
