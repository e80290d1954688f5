"""The gallery of training stimuli, and who in it is nearest to an embedding."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.cosine import cosine_matrix
from fmri_lightning.records import TrialTable

BATCH = 64
"""Queries compared with the gallery at a time."""

Vectors = NDArray[np.float32]


def training_ids(table: TrialTable | None) -> NDArray[np.int32]:
    """List a subject's training stimuli.

    Args:
        table: Index of the subject, or None.

    Returns:
        nsd_id, ascending, (n,); empty without an index.
    """
    if table is None:
        return np.empty(0, np.int32)
    return np.unique(table.of_split("train").nsd_id).astype(np.int32)


def first_by_hash(ids: NDArray[np.int32], limit: int | None) -> NDArray[np.int32]:
    """Choose ids evenly over a set and independently of its size.

    Args:
        ids: Distinct ids (n,).
        limit: How many; None keeps all.

    Returns:
        The chosen ids, ascending.
    """
    if limit is None or limit >= len(ids):
        return ids
    ranked = sorted(ids.tolist(), key=lambda nsd_id: hashlib.blake2b(str(nsd_id).encode()).digest())
    return np.sort(np.array(ranked[:limit], dtype=np.int32))


def nearest(queries: Vectors, gallery: Vectors, gallery_ids: NDArray[np.int32]) -> tuple[NDArray[np.int32], Vectors]:
    """Find each query's nearest stimulus by cosine.

    Args:
        queries: (n, dim).
        gallery: (m, dim).
        gallery_ids: (m,).

    Returns:
        Ids (n,) and cosines (n,) float32.
    """
    best, values = [], []
    for start in range(0, len(queries), BATCH):
        cosines = cosine_matrix(queries[start : start + BATCH], gallery)
        winners = cosines.argmax(axis=1)
        best.append(gallery_ids[winners])
        values.append(cosines[np.arange(len(winners)), winners].astype(np.float32))
    return np.concatenate(best).astype(np.int32), np.concatenate(values)
