"""Statistics of embeddings, as fitted parts store them: recomputed from the training stimuli of a cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.doctor.leaks.parts import RunParts
from fmri_lightning.doctor.leaks.suspects import suspects
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.errors import BadInputError

Vectors = NDArray[np.float64]

TOLERANCE = 1e-5
"""Largest distance from the recomputed value, in standard deviations of the dimension. One foreign stimulus among
9000 moves the mean of some dimension by more than 1e-4; storing a value in float32 moves it by ROUNDING."""
ROUNDING = 2e-7
"""Of the value itself: float32 keeps 24 bits."""


def mean_of(rows: Vectors) -> Vectors:
    """Mean per dimension of raw embeddings (n, dim)."""
    return np.asarray(rows.mean(axis=0))


def std_of(rows: Vectors) -> Vectors:
    """Standard deviation per dimension (ddof 0) of raw embeddings (n, dim)."""
    return np.asarray(rows.std(axis=0))


def floored_std_of(rows: Vectors) -> Vectors:
    """The same, 1 where a dimension never varies, as networks store it; embeddings (n, dim)."""
    std = std_of(rows)
    return np.where(std > 1e-6 * max(float(std.max()), 1e-12), std, 1.0)


def median_norm_of(rows: Vectors) -> Vectors:
    """Median length of raw embeddings (n, dim), (1,)."""
    return np.array([np.median(np.linalg.norm(rows, axis=1))])


def unit_length(rows: Vectors) -> Vectors:
    """Embeddings (n, dim) at length 1."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def as_they_are(rows: Vectors) -> Vectors:
    """Embeddings (n, dim) unchanged."""
    return rows


@dataclass(frozen=True)
class Stored:
    """A statistic that a fitted part carries.

    Attributes:
        name: For the message, for instance "target_mean".
        values: As stored, (dim,).
        statistic: Computes it from embeddings (n, dim).
        prepare: What is done to raw embeddings before.
    """

    name: str
    values: NDArray[np.floating]
    statistic: Callable[[Vectors], Vectors]
    prepare: Callable[[Vectors], Vectors] = as_they_are


def require_of_training(what: str, stored: list[Stored], cache: EmbeddingCache, parts: RunParts, again: str) -> None:
    """Refuse a statistic that is not the one of the training stimuli.

    Args:
        what: File in words.
        stored: Statistics of embeddings in the cache's space, means before others: culprits are solved from means.
        cache: Holds the embeddings.
        parts: The run, with an index.
        again: The command that makes the file again.

    Raises:
        BadInputError: One differs; the message says what it is instead and names the stimuli it saw.
    """
    raw = cache.rows(parts.train_ids).astype(np.float64)
    for one in stored:
        rows = one.prepare(raw)
        expected, found = one.statistic(rows), np.asarray(one.values, dtype=np.float64)
        spread = floored_std_of(rows) if len(expected) == rows.shape[1] else expected
        if found.shape != expected.shape:
            raise BadInputError(f"{what}: {one.name} has shape {found.shape}, expected {expected.shape}; {again}")
        if agrees(found, expected, spread):
            continue
        worst = int(np.argmax(np.abs(found - expected) / spread))
        raise BadInputError(
            f"{what}: {one.name} is not that of the {len(rows)} training stimuli (dimension {worst}: found "
            f"{found[worst]:.6g}, expected {expected[worst]:.6g}); it {_explain(one, found, spread, cache, parts)}; "
            f"{again}"
        )


def agrees(found: Vectors, expected: Vectors, spread: Vectors, tolerance: float = TOLERANCE) -> bool:
    """Say whether two statistics are one but for rounding.

    Args:
        found: (dim,).
        expected: (dim,).
        spread: Standard deviation of each dimension, (dim,).
        tolerance: In standard deviations.
    """
    return bool(np.all(np.abs(found - expected) <= tolerance * spread + ROUNDING * np.abs(expected)))


def _explain(one: Stored, found: Vectors, spread: Vectors, cache: EmbeddingCache, parts: RunParts) -> str:
    sets = {
        "train and test": parts.stimuli("train", "test"),
        "train and val": parts.stimuli("train", "val"),
        "train, val and test": parts.stimuli("train", "val", "test"),
        f"all {len(cache)} pictures of {cache.path}": cache.ids,
    }
    for words, ids in sets.items():
        present = ids[np.isin(ids, cache.ids)]
        if agrees(found, one.statistic(one.prepare(cache.rows(present).astype(np.float64))), spread):
            return f"is that of {words} and saw {parts.name_stimuli(np.setdiff1d(present, parts.train_ids))}"
    others = _others(cache, parts)
    if one.statistic is mean_of and len(others):
        mean = mean_of(one.prepare(cache.rows(parts.train_ids).astype(np.float64)))
        foreign = one.prepare(cache.rows(others).astype(np.float64))
        splits = np.where(np.isin(others, parts.stimuli("test")), "test", "val")
        culprits = suspects((found - mean) / spread, (foreign - mean) / spread, splits)
        if len(culprits):
            return f"saw {parts.name_stimuli(others[culprits])}"
    return "comes from other stimuli, which cannot be told apart"


def _others(cache: EmbeddingCache, parts: RunParts) -> NDArray[np.int32]:
    ids = parts.stimuli("val", "test")
    return ids[np.isin(ids, cache.ids)]
