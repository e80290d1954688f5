"""One subject of MindEye1's samples as a trial table: a row for each independent repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fmri_lightning.index.mindeye1 import BETAS, ROWS, MindEye1Tables, read_mindeye1_tables
from fmri_lightning.index.mindeye1_checks import (
    check_design,
    check_pictures,
    check_published,
    check_rows,
    check_shared,
    check_totals,
)
from fmri_lightning.index.published import FIRST37_SUBJECTS, NSD_CATALOGUE, catalogue_size
from fmri_lightning.index.split import require_all_splits
from fmri_lightning.index.subject_index import FIRST37, SubjectIndex, assemble_table, refuse_some_sessions
from fmri_lightning.manifest import content_hash
from fmri_lightning.records import TrialTable

ARRIVED_AS = "z-score per voxel and session over all trials of the session, test trials included, in half precision"
TEST_SET = f"as published: the shared pictures of the first {FIRST37} sessions (982 in NSD's subjects 1, 2, 5 and 7)"


def index_mindeye1(root: Path, subject: str, sessions: str = "all") -> SubjectIndex:
    """Read one subject of MindEye1's samples; every row of betas is read once, for the checks.

    The files do not say which trial or session a row is of: all rows are session 1, run 1, numbered as they lie. A
    sample's first ``num_uniques`` rows are its repeats; those behind them are copies and are left out.

    Args:
        root: Folder that holds ``webdataset_avg_split``.
        subject: For instance "subj01".
        sessions: "all" or "first37", which mean the same here.

    Returns:
        A row for each independent repeat, split as published, and what they were read from.

    Raises:
        UsageError: If some sessions are asked for.
        BadInputError: If a file is missing or torn, or files contradict each other.
    """
    refuse_some_sessions(sessions, "mindeye1")
    tables = read_mindeye1_tables(root, subject)
    for check in (check_totals, check_pictures, check_shared):
        check(tables)
    fitting = check_design(tables)
    n_voxels = check_rows(tables)
    listed = None if tables.captions is None else len(tables.captions)
    n_catalogue = catalogue_size(subject, n_voxels, listed, int(tables.nsd_id.max()))
    check_published(tables, n_voxels, n_catalogue)
    table = _trial_table(tables)
    require_all_splits(table.nsd_id, table.split)
    covered = FIRST37 if n_catalogue == NSD_CATALOGUE and subject in FIRST37_SUBJECTS else fitting
    return SubjectIndex(
        table=table,
        inputs={"samples": content_hash(tables.split, tables.nsd_id, tables.num_uniques, tables.trial)},
        n_catalogue=n_catalogue,
        facts={
            "normalised": True,
            "arrived_as": ARRIVED_AS,
            "test_set": TEST_SET,
            "ids_checked_by_design": fitting is not None,
            # Without NSD's sizes or its design nothing says how many sessions these are.
            **({} if covered is None else {"sessions_covered": covered}),
        },
    )


def _trial_table(tables: MindEye1Tables) -> TrialTable:
    sample = np.repeat(np.arange(len(tables.samples)), tables.num_uniques)
    starts = np.cumsum(tables.num_uniques) - tables.num_uniques
    row = np.arange(len(sample)) - np.repeat(starts, tables.num_uniques)
    nsd_id, split = tables.nsd_id[sample], tables.split[sample]
    paths = np.array([s.members[BETAS].path.relative_to(tables.root).as_posix() for s in tables.samples])
    numbers = np.arange(len(sample))
    return assemble_table(
        tables.subject,
        session=np.ones(len(sample), dtype=np.int64),
        run=np.ones(len(sample), dtype=np.int64),
        trial_in_run=numbers + 1,
        global_trial=numbers,
        nsd_id=nsd_id,
        split=split,
        shared1000=split == "test",
        test_ids=np.unique(tables.nsd_id[tables.split == "test"]),
        planned_repeats=ROWS,
        beta_path=paths[sample],
        # Of all samples of the subject, three rows each, copies counted.
        beta_index=sample * ROWS + row,
    )
