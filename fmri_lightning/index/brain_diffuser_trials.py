"""One subject of brain-diffuser's arrays as a trial table: a row for each picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fmri_lightning.index.brain_diffuser import PARTS, BrainDiffuserTables, array_file, read_brain_diffuser_tables
from fmri_lightning.index.brain_diffuser_checks import check_captions, check_published, check_test_order
from fmri_lightning.index.nsd import EXPDESIGN
from fmri_lightning.index.published import catalogue_size
from fmri_lightning.index.split import assign_split
from fmri_lightning.index.subject_index import FIRST37, SubjectIndex, assemble_table, refuse_some_sessions
from fmri_lightning.manifest import content_hash, file_fingerprint
from fmri_lightning.records import TrialTable

ARRIVED_AS = "averaged over the repeats of each picture, not standardised by session"
TEST_SET = f"as published: the shared pictures of the first {FIRST37} sessions (982 in NSD's subjects 1, 2, 5 and 7)"


def index_brain_diffuser(root: Path, subject: str, sessions: str = "all") -> SubjectIndex:
    """Read one subject of brain-diffuser's arrays.

    A row is a picture; its betas were averaged over its repeats before, so that every picture counts as shown once
    here. Which picture it is follows from NSD's design. All rows are session 1, run 1, train before test.

    Args:
        root: Folder that holds ``processed_data`` and ``nsddata``.
        subject: For instance "subj01".
        sessions: "all" or "first37", which mean the same here.

    Returns:
        A row for each picture, test as published, val a hashed tenth of train, and what they were read from.

    Raises:
        UsageError: If some sessions are asked for.
        BadInputError: If a file is missing or damaged, or files contradict each other.
    """
    refuse_some_sessions(sessions, "brain_diffuser")
    tables = read_brain_diffuser_tables(root, subject)
    checked = check_captions(tables)
    check_test_order(tables)
    table = _trial_table(tables)
    listed = None if tables.curated is None else len(tables.curated)
    n_voxels = tables.betas["train"].shape[1]
    n_catalogue = catalogue_size(subject, n_voxels, listed, int(tables.planned.shown.max()))
    check_published(tables, n_catalogue)
    return SubjectIndex(
        table=table,
        inputs={
            EXPDESIGN: str(file_fingerprint(root / EXPDESIGN)["head_tail_sha256"]),
            "rows": content_hash(tables.ids["train"], tables.ids["test"]),
        },
        n_catalogue=n_catalogue,
        facts={
            "normalised": True,
            "averaged": True,
            "arrived_as": ARRIVED_AS,
            "test_set": TEST_SET,
            "sessions_covered": tables.sessions,
            "ids_checked_by_captions": checked is not None,
        },
    )


def _trial_table(tables: BrainDiffuserTables) -> TrialTable:
    nsd_id = np.concatenate([tables.ids[part] for part in PARTS])
    is_test = np.repeat([False, True], [len(tables.ids[part]) for part in PARTS])
    paths = [array_file(tables.subject, part, "fmriavg_nsdgeneral") for part in PARTS]
    ones, numbers = np.ones(len(nsd_id), dtype=np.int64), np.arange(len(nsd_id))
    return assemble_table(
        tables.subject,
        session=ones,
        run=ones,
        trial_in_run=numbers + 1,
        global_trial=numbers,
        nsd_id=nsd_id,
        split=assign_split(nsd_id, is_test),
        shared1000=is_test,
        test_ids=tables.planned.shared,
        planned_repeats=1,
        beta_path=np.array(paths)[is_test.astype(int)],
        # Of both files, train before test.
        beta_index=numbers,
    )
