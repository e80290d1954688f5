"""The work list: which test trials become pictures, in which order, and which of them fall to this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.prediction_only import SIDE_EXPERIMENTS
from fmri_lightning.records import TrialTable

TrialMode = Literal["average", "average_outputs", "single"]
TestSet = Literal["shared1000", "982", "515", "val"]
Split = Literal["test", "val"]
SUBJECTS = tuple(f"subj{number:02d}" for number in range(1, 9))
REPEATS_OF_515 = 3


@dataclass(frozen=True, eq=False)
class Items:
    """All items of a test set, one picture (or K samples) each, ordered by trial_id.

    Attributes:
        trial_id: From the index, never renumbered, (n,) int32.
        nsd_id: Picture that was shown, (n,) int32.
        global_trial: The trial, or -1 where several are averaged, (n,) int32.
        rows: Rows of the index, and of the beta store, that belong to each item.
    """

    trial_id: NDArray[np.int32]
    nsd_id: NDArray[np.int32]
    global_trial: NDArray[np.int32]
    rows: tuple[NDArray[np.int64], ...]

    def __len__(self) -> int:
        return len(self.nsd_id)


def items_of_table(
    table: TrialTable, trial_mode: TrialMode, keep: NDArray[np.bool_] | None = None, split: Split = "test"
) -> Items:
    """List the items of the test split, or of the validation split.

    Args:
        table: The subject's index.
        trial_mode: "single" makes one item a trial, the average modes one item a picture.
        keep: Rows of the index that the test set allows (n,); all by default.
        split: "test", or "val" to choose a setting by.

    Returns:
        The items in the order of their trial_id.

    Raises:
        BadInputError: The split is empty.
    """
    is_wanted = table.split == split
    if keep is not None:
        is_wanted = is_wanted & keep
    rows = np.flatnonzero(is_wanted)
    if not len(rows):
        raise BadInputError(f"the index has no {split} trials; run fmri-lightning index with all sessions")
    trial_id = _trial_ids(table, rows, trial_mode, split)
    order = np.lexsort((table.global_trial[rows], trial_id))
    rows, trial_id = rows[order], trial_id[order]
    first = np.flatnonzero(np.r_[True, trial_id[1:] != trial_id[:-1]])
    groups = tuple(np.split(rows, first[1:]))
    single = trial_mode == "single"
    head = rows[first]
    return Items(
        trial_id=trial_id[first].astype(np.int32),
        nsd_id=table.nsd_id[head].astype(np.int32),
        global_trial=table.global_trial[head].astype(np.int32) if single else np.full(len(head), -1, np.int32),
        rows=groups,
    )


def _trial_ids(table: TrialTable, rows: NDArray[np.int64], trial_mode: TrialMode, split: Split) -> NDArray[np.int64]:
    """Take the index's numbers of test items; number validation items in the same order, in which they are fixed."""
    if split == "test":
        return (table.trial_id_single if trial_mode == "single" else table.trial_id_average)[rows].astype(np.int64)
    if trial_mode != "single":
        return np.searchsorted(np.unique(table.nsd_id[rows]), table.nsd_id[rows])
    ranks = np.empty(len(rows), dtype=np.int64)
    ranks[np.lexsort((table.global_trial[rows], table.nsd_id[rows]))] = np.arange(len(rows))
    return ranks


def items_of_ids(nsd_ids: NDArray[np.int32]) -> Items:
    """Make items of bare picture ids, for embeddings that come without an index.

    Args:
        nsd_ids: Distinct ids (n,).

    Returns:
        Items ordered by id; their trial_id is the rank.
    """
    ids = np.sort(np.asarray(nsd_ids, dtype=np.int32))
    none = tuple(np.empty(0, np.int64) for _ in ids)
    return Items(np.arange(len(ids), dtype=np.int32), ids, np.full(len(ids), -1, np.int32), none)


