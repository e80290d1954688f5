"""What every source of trials gives: the trial table of one subject, and what it was read from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError, UsageError
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
    """

    table: TrialTable
    inputs: dict[str, str]
    n_catalogue: int
    facts: dict[str, Any] = field(default_factory=dict)


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
