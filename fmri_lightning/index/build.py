"""Assemble a subject's trial table from NSD's files, and check that the files agree on every pairing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.nsd import (
    EXPDESIGN,
    STIM_INFO,
    Design,
    Responses,
    StimulusInfo,
    beta_folder,
    find_subject,
    read_design,
    read_responses,
    read_stimulus_info,
    responses_file,
    to_nsd_id,
)
from fmri_lightning.index.split import assign_split
from fmri_lightning.manifest import file_fingerprint
from fmri_lightning.records import TrialTable

FIRST37 = 37
"""Sessions published before August 2023; the 982 test pictures of the older papers come from them."""


def build_trial_table(root: Path, subject: str, sessions: str = "all") -> tuple[TrialTable, dict[str, str]]:
    """Read one subject of an NSD tree into a trial table.

    Args:
        root: Folder that contains ``nsddata/``.
        subject: For instance "subj01".
        sessions: "all", "first37", or the number of first sessions to keep.

    Returns:
        The table in chronological order, and a hash per file it was read from.

    Raises:
        UsageError: If ``sessions`` is none of these.
        BadInputError: If a file is missing, files contradict each other, or a split is empty.
    """
    number = find_subject(root, subject)
    responses, design = read_responses(root, subject), read_design(root)
    info = read_stimulus_info(root, number)
    session_trials = _trials_per_session(responses, subject)
    row_in_session = np.arange(len(responses.session)) % session_trials
    global_trial = (responses.session - 1) * session_trials + row_in_session
    nsd_id = _pairing(responses, design, number, global_trial, len(info.coco_id))
    repeat = _repeats(nsd_id, global_trial, info, number)
    _check_shared(design, info)

    keep = responses.session <= _last_session(sessions, int(responses.session.max()), subject)
    nsd_id, repeat, global_trial = nsd_id[keep], repeat[keep], global_trial[keep]
    shared = info.shared1000[nsd_id]
    split = assign_split(nsd_id, shared)
    average, single = _trial_ids(design, nsd_id, global_trial, split == "test")
    _, inverse, counts = np.unique(nsd_id, return_inverse=True, return_counts=True)
    session = responses.session[keep]
    table = TrialTable(
        subject=np.full(len(nsd_id), subject),
        session=session.astype(np.int16),
        run=responses.run[keep].astype(np.int16),
        trial_in_run=responses.trial[keep].astype(np.int16),
        trial_in_session=row_in_session[keep].astype(np.int16),
        global_trial=global_trial.astype(np.int32),
        nsd_id=nsd_id.astype(np.int32),
        coco_id=info.coco_id[nsd_id].astype(np.int32),
        coco_split=info.coco_split[nsd_id],
        shared1000=shared,
        repeat=repeat.astype(np.int8),
        n_repeats=counts[inverse].astype(np.int8),
        beta_path=_beta_paths(root, subject, session),
        beta_index=row_in_session[keep].astype(np.int32),
        split=split,
        trial_id_average=average,
        trial_id_single=single,
    )
    files = (responses_file(subject), EXPDESIGN, STIM_INFO)
    return table, {name: str(file_fingerprint(root / name)["head_tail_sha256"]) for name in files}


def _trials_per_session(responses: Responses, subject: str) -> int:
    sessions, counts = np.unique(responses.session, return_counts=True)
    if np.any(sessions != np.arange(1, len(sessions) + 1)):
        raise BadInputError(f"responses.tsv of {subject} skips a session: it holds {sessions.tolist()}")
    if len(set(counts.tolist())) > 1:
        few = int(sessions[np.argmin(counts)])
        raise BadInputError(
            f"responses.tsv of {subject}: session {few} has {counts.min()} trials, others {counts.max()}; cut off?"
        )
    return int(counts[0])


def _pairing(
    responses: Responses, design: Design, number: int, global_trial: NDArray[np.int64], n_pictures: int
) -> NDArray[np.int64]:
    """Return the picture of each trial, on which the responses and the design must agree."""
    if global_trial[-1] >= len(design.masterordering):
        raise BadInputError(f"responses.tsv holds {len(global_trial)} trials, {EXPDESIGN} plans fewer")
    nsd_id = to_nsd_id(responses.id_73k)
    ordering = design.masterordering[global_trial]
    planned = to_nsd_id(design.subjectim[number - 1, ordering - 1])
    wrong = np.flatnonzero((nsd_id != planned) | (responses.id_10k != ordering))
    if len(wrong):
        t = int(wrong[0])
        raise BadInputError(
            f"{len(wrong)} trials show another picture in responses.tsv than in {EXPDESIGN}, first trial "
            f"{int(global_trial[t])}: 73KID-1 = {int(nsd_id[t])}, planned {int(planned[t])}; download both again"
        )
    if nsd_id.max() >= n_pictures:
        raise BadInputError(f"73KID {int(nsd_id.max()) + 1} is not among the {n_pictures} pictures of {STIM_INFO}")
    return nsd_id


def _repeats(
    nsd_id: NDArray[np.int64], global_trial: NDArray[np.int64], info: StimulusInfo, number: int
) -> NDArray[np.int64]:
    """Count the presentations of each picture, and check them against the catalogue's rep columns."""
    order = np.lexsort((global_trial, nsd_id))
    ids = nsd_id[order]
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    rank = np.arange(len(ids)) - np.repeat(starts, np.diff(np.r_[starts, len(ids)]))
    repeat = np.empty_like(nsd_id)
    repeat[order] = rank
    run = info.repeats[(info.repeats >= 1) & (info.repeats <= len(global_trial))]
    # Sorted with 0 (not shown) last: a picture's k-th presentation is then its k-th planned trial.
    planned = np.sort(np.where(info.repeats > 0, info.repeats, np.iinfo(np.int64).max), axis=1)
    width = planned.shape[1]
    listed = planned[nsd_id, np.minimum(repeat, width - 1)]
    wrong = np.flatnonzero((repeat >= width) | (listed != global_trial + 1))
    if len(wrong) or len(run) != len(global_trial):
        first = int(global_trial[wrong[0]]) if len(wrong) else -1
        raise BadInputError(
            f"the rep columns of subject{number} in {STIM_INFO} list {len(run)} run trials, responses.tsv "
            f"{len(global_trial)}; {len(wrong)} disagree, first trial {first}; download both again"
        )
    return repeat