def rows_of_test_set(
    test_set: TestSet | str, table: TrialTable, index_root: Path, n_sessions: int
) -> NDArray[np.bool_] | None:
    """Find which rows of the index a named test set allows.

    Args:
        test_set: shared1000 (all test trials), 982 (those within the first 37 sessions), 515 (pictures that all eight
            subjects saw three times), val (validation trials, which are no test set), or a side experiment (all).
        table: The subject's index.
        index_root: Folder of the indices of all subjects.
        n_sessions: Sessions in the subject's index.

    Returns:
        (n,) bool, or None for all.

    Raises:
        BadInputError: 982 without an index of 37 sessions, or 515 without the indices of all eight subjects.
    """
    if test_set in ("shared1000", "val") or test_set in SIDE_EXPERIMENTS:
        return None
    if test_set == "982":
        if n_sessions != 37:
            raise BadInputError(
                f"test set 982 needs an index of the first 37 sessions, this one has {n_sessions}; "
                "run fmri-lightning index --sessions first37 --out another folder"
            )
        return None
    from fmri_lightning.index.table import read_index

    common: set[int] | None = None
    for subject in SUBJECTS:
        try:
            shown = read_index(index_root, subject).of_split("test").nsd_id
        except BadInputError as error:
            raise BadInputError(f"test set 515 needs the indices of all eight subjects: {error}") from error
        ids, counts = np.unique(shown, return_counts=True)
        full = set(ids[counts >= REPEATS_OF_515].tolist())
        common = full if common is None else common & full
    return np.isin(table.nsd_id, np.array(sorted(common or ()), dtype=np.int32))


def split_of(test_set: TestSet | str) -> Split:
    """Say which split a test set lies in.

    Example:
        >>> split_of("982"), split_of("val")
        ('test', 'val')
    """
    return "val" if test_set == "val" else "test"


def chosen_positions(items: Items, nsd_ids: list[int] | None, limit: int | None) -> NDArray[np.int64]:
    """Choose items by id and number, in plan order.

    Args:
        items: The full test set.
        nsd_ids: Keep these pictures only; null keeps all.
        limit: Keep the first of them; null keeps all.

    Returns:
        Positions in ``items``, ascending.

    Raises:
        BadInputError: An id is not in the test set, or more items are asked for than there are.
        UsageError: The limit is below 1.
    """
    positions = np.arange(len(items))
    if nsd_ids is not None:
        missing = sorted(set(nsd_ids) - set(items.nsd_id.tolist()))
        if missing or not nsd_ids:
            raise BadInputError(f"--data.nsd_ids: {len(missing)} ids are not in the test set, first {missing[:5]}")
        positions = positions[np.isin(items.nsd_id, nsd_ids)]
    if limit is not None:
        if limit < 1:
            raise UsageError(f"--data.limit is at least 1, not {limit}")
        if limit > len(positions):
            raise BadInputError(f"--data.limit {limit} asks for more than the {len(positions)} items of the test set")
        positions = positions[:limit]
    return positions


def parse_shard(shard: str | None) -> tuple[int, int]:
    """Read ``i/n``, counted from 1, the whole for null.

    Raises:
        UsageError: Not of that form.

    Example:
        >>> parse_shard("2/4")
        (2, 4)
    """
    if shard is None:
        return 1, 1
    parts = shard.split("/")
    if len(parts) == 2 and all(part.isdigit() for part in parts) and 1 <= int(parts[0]) <= int(parts[1]):
        return int(parts[0]), int(parts[1])
    raise UsageError(f"--data.shard is i/n with i from 1 to n, not {shard!r}")


def share_of(units: NDArray[np.int64], part: int, parts: int) -> NDArray[np.int64]:
    """Deal units round-robin, so that each is in exactly one share and shares differ by one at most.

    Args:
        units: (n, ...) units of work.
        part: Which share, 0-based.
        parts: Number of shares; may exceed the number of units.

    Returns:
        Every ``parts``-th unit from ``part`` on.
    """
    return units[part::parts]
