"""Trials of one picture belong together: row groups, and means over repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.records import TrialTable

if TYPE_CHECKING:
    import torch

    Betas = TypeVar("Betas", NDArray[np.floating], torch.Tensor)


def stimulus_rows(
    trials: TrialTable | NDArray[np.integer],
) -> tuple[NDArray[np.int32], list[NDArray[np.int64]]]:
    """Group trials by picture.

    Args:
        trials: A trial table, or the nsd_id of each trial, (n,).

    Returns:
        Unique nsd_ids ascending, int32 (n_stimuli,), and for each of them its rows in their order.

    Example:
        >>> ids, rows = stimulus_rows(np.array([7, 3, 7]))
        >>> ids.tolist(), [group.tolist() for group in rows]
        ([3, 7], [[1], [0, 2]])
    """
    nsd_id = trials.nsd_id if isinstance(trials, TrialTable) else np.asarray(trials)
    unique, counts = np.unique(nsd_id, return_counts=True)
    order = np.argsort(nsd_id, kind="stable")
    groups = np.split(order, np.cumsum(counts)[:-1]) if len(unique) else []
    return unique.astype(np.int32), groups


def n_repeated_stimuli(table: TrialTable) -> int:
    """Count the training pictures with two trials or more."""
    return int((np.unique(table.nsd_id[table.split == "train"], return_counts=True)[1] > 1).sum())


def repeat_table(groups: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Lay row groups side by side.

    Args:
        groups: Rows of each picture.

    Returns:
        int64 (n_stimuli, most repeats), -1 where a picture has fewer.
    """
    table = np.full((len(groups), max((len(group) for group in groups), default=0)), -1, dtype=np.int64)
    for i, group in enumerate(groups):
        table[i, : len(group)] = group
    return table


def average_repeats(betas: Betas, nsd_ids: NDArray[np.integer]) -> tuple[NDArray[np.int32], Betas]:
    """Average the trials of each picture.

    Repeats are added one after the other, so that numpy and torch, CPU and GPU give the same bits.

    Args:
        betas: One row a trial, float (n, n_features), a numpy array or a torch tensor.
        nsd_ids: Picture of each row, (n,).

    Returns:
        Unique nsd_ids ascending, int32 (n_stimuli,), and means (n_stimuli, n_features) of the same kind and type.

    Raises:
        ValueError: If rows and ids differ in number.
    """
    if len(betas) != len(nsd_ids):
        raise ValueError(f"{len(betas)} rows of betas, {len(nsd_ids)} ids")
    unique, groups = stimulus_rows(nsd_ids)
    table = repeat_table(groups)
    counts = (table >= 0).sum(axis=1)
    if isinstance(betas, np.ndarray):
        total = betas[table[:, 0]].copy()
        for k in range(1, table.shape[1]):
            has = np.flatnonzero(table[:, k] >= 0)
            total[has] += betas[table[has, k]]
        return unique, total / counts[:, None].astype(betas.dtype)
    import torch

    rows = torch.from_numpy(table).to(betas.device)
    total_t = betas[rows[:, 0]].clone()
    for k in range(1, table.shape[1]):
        has_t = torch.nonzero(rows[:, k] >= 0).ravel()
        total_t[has_t] += betas[rows[has_t, k]]
    return unique, total_t / torch.from_numpy(counts).to(betas.device, betas.dtype)[:, None]
