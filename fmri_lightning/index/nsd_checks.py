"""Checks that NSD's three tables agree on every pairing of trial and picture; each has a name of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.nsd import (
    EXPDESIGN,
    STIM_INFO,
    Design,
    Responses,
    StimulusInfo,
    find_subject,
    read_design,
    read_responses,
    read_stimulus_info,
    responses_file,
    to_nsd_id,
)
from fmri_lightning.index.published import NSD_TRIALS_PER_SESSION, published_subject
from fmri_lightning.index.repeats import count_repeats, usual_count

AGAIN = "download both again"


@dataclass(frozen=True)
class NSDTables:
    """One subject's tables as read, with the place of each trial; not yet believed.

    Attributes:
        subject: For instance "subj01".
        number: 1 to 8.
        responses: Trials that were run.
        design: The experiment as planned.
        info: The picture catalogue.
        session_trials: Trials in a session, as most sessions have it.
        trial_in_session: 0-based, (n,) int64.
        global_trial: 0-based over the whole experiment, (n,) int64.
        nsd_id: 0-based picture of each trial by responses.tsv, (n,) int64.
    """

    subject: str
    number: int
    responses: Responses
    design: Design
    info: StimulusInfo
    session_trials: int
    trial_in_session: NDArray[np.int64]
    global_trial: NDArray[np.int64]
    nsd_id: NDArray[np.int64]


def read_nsd_tables(root: Path, subject: str) -> NSDTables:
    """Read the three tables of one subject.

    Args:
        root: Folder that contains ``nsddata/``.
        subject: For instance "subj01".

    Returns:
        The tables.

    Raises:
        BadInputError: If one is missing, damaged, or contradicts itself.
    """
    number = find_subject(root, subject)
    responses, design = read_responses(root, subject), read_design(root)
    _, first, counts = np.unique(responses.session, return_index=True, return_counts=True)
    session_trials = usual_count(counts)
    within = np.arange(len(responses.session)) - np.repeat(first, counts)
    return NSDTables(
        subject=subject,
        number=number,
        responses=responses,
        design=design,
        info=read_stimulus_info(root, number),
        session_trials=session_trials,
        trial_in_session=within,
        global_trial=(responses.session - 1) * session_trials + within,
        nsd_id=to_nsd_id(responses.id_73k),
    )


def check_trials(tables: NSDTables) -> None:
    """Every session from the first on has the same number of trials, and none is listed twice.

    Raises:
        BadInputError: A session is missing, cut off or listed twice.
    """
    responses, where = tables.responses, f"responses.tsv of {tables.subject}"
    places = np.stack([responses.session, responses.run, responses.trial], axis=1)
    twice = np.flatnonzero((places[1:] == places[:-1]).all(axis=1))
    if len(twice):
        s, r, t = places[twice[0]].tolist()
        raise BadInputError(f"{where} lists {len(twice)} trials twice, first session {s} run {r} trial {t}")
    sessions, counts = np.unique(responses.session, return_counts=True)
    if np.any(sessions != np.arange(1, len(sessions) + 1)):
        raise BadInputError(f"{where} skips a session: it holds {sessions.tolist()}; download it again")
    odd = np.flatnonzero(counts != tables.session_trials)
    if len(odd):
        raise BadInputError(
            f"{where}: session {int(sessions[odd[0]])} has {int(counts[odd[0]])} trials, others "
            f"{tables.session_trials}; cut off? Download it again"
        )
    published = published_subject(tables.subject, len(tables.info.coco_id))
    if published and (tables.session_trials != NSD_TRIALS_PER_SESSION or len(sessions) not in published.session_counts):
        raise BadInputError(
            f"{where} has {len(sessions)} sessions of {tables.session_trials} trials, NSD has {published.sessions} of "
            f"{NSD_TRIALS_PER_SESSION}; download it again"
        )


def check_ids(tables: NSDTables) -> None:
    """73KID - 1 is the planned picture of every trial, and 10KID its place in the subject's list.

    Raises:
        BadInputError: responses.tsv and nsd_expdesign.mat disagree on a trial.
    """
    design, trials = tables.design, tables.global_trial
    if trials.max() >= len(design.masterordering):
        raise BadInputError(
            f"responses.tsv of {tables.subject} holds {len(trials)} trials, {EXPDESIGN} plans "
            f"{len(design.masterordering)}; {AGAIN}"
        )
    ordering = design.masterordering[trials]
    planned = to_nsd_id(design.subjectim[tables.number - 1, ordering - 1])
    wrong = np.flatnonzero((tables.nsd_id != planned) | (tables.responses.id_10k != ordering))
    if len(wrong):
        t = int(wrong[0])
        raise BadInputError(
            f"{len(wrong)} trials show another picture in responses.tsv than in {EXPDESIGN}, first trial "
            f"{int(trials[t])}: 73KID-1 = {int(tables.nsd_id[t])}, planned {int(planned[t])}; {AGAIN}"
        )


def check_catalogue(tables: NSDTables) -> None:
    """Every picture shown is in the catalogue, which flags the same shared pictures as the design.

    Raises:
        BadInputError: An id is out of range, or the shared pictures differ.
    """
    info, n_pictures = tables.info, len(tables.info.coco_id)
    if tables.nsd_id.max() >= n_pictures:
        raise BadInputError(
            f"73KID {int(tables.nsd_id.max()) + 1} in {responses_file(tables.subject)} is not among the {n_pictures} "
            f"pictures of {STIM_INFO}; {AGAIN}"
        )
    flagged, planned = np.flatnonzero(info.shared1000), to_nsd_id(tables.design.sharedix)
    if not np.array_equal(flagged, np.sort(planned)):
        raise BadInputError(
            f"{STIM_INFO} flags {len(flagged)} shared pictures, sharedix of {EXPDESIGN} lists {len(planned)}; "
            "they are not of one download"
        )


def check_repeats(tables: NSDTables) -> None:
    """The rep columns of the catalogue, masked to the sessions that were run, give the same trial table.

    Raises:
        BadInputError: A presentation is listed at another trial.
    """
    trials, repeats = tables.global_trial, tables.info.repeats
    repeat, _ = count_repeats(tables.nsd_id, trials)
    # Sorted with 0 (not shown) last: a picture's k-th presentation is then its k-th planned trial.
    planned = np.sort(np.where(repeats > 0, repeats, np.iinfo(np.int64).max), axis=1)
    width = planned.shape[1]
    known = np.minimum(tables.nsd_id, len(planned) - 1)
    listed = planned[known, np.minimum(repeat, width - 1)]
    wrong = np.flatnonzero((repeat >= width) | (listed != trials + 1) | (known != tables.nsd_id))
    if len(wrong):
        t = int(wrong[0])
        raise BadInputError(
            f"{len(wrong)} presentations are at other trials in the rep columns of subject{tables.number} in "
            f"{STIM_INFO} than in responses.tsv, first trial {int(trials[t])} of picture {int(tables.nsd_id[t])}; "
            f"{AGAIN}"
        )


def check_counts(tables: NSDTables) -> None:
    """The rep columns list as many trials within the sessions that were run as responses.tsv has rows.

    Raises:
        BadInputError: The numbers differ.
    """
    repeats, n_trials = tables.info.repeats, len(tables.global_trial)
    listed = int(((repeats >= 1) & (repeats <= n_trials)).sum())
    if listed != n_trials:
        raise BadInputError(
            f"the rep columns of subject{tables.number} in {STIM_INFO} list {listed} trials that were run, "
            f"responses.tsv {n_trials}; {AGAIN}"
        )


NSD_TABLE_CHECKS: dict[str, Callable[[NSDTables], None]] = {
    "trials per session": check_trials,
    "ids": check_ids,
    "catalogue": check_catalogue,
    "repeats": check_repeats,
    "counts": check_counts,
}
"""What an NSD tree must pass before its index is written; ``doctor --files`` tells each by its name."""
