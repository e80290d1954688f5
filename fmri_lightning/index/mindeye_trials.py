"""One subject of MindEye2's files as a trial table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fmri_lightning.index.mindeye import (
    GLOBAL_TRIAL,
    INDICES,
    PLANNED_REPEATS,
    RUN,
    SESSION,
    SHARED,
    TRIAL,
    MindEyeTables,
    betas_file,
    read_mindeye_tables,
)
from fmri_lightning.index.mindeye_checks import MINDEYE_TABLE_CHECKS
from fmri_lightning.index.split import assign_split
from fmri_lightning.index.subject_index import SubjectIndex, assemble_table, sessions_to_keep
from fmri_lightning.manifest import content_hash, file_fingerprint
from fmri_lightning.records import TrialTable


def index_mindeye(root: Path, subject: str, sessions: str = "all") -> SubjectIndex:
    """Read one subject of MindEye2's files.

    The files do not say which COCO picture an nsd_id is: coco_id is -1 and coco_split empty.

    Args:
        root: Folder of the dataset.
        subject: For instance "subj01".
        sessions: "all", "first37", or the number of first sessions to keep.

    Returns:
        The trials in chronological order and what they were read from.

    Raises:
        UsageError: If ``sessions`` is none of these.
        BadInputError: If a file is missing, files contradict each other, or a split is empty.
    """
    tables = read_mindeye_tables(root, subject)
    for check in MINDEYE_TABLE_CHECKS.values():
        check(tables)
    inputs = {name: str(file_fingerprint(root / name)["head_tail_sha256"]) for name in (INDICES, SHARED)}
    return SubjectIndex(
        table=_trial_table(tables, sessions),
        inputs={**inputs, "behav": content_hash(tables.behav)},
        n_catalogue=len(tables.shared1000),
    )


def _trial_table(tables: MindEyeTables, sessions: str) -> TrialTable:
    row_of_trial = np.argsort(tables.column(GLOBAL_TRIAL), kind="stable")
    session = tables.column(SESSION)[row_of_trial]
    keep = np.flatnonzero(sessions_to_keep(sessions, session, tables.subject))
    session, rows = session[keep], row_of_trial[keep]
    global_trial = tables.column(GLOBAL_TRIAL)[rows]
    nsd_id = tables.nsd_id[global_trial]
    shared = tables.shared1000[nsd_id]
    return assemble_table(
        tables.subject,
        session=session,
        run=tables.column(RUN)[rows],
        trial_in_run=tables.column(TRIAL)[rows],
        global_trial=global_trial,
        nsd_id=nsd_id,
        split=assign_split(nsd_id, shared),
        shared1000=shared,
        test_ids=np.flatnonzero(tables.shared1000),
        planned_repeats=PLANNED_REPEATS,
        beta_path=np.full(len(rows), betas_file(tables.subject)),
        beta_index=global_trial,
    )
