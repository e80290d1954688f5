"""One subject of an NSD tree as a trial table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.index.nsd import EXPDESIGN, STIM_INFO, beta_folder, responses_file, to_nsd_id
from fmri_lightning.index.nsd_checks import NSD_TABLE_CHECKS, NSDTables, read_nsd_tables
from fmri_lightning.index.split import assign_split
from fmri_lightning.index.subject_index import SubjectIndex, assemble_table, sessions_to_keep
from fmri_lightning.manifest import file_fingerprint
from fmri_lightning.records import TrialTable


def index_nsd(root: Path, subject: str, sessions: str = "all") -> SubjectIndex:
    """Read one subject of an NSD tree.

    Args:
        root: Folder that contains ``nsddata/``.
        subject: For instance "subj01".
        sessions: "all", "first37", or the number of first sessions to keep.

    Returns:
        The trials in chronological order and what they were read from.

    Raises:
        UsageError: If ``sessions`` is none of these.
        BadInputError: If a file is missing, files contradict each other, or a split is empty.
    """
    tables = read_nsd_tables(root, subject)
    for check in NSD_TABLE_CHECKS.values():
        check(tables)
    files = (responses_file(subject), EXPDESIGN, STIM_INFO)
    return SubjectIndex(
        table=_trial_table(root, tables, sessions),
        inputs={name: str(file_fingerprint(root / name)["head_tail_sha256"]) for name in files},
        n_catalogue=len(tables.info.coco_id),
    )


def _trial_table(root: Path, tables: NSDTables, sessions: str) -> TrialTable:
    responses, info = tables.responses, tables.info
    keep = sessions_to_keep(sessions, responses.session, tables.subject)
    nsd_id, session = tables.nsd_id[keep], responses.session[keep]
    shared = info.shared1000[nsd_id]
    return assemble_table(
        tables.subject,
        session=session,
        run=responses.run[keep],
        trial_in_run=responses.trial[keep],
        global_trial=tables.global_trial[keep],
        nsd_id=nsd_id,
        split=assign_split(nsd_id, shared),
        shared1000=shared,
        test_ids=np.sort(to_nsd_id(tables.design.sharedix)),
        planned_repeats=int(np.bincount(tables.design.masterordering).max()),
        beta_path=_beta_paths(root, tables.subject, session),
        beta_index=tables.trial_in_session[keep],
        coco_id=info.coco_id[nsd_id],
        coco_split=info.coco_split[nsd_id],
    )


def _beta_paths(root: Path, subject: str, session: NDArray[np.int64]) -> NDArray[np.str_]:
    """Name the session files of the default betas; HDF5 unless only NIfTI is there."""
    folder = beta_folder(subject, "func1pt8mm", "b3")
    names = {}
    for number in np.unique(session).tolist():
        stem = f"{folder}/betas_session{number:02d}"
        nifti_only = not (root / f"{stem}.hdf5").is_file() and (root / f"{stem}.nii.gz").is_file()
        names[number] = f"{stem}.nii.gz" if nifti_only else f"{stem}.hdf5"
    return np.array([names[number] for number in session.tolist()])
