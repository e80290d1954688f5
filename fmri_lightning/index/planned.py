"""NSD's design session by session, for releases that keep the order of pictures and drop the trials."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.nsd import EXPDESIGN, N_SUBJECTS, read_design, to_nsd_id
from fmri_lightning.index.subject_index import FIRST37


@dataclass(frozen=True)
class Planned:
    """What one subject was to see.

    Attributes:
        shown: 0-based picture of each planned trial, (n_trials,) int64.
        shared: 0-based shared pictures, ascending, int64.
        n_sessions: Planned sessions.
    """

    shown: NDArray[np.int64]
    shared: NDArray[np.int64]
    n_sessions: int

    @property
    def in_order(self) -> list[int]:
        """Numbers of first sessions to be tried: 37, which older releases hold, before the others."""
        every = list(range(self.n_sessions, 0, -1))
        return sorted(every, key=lambda sessions: sessions != FIRST37)

    def first_appearances(self, sessions: int) -> dict[str, NDArray[np.int64]]:
        """List the pictures of some first sessions, each once, in the order in which they first appeared.

        Args:
            sessions: How many.

        Returns:
            "train": those that are not shared; "test": the shared ones. 0-based ids, int64.
        """
        shown = self.shown[: sessions * (len(self.shown) // self.n_sessions)]
        ids, first = np.unique(shown, return_index=True)
        ids = ids[np.argsort(first, kind="stable")]
        is_shared = np.isin(ids, self.shared)
        return {"train": ids[~is_shared], "test": ids[is_shared]}


def read_planned(root: Path, subject: str) -> Planned:
    """Read a subject's part of ``nsd_expdesign.mat``.

    Args:
        root: Folder that contains ``nsddata/``.
        subject: "subj01" to "subj08".

    Returns:
        What was planned.

    Raises:
        BadInputError: If the file is missing, damaged or contradicts itself, or there is no such subject.
    """
    from scipy.io import loadmat

    design = read_design(root)
    number = int(subject[4:]) if subject.startswith("subj") and subject[4:].isdigit() else 0
    if not 1 <= number <= N_SUBJECTS:
        raise BadInputError(f"{root / EXPDESIGN} knows subj01 to subj{N_SUBJECTS:02d}, not {subject!r}")
    # How often pictures repeat within a session: a column a session.
    counts = loadmat(root / EXPDESIGN).get("basiccnt")
    n_sessions = 0 if counts is None else np.asarray(counts).shape[-1]
    if n_sessions < 1 or len(design.masterordering) % n_sessions:
        raise BadInputError(
            f"{root / EXPDESIGN}: basiccnt has {n_sessions} sessions, which do not divide the "
            f"{len(design.masterordering)} trials of masterordering; the file is not NSD's design"
        )
    return Planned(
        shown=to_nsd_id(design.subjectim[number - 1, design.masterordering - 1]),
        shared=to_nsd_id(design.sharedix),
        n_sessions=n_sessions,
    )


def picture_counts(planned: Planned, sessions: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the showings of each picture in some first sessions.

    Args:
        planned: The design.
        sessions: How many.

    Returns:
        Ids, ascending, and how often each was shown, both int64 (n,).
    """
    shown = planned.shown[: sessions * (len(planned.shown) // planned.n_sessions)]
    ids, counts = np.unique(shown, return_counts=True)
    return ids, counts.astype(np.int64)
