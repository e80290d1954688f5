"""What every source of trials gives: the trial table of one subject, assembled one way, and what it was read from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.repeats import count_repeats, number_test_items
from fmri_lightning.records import TrialTable

FIRST37 = 37
"""Sessions published before August 2023; the 982 test pictures of the older papers come from them."""


@dataclass(frozen=True)
class SubjectIndex:
    """The trials of one subject.

    Attributes:
        table: Trials in chronological order.
        inputs: A hash per file that decided the table.
        n_catalogue: Pictures in the catalogue.
        facts: What the source says of itself, for the manifest.
        categories: nsd_id to what scores are shown apart by; written beside the index where the source knows them.
    """

    table: TrialTable
    inputs: dict[str, str]
    n_catalogue: int
    facts: dict[str, Any] = field(default_factory=dict)
    categories: dict[int, tuple[str, ...]] = field(default_factory=dict)


def sessions_to_keep(sessions: str, session: NDArray[np.integer], subject: str) -> NDArray[np.bool_]:
    """Choose the trials of the first sessions.

    Args:
        sessions: "all", "first37", or a number.
        session: 1-based session of each trial, (n,).
        subject: For the message.

    Returns:
        (n,) bool.

    Raises:
        UsageError: If ``sessions`` is none of these.
        BadInputError: If more sessions are asked for than there are.
    """
    present = int(session.max())
    if sessions == "all":
        return np.ones(len(session), dtype=bool)
    if sessions == "first37":
        return np.asarray(session <= FIRST37)
    if not sessions.isdigit() or int(sessions) < 1:
        raise UsageError(f"--sessions is all, first37 or a number of first sessions, not {sessions!r}")
    if int(sessions) > present:
        raise BadInputError(f"{subject} has {present} sessions, --sessions asks for {sessions}")
    return np.asarray(session <= int(sessions))


def assemble_table(
    subject: str,
    *,
    session: NDArray[np.integer],
    run: NDArray[np.integer],
    trial_in_run: NDArray[np.integer],
    global_trial: NDArray[np.integer],
    nsd_id: NDArray[np.integer],
    split: NDArray[np.str_],
    shared1000: NDArray[np.bool_],
    test_ids: NDArray[np.integer],
    planned_repeats: int,
    beta_path: NDArray[np.str_],
    beta_index: NDArray[np.integer],
    coco_id: NDArray[np.integer] | None = None,
    coco_split: NDArray[np.str_] | None = None,
) -> TrialTable:
    """Put the columns of a source together and derive the others.

    Args:
        subject: For instance "subj01".
        session: 1-based, whole sessions in chronological order, (n,).
        run: 1-based in its session, (n,).
        trial_in_run: 1-based, (n,).
        global_trial: 0-based over the whole experiment, ascending, (n,).
        nsd_id: 0-based picture, (n,).
        split: "train", "val" or "test", (n,).
        shared1000: Shown to all subjects, (n,) bool.
        test_ids: All test pictures of the design, shown or not, ascending, (m,).
        planned_repeats: Planned presentations of each test picture.
        beta_path: File of the betas relative to the data root, (n,).
        beta_index: Row in that file, (n,).
        coco_id: Id in COCO, (n,); -1 where the source does not know.
        coco_split: "train2017" or "val2017", (n,); empty where the source does not know.

    Returns:
        The table.
    """
    n = len(nsd_id)
    _, first, counts = np.unique(session, return_index=True, return_counts=True)
    repeat, n_repeats = count_repeats(nsd_id, global_trial)
    average, single = number_test_items(nsd_id, repeat, split == "test", test_ids, planned_repeats)
    return TrialTable(
        subject=np.full(n, subject),
        session=session.astype(np.int16),
        run=run.astype(np.int16),
        trial_in_run=trial_in_run.astype(np.int16),
        trial_in_session=(np.arange(n) - np.repeat(first, counts)).astype(np.int16),
        global_trial=global_trial.astype(np.int32),
        nsd_id=nsd_id.astype(np.int32),
        coco_id=np.full(n, -1, dtype=np.int32) if coco_id is None else coco_id.astype(np.int32),
        coco_split=np.full(n, "") if coco_split is None else coco_split,
        shared1000=shared1000,
        repeat=repeat.astype(np.int8),
        n_repeats=n_repeats.astype(np.int8),
        beta_path=beta_path,
        beta_index=beta_index.astype(np.int32),
        split=split,
        trial_id_average=average,
        trial_id_single=single,
    )


def refuse_some_sessions(sessions: str, source: str) -> None:
    """Refuse to choose sessions where the files do not say which session a row is of.

    Args:
        sessions: "all", or "first37", which is what these releases hold.
        source: For the message.

    Raises:
        UsageError: If it is anything else.
    """
    if sessions not in ("all", "first37"):
        raise UsageError(
            f"--sessions {sessions} cannot be had from {source}: its files hold the first {FIRST37} sessions and do "
            "not say which row is of which; leave the flag out"
        )
