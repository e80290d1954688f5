"""Cosine similarity of embeddings, plain and centred."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.checks import require_equal_shapes


def cosine(embeddings_a: NDArray[np.generic], embeddings_b: NDArray[np.generic]) -> NDArray[np.float64]:
    """Cosine of each pair of rows.

    Args:
        embeddings_a: Embeddings (n, d), any scale.
        embeddings_b: Embeddings (n, d).

    Returns:
        float64 (n,) in -1..1; NaN where a row is all zero.

    Raises:
        ValueError: Shapes differ.
    """
    require_equal_shapes(embeddings_a, embeddings_b, "embeddings")
    return np.asarray(np.einsum("ij,ij->i", _unit(embeddings_a), _unit(embeddings_b)))


def cosine_matrix(embeddings_a: NDArray[np.generic], embeddings_b: NDArray[np.generic]) -> NDArray[np.float64]:
    """Cosine of every row of one set with every row of the other.

    Args:
        embeddings_a: Embeddings (n, d), any scale.
        embeddings_b: Embeddings (m, d).

    Returns:
        float64 (n, m) in -1..1; NaN in rows or columns that are all zero.

    Raises:
        ValueError: Dimensions differ.
    """
    if embeddings_a.shape[1:] != embeddings_b.shape[1:]:
        raise ValueError(f"embeddings differ in dimension: {embeddings_a.shape} and {embeddings_b.shape}")
    return np.asarray(_unit(embeddings_a) @ _unit(embeddings_b).T)


def mean_vector_cosine(mean: NDArray[np.generic], truth: NDArray[np.generic]) -> NDArray[np.float64]:
    """Cosine that predicting the training mean would reach: the floor under every cosine.

    Args:
        mean: Mean true embedding of the training stimuli (d,), raw space.
        truth: True embeddings (n, d), raw space.

    Returns:
        float64 (n,) in -1..1.
    """
    return cosine(np.broadcast_to(mean, truth.shape), truth)


def centred_cosine(
    predicted: NDArray[np.generic], truth: NDArray[np.generic], mean: NDArray[np.generic]
) -> NDArray[np.float64]:
    """Cosine after the training mean is taken off both sides: ``cos(e_hat - mu, e - mu)``.

    CLIP embeddings lie in a cone, so a collapsed model reaches a plain cosine of .75; centred it
    reaches 0.

    Args:
        predicted: Predicted embeddings (n, d), raw space.
        truth: True embeddings (n, d), raw space.
        mean: Mean true embedding of the training stimuli (d,), never of the test stimuli.

    Returns:
        float64 (n,) in -1..1; NaN where a prediction equals the mean.
    """
    centre = np.asarray(mean, dtype=np.float64)
    return cosine(np.asarray(predicted, dtype=np.float64) - centre, np.asarray(truth, dtype=np.float64) - centre)


def _unit(embeddings: NDArray[np.generic]) -> NDArray[np.float64]:
    values = np.asarray(embeddings, dtype=np.float64)
    norm = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(np.divide(values, norm, out=np.full_like(values, np.nan), where=norm > 0))
