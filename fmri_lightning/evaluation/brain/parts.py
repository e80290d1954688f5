"""The brain behind a run: its betas, and its encoder on every single test trial."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.store import BetaStore
from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.runs import Run
from fmri_lightning.generation.frontend import padded_forward
from fmri_lightning.generation.plan import split_of
from fmri_lightning.index.table import index_manifest, read_index
from fmri_lightning.records import TrialTable

if TYPE_CHECKING:
    from fmri_lightning.betas.preprocess import Preprocess
    from fmri_lightning.encoder.load import LoadedEncoder


@dataclass(frozen=True, eq=False)
class BrainOfRun:
    """Index and betas of a run's subject.

    Attributes:
        table: The subject's index.
        store: Its beta store, rows in index order.
    """

    table: TrialTable
    store: BetaStore


def open_brain(run: Run, betas: Path | None = None) -> BrainOfRun:
    """Open the index and the betas that a run was made from.

    Args:
        run: The run; its provenance names both.
        betas: Another place of the same betas, of the subject or of all subjects.

    Returns:
        Both.

    Raises:
        BadInputError: The run read no brain, a part is missing, or it is not the one that the run was made from.
    """
    provenance = run.summary.get("provenance", {})
    recorded = provenance.get("inputs", {})
    if "betas" not in recorded:
        raise BadInputError(f"{run.folder} was not predicted from betas")
    subject = str(run.summary["subject"])
    index_root = provenance.get("index_root")
    if index_root is None:
        raise BadInputError(f"{run.folder} names no index")
    folder = _place(betas, provenance.get("betas"), "betas", subject)
    if index_manifest(index_root, subject).content_hash != recorded.get("index"):
        raise BadInputError(f"{index_root} is not the index that {run.folder} was made with; run predict again")
    store = BetaStore.open(folder)
    if store.manifest.content_hash != recorded["betas"]:
        raise BadInputError(f"{folder} are not the betas that {run.folder} was made from; name those with --betas DIR")
    return BrainOfRun(read_index(index_root, subject), store)


def open_encoder(run: Run, preproc: Path | None = None) -> tuple[Preprocess, LoadedEncoder]:
    """Open the preprocessing and the encoder that a run was predicted with.

    Args:
        run: The run; its provenance names both.
        preproc: Another place of the same preprocessing, of the subject or of all subjects.

    Returns:
        Both, on the CPU.

    Raises:
        BadInputError: One is missing, or not that of the run.
    """
    from fmri_lightning.betas.preprocess import Preprocess
    from fmri_lightning.encoder.load import load_encoder
    from fmri_lightning.manifest import read_manifest

    provenance = run.summary["provenance"]
    recorded = provenance["inputs"]
    folder = _place(preproc, provenance.get("preproc"), "preproc", str(run.summary["subject"]))
    if read_manifest(folder, "preproc").content_hash != recorded.get("preproc"):
        raise BadInputError(f"{folder} is not the preprocessing of {run.folder}; name it with --preproc DIR")
    checkpoint = run.summary.get("checkpoint")
    if checkpoint is None:
        raise BadInputError(f"{run.folder} names no encoder")
    encoder = load_encoder(checkpoint)
    if encoder.content_hash != recorded.get("encoder"):
        raise BadInputError(f"{checkpoint} is not the encoder that {run.folder} was made with; run predict again")
    return Preprocess.load(folder), encoder


def predict_every_trial(
    run: Run, brain: BrainOfRun, preproc: Path | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Predict the source embedding of every single test trial of a run's stimuli.

    Args:
        run: The run.
        brain: Its index and betas.
        preproc: Another place of its preprocessing.

    Returns:
        Raw source embeddings (n_trials, d) and the stimulus of each (n_trials,).

    Raises:
        BadInputError: Preprocessing or encoder are missing, or not those of the run.
    """
    transform, encoder = open_encoder(run, preproc)
    table = brain.table
    rows = np.flatnonzero((table.split == split_of(run.summary["test_set"])) & np.isin(table.nsd_id, run.ids))
    betas = np.asarray(brain.store.betas[rows], dtype=np.float32)
    return padded_forward(encoder, padded_forward(transform, betas)), table.nsd_id[rows]


def _place(named: Path | None, recorded: str | None, what: str, subject: str) -> Path:
    place = named if named is not None else None if recorded is None else Path(recorded)
    if place is None:
        raise BadInputError(f"the run does not say where its {what} lie; name them with --{what} DIR")
    of_subject = place / subject
    return of_subject if not (place / "manifest.json").is_file() and of_subject.is_dir() else place
