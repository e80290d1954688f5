"""Checks that MindEye2's tables agree on every pairing of trial and picture; each has a name of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.mindeye import (
    GLOBAL_TRIAL,
    INDICES,
    ISOLD,
    NSD_ID,
    RUN,
    SESSION,
    SHARED,
    SHARED_COLUMN,
    SUBJECT,
    TEST_IMAGES,
    TRIAL,
    MindEyeTables,
    tar_folder,
)
from fmri_lightning.index.published import NSD_TRIALS_PER_SESSION, published_subject
from fmri_lightning.index.repeats import count_repeats, usual_count

AGAIN = "download both again"


def check_counts(tables: MindEyeTables) -> None:
    """The tars hold each trial of the indices exactly once.

    Raises:
        BadInputError: A trial is missing, doubled or beyond the last.
    """
    trials, n_trials = tables.column(GLOBAL_TRIAL), len(tables.nsd_id)
    where = f"the tars of {tar_folder(tables.subject)}"
    if trials.min() < 0 or trials.max() >= n_trials:
        raise BadInputError(
            f"{where} name global trials {trials.min()} to {trials.max()}, {INDICES} lists {n_trials}; {AGAIN}"
        )
    times = np.bincount(trials, minlength=n_trials)
    wrong = np.flatnonzero(times != 1)
    if len(wrong):
        raise BadInputError(
            f"{where} hold {len(trials)} trials, {INDICES} lists {n_trials}: {len(wrong)} are not there exactly once, "
            f"first {int(wrong[0])} ({int(times[wrong[0]])} times); {AGAIN}"
        )


def check_trials(tables: MindEyeTables) -> None:
    """Every session has the same number of trials, in the tar that carries its number.

    Raises:
        BadInputError: A session is cut off, or a tar holds trials of another session or subject.
    """
    where = f"the tars of {tar_folder(tables.subject)}"
    session = tables.column(SESSION)
    sessions, counts = np.unique(session, return_counts=True)
    usual = usual_count(counts)
    odd = np.flatnonzero(counts != usual)
    if len(odd):
        raise BadInputError(
            f"{where}: session {int(sessions[odd[0]])} has {int(counts[odd[0]])} trials, others {usual}; cut off? "
            "Download it again"
        )
    strayed = np.flatnonzero((tables.tar_session > 0) & (tables.tar_session != session))
    if len(strayed):
        tar, found = int(tables.tar_session[strayed[0]]) - 1, int(session[strayed[0]])
        raise BadInputError(f"{where}: train/{tar}.tar holds trials of session {found}; download it again")
    if np.any(tables.column(SUBJECT) != int(tables.subject[4:])):
        raise BadInputError(f"{where} hold trials of subject {sorted(set(tables.column(SUBJECT).tolist()))}")
    published = published_subject(tables.subject, len(tables.shared1000))
    if published and (usual != NSD_TRIALS_PER_SESSION or len(sessions) not in published.session_counts):
        raise BadInputError(
            f"{where} have {len(sessions)} sessions of {usual} trials, NSD has {published.sessions} of "
            f"{NSD_TRIALS_PER_SESSION}; download them again"
        )


def check_rows(tables: MindEyeTables) -> None:
    """Column 5 counts the trials in the order of session, run and trial: it is the row of the betas.

    Raises:
        BadInputError: A trial has another number than its place in time.
    """
    time = np.lexsort([tables.column(number) for number in (TRIAL, RUN, SESSION)])
    trials = tables.column(GLOBAL_TRIAL)[time]
    wrong = np.flatnonzero(trials != np.arange(len(trials)))
    if len(wrong):
        place = int(wrong[0])
        raise BadInputError(
            f"the tars of {tar_folder(tables.subject)}: column 5 of {len(wrong)} trials is not their place in time, "
            f"first {place}, which says {int(trials[place])}; download them again"
        )


def check_ids(tables: MindEyeTables) -> None:
    """The indices at column 5 give column 0, the picture.

    Raises:
        BadInputError: The tars and the indices disagree on a trial.
    """
    trials, shown = tables.column(GLOBAL_TRIAL), tables.column(NSD_ID)
    listed = tables.nsd_id[np.clip(trials, 0, len(tables.nsd_id) - 1)]
    wrong = np.flatnonzero(listed != shown)
    if len(wrong):
        t = int(wrong[0])
        raise BadInputError(
            f"{len(wrong)} trials show another picture in the tars of {tar_folder(tables.subject)} than in {INDICES}, "
            f"first trial {int(trials[t])}: nsd_id {int(shown[t])}, listed {int(listed[t])}; {AGAIN}"
        )


def check_repeats(tables: MindEyeTables) -> None:
    """Column ISOLD says of every trial whether its picture had been shown before.

    Raises:
        BadInputError: The order of presentations by the indices is another one.
    """
    repeat, _ = count_repeats(tables.nsd_id, np.arange(len(tables.nsd_id)))
    trials = np.clip(tables.column(GLOBAL_TRIAL), 0, len(repeat) - 1)
    wrong = np.flatnonzero((tables.column(ISOLD) > 0) != (repeat[trials] > 0))
    if len(wrong):
        t = int(wrong[0])
        raise BadInputError(
            f"{len(wrong)} trials in the tars of {tar_folder(tables.subject)} call their picture old where {INDICES} "
            f"shows it for the first time, or the reverse, first trial {int(trials[t])}; {AGAIN}"
        )


def check_split(tables: MindEyeTables) -> None:
    """The test tar holds the shared pictures and nothing else, the train tars none of them.

    Raises:
        BadInputError: A picture is on the wrong side, or the lists of shared pictures differ.
    """
    where = f"the tars of {tar_folder(tables.subject)}"
    if tables.test_images is not None:
        listed = np.flatnonzero(tables.shared1000)
        if not np.array_equal(np.sort(tables.test_images), listed):
            raise BadInputError(
                f"{SHARED} marks {len(listed)} pictures, {TEST_IMAGES} lists {len(tables.test_images)} that are not "
                "the same; they are not of one download"
            )
    ids = np.clip(tables.column(NSD_ID), 0, len(tables.shared1000) - 1)
    shared, in_test = tables.shared1000[ids], tables.tar_session == 0
    wrong = np.flatnonzero((shared != in_test) | (shared != (tables.column(SHARED_COLUMN) == 1)))
    if len(wrong):
        t = int(wrong[0])
        side = "new_test" if in_test[t] else "train"
        raise BadInputError(
            f"{where}: {len(wrong)} trials are on the wrong side of the split by {SHARED}, first trial "
            f"{int(tables.column(GLOBAL_TRIAL)[t])} of picture {int(ids[t])} in {side}; {AGAIN}"
        )


MINDEYE_TABLE_CHECKS: dict[str, Callable[[MindEyeTables], None]] = {
    "trials per session": check_trials,
    "counts": check_counts,
    "rows": check_rows,
    "ids": check_ids,
    "repeats": check_repeats,
    "split": check_split,
}
"""What MindEye2's tables must pass before an index is written; ``doctor --files`` tells each by its name."""
