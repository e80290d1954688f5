"""How often each picture was shown, and the numbers of test items, for every source of trials."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def count_repeats(
    nsd_id: NDArray[np.integer], global_trial: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the presentations of each picture in time.

    Args:
        nsd_id: Picture of each trial, (n,).
        global_trial: Time order of the trials, (n,).

    Returns:
        0-based repeat of each trial, and how often its picture was shown in all, both int64 (n,).

    Example:
        >>> repeat, n_repeats = count_repeats(np.array([7, 3, 7]), np.array([0, 1, 2]))
        >>> repeat.tolist(), n_repeats.tolist()
        ([0, 0, 1], [2, 1, 2])
    """
    order = np.lexsort((global_trial, nsd_id))
    _, inverse, counts = np.unique(nsd_id, return_inverse=True, return_counts=True)
    starts = np.cumsum(counts) - counts
    repeat = np.empty(len(nsd_id), dtype=np.int64)
    repeat[order] = np.arange(len(nsd_id)) - np.repeat(starts, counts)
    return repeat, counts[inverse].astype(np.int64)


def usual_count(counts: NDArray[np.integer]) -> int:
    """Return the most common of some counts, the largest of equally common ones: a file is sooner cut than doubled.

    Example:
        >>> usual_count(np.array([750, 750, 749])), usual_count(np.array([23, 24]))
        (750, 24)
    """
    times = np.bincount(counts)
    return int(np.flatnonzero(times == times.max())[-1])


def number_test_items(
    nsd_id: NDArray[np.integer],
    repeat: NDArray[np.integer],
    is_test: NDArray[np.bool_],
    test_ids: NDArray[np.integer],
    planned_repeats: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Number test pictures and test trials over the whole planned design.

    A picture's number is its rank among all test pictures of the design, a trial's its rank by (picture, time) among
    all planned trials. Trials that were never run come last of their picture, so that neither fewer sessions nor
    another subject ever renumbers anything.

    Args:
        nsd_id: Picture of each trial, (n,).
        repeat: 0-based presentation of that picture, (n,).
        is_test: Trials of the test split, (n,) bool.
        test_ids: All test pictures of the design, shown or not, ascending, (m,).
        planned_repeats: Planned presentations of each test picture.

    Returns:
        ``trial_id_average`` and ``trial_id_single``, int32 (n,), -1 outside the test split.
    """
    rank = np.searchsorted(test_ids, nsd_id)
    average = np.where(is_test, rank, -1).astype(np.int32)
    single = np.where(is_test, rank * planned_repeats + repeat, -1).astype(np.int32)
    return average, single
