"""Conditions: what a picture is drawn from. All share per-trial seeds, so that only the embedding differs."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.plan import Items

Condition = Literal["predicted", "true_target", "true_source", "shuffled", "mean", "unconditional"]

NEEDS_BRAIN = ("predicted", "shuffled")
"""Conditions that draw from predictions; the others need no betas."""


def derangement(n: int, seed: int) -> NDArray[np.int64]:
    """Draw a permutation without fixed points, uniformly among them.

    Args:
        n: Number of stimuli, at least 2.
        seed: Seed of the run.

    Returns:
        (n,) permutation with ``result[i] != i`` everywhere.

    Raises:
        BadInputError: One stimulus cannot be exchanged with another.

    Example:
        >>> derangement(2, seed=0).tolist()
        [1, 0]
    """
    if n < 2:
        raise BadInputError("condition shuffled needs at least two stimuli in the test set")
    generator = np.random.Generator(np.random.PCG64(seed))
    identity = np.arange(n)
    while True:  # a share of 1/e of all permutations is free of fixed points
        permutation = generator.permutation(n)
        if not np.any(permutation == identity):
            return permutation


def shuffled_partners(items: Items, seed: int) -> NDArray[np.int64]:
    """Give every item of the full test set an item of another picture, before any limit.

    Args:
        items: The full test set; single trials of a picture move together.
        seed: Seed of the run.

    Returns:
        (n,) positions in ``items``.
    """
    pictures, which = np.unique(items.nsd_id, return_inverse=True)
    partner = derangement(len(pictures), seed)
    members = [np.flatnonzero(which == picture) for picture in range(len(pictures))]
    partners = np.empty(len(items), dtype=np.int64)
    for picture, positions in enumerate(members):
        others = members[partner[picture]]
        partners[positions] = others[np.arange(len(positions)) % len(others)]
    return partners