def _check_shared(design: Design, info: StimulusInfo) -> None:
    flagged = np.flatnonzero(info.shared1000)
    planned = to_nsd_id(design.sharedix)
    if not np.array_equal(flagged, np.sort(planned)):
        raise BadInputError(
            f"{STIM_INFO} flags {len(flagged)} shared pictures, sharedix of {EXPDESIGN} lists {len(planned)}; "
            "they are not of one download"
        )


def _last_session(sessions: str, present: int, subject: str) -> int:
    if sessions == "all":
        return present
    if sessions == "first37":
        return min(FIRST37, present)
    if not sessions.isdigit() or int(sessions) < 1:
        raise UsageError(f"--sessions is all, first37 or a number of first sessions, not {sessions!r}")
    if int(sessions) > present:
        raise BadInputError(f"{subject} has {present} sessions in responses.tsv, --sessions asks for {sessions}")
    return int(sessions)


def _trial_ids(
    design: Design, nsd_id: NDArray[np.int64], global_trial: NDArray[np.int64], is_test: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Rank test trials over the whole planned design, so that fewer sessions never renumber anything."""
    shared_ids = np.sort(to_nsd_id(design.sharedix))
    planned_trials = np.flatnonzero(design.masterordering <= len(design.sharedix))
    planned_ids = to_nsd_id(design.sharedix)[design.masterordering[planned_trials] - 1]
    by_id_then_time = planned_trials[np.lexsort((planned_trials, planned_ids))]
    rank_of_trial = np.full(len(design.masterordering), -1, dtype=np.int32)
    rank_of_trial[by_id_then_time] = np.arange(len(by_id_then_time), dtype=np.int32)
    average = np.where(is_test, np.searchsorted(shared_ids, nsd_id), -1).astype(np.int32)
    single = np.where(is_test, rank_of_trial[global_trial], -1).astype(np.int32)
    return average, single


def _beta_paths(root: Path, subject: str, session: NDArray[np.int64]) -> NDArray[np.str_]:
    """Name the session files of the default betas; HDF5 unless only NIfTI is there."""
    folder = beta_folder(subject, "func1pt8mm", "b3")
    names = {}
    for number in np.unique(session).tolist():
        stem = f"{folder}/betas_session{number:02d}"
        nifti_only = not (root / f"{stem}.hdf5").is_file() and (root / f"{stem}.nii.gz").is_file()
        names[number] = f"{stem}.nii.gz" if nifti_only else f"{stem}.hdf5"
    return np.array([names[number] for number in session.tolist()])
