"""Nearest-neighbour classification: how much of the classes an embedding keeps."""

from __future__ import annotations

from typing import Any

import numpy as np


def five_nearest_accuracy(
    gallery: np.ndarray[tuple[int, int], np.dtype[Any]],
    gallery_labels: np.ndarray[tuple[int], np.dtype[np.int64]],
    queries: np.ndarray[tuple[int, int], np.dtype[Any]],
    query_labels: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> float:
    """Accuracy of a vote among the five most similar gallery vectors by centred cosine.

    Rows with a negative label (rendered scenes) take no part; a tie goes to the class of the
    nearest of the tied.

    Args:
        gallery: (n, d) embeddings of labelled pictures.
        gallery_labels: (n,).
        queries: (m, d) embeddings to classify.
        query_labels: (m,).

    Returns:
        Share of correct votes; NaN when nothing is labelled.
    """
    gallery, gallery_labels = gallery[gallery_labels >= 0], gallery_labels[gallery_labels >= 0]
    queries, query_labels = queries[query_labels >= 0], query_labels[query_labels >= 0]
    if len(gallery_labels) < 5 or len(query_labels) == 0:
        return float("nan")
    mean = gallery.mean(0)
    a, b = _unit(queries - mean), _unit(gallery - mean)
    nearest = np.argsort(-(a @ b.T), axis=1, kind="stable")[:, :5]
    votes = gallery_labels[nearest]
    counts = (votes[:, :, None] == votes[:, None, :]).sum(2)
    chosen = votes[np.arange(len(votes)), counts.argmax(1)]
    return float((chosen == query_labels).mean())


def _unit(x: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.maximum(norms, 1e-12))
