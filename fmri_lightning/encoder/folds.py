"""Folds of training stimuli: which of them a fit holds out, so that it can predict them honestly."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import UsageError


class Fold(NamedTuple):
    """One of several folds.

    Attributes:
        part: 1-based number.
        n_parts: How many there are, at least 2.
    """

    part: int
    n_parts: int


def parse_fold(text: str) -> Fold:
    """Read "2/5".

    Args:
        text: Number of the fold and how many there are.

    Returns:
        The fold.

    Raises:
        UsageError: If it is no such pair.

    Example:
        >>> parse_fold("2/5")
        Fold(part=2, n_parts=5)
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]) or int(match[2]) < 2:
        raise UsageError(f"a fold is written 1/5 (first of five, at least two), got {text!r}")
    return Fold(int(match[1]), int(match[2]))


def held_out(stimuli: NDArray[np.integer], fold: Fold) -> NDArray[np.int32]:
    """Choose the stimuli of a fold: evenly, by a hash of their ids, whatever their order.

    Args:
        stimuli: Training stimuli, repeats allowed.
        fold: Which part.

    Returns:
        Ids, ascending; the folds of one division share none and hold them all.

    Raises:
        UsageError: If there are fewer stimuli than folds.
    """
    ids = np.unique(stimuli)
    if len(ids) < fold.n_parts:
        raise UsageError(f"{len(ids)} training stimuli cannot make {fold.n_parts} folds")
    ranked = sorted(ids.tolist(), key=lambda nsd_id: hashlib.blake2b(f"fold {nsd_id}".encode()).digest())
    return np.sort(np.array(ranked[fold.part - 1 :: fold.n_parts], dtype=np.int32))
