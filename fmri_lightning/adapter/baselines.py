"""Maps that cost nothing to train, and the scores they share with the adapter."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from fmri_lightning.adapter.data import EmbeddingPairs
from fmri_lightning.encoder.validation import embedding_scores
from fmri_lightning.metrics.cosine import cosine, cosine_matrix
from fmri_lightning.metrics.retrieval import retrieval_ranks, top_k


def scores_of(
    predicted: NDArray[np.floating],
    true: NDArray[np.floating],
    training_mean: NDArray[np.floating],
    nsd_ids: NDArray[np.integer] | None = None,
) -> dict[str, float]:
    """Score predicted target embeddings.

    Args:
        predicted: Raw, (n, dim).
        true: Raw, (n, dim).
        training_mean: Mean target of the training pictures, (dim,).
        nsd_ids: Picture of each row, (n,); None when every row is a picture of its own.

    Returns:
        The scores of :func:`~fmri_lightning.encoder.validation.embedding_scores`, ``top1`` and ``top5`` (picture from
        prediction, among all rows), ``cosine_std`` over rows and ``mse`` of raw vectors.
    """
    ranks = retrieval_ranks(cosine_matrix(predicted, true), nsd_ids)
    return {
        **embedding_scores(predicted, true, training_mean, nsd_ids),
        "top1": float(top_k(ranks, 1).mean()),
        "top5": float(top_k(ranks, 5).mean()),
        "cosine_std": float(cosine(predicted, true).std()),
        "mse": float(np.mean(np.square(predicted.astype(np.float64) - true))),
    }


class LeastSquares:
    """Ordinary least squares from unit-length source to raw target, with intercept, in closed form.

    Args:
        weights: (n_source, n_target).
        source_mean: Mean unit-length source, (n_source,).
        target_mean: Mean target, (n_target,).
    """

    def __init__(
        self, weights: NDArray[np.float64], source_mean: NDArray[np.float64], target_mean: NDArray[np.float64]
    ) -> None:
        self.weights, self.source_mean, self.target_mean = weights, source_mean, target_mean

    def __call__(self, source: torch.Tensor) -> NDArray[np.float64]:
        """Map raw source embeddings (n, n_source) to raw target embeddings (n, n_target)."""
        return np.asarray((_unit(source) - self.source_mean) @ self.weights + self.target_mean)


def least_squares(pairs: EmbeddingPairs) -> LeastSquares:
    """Fit ordinary least squares; the solution of least norm where the sources span fewer dimensions than they have.

    Embeddings are float32: a direction whose spread is at their rounding error counts as not spanned.
    """
    source, target = _unit(pairs.source), pairs.target.double().numpy()
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    smallest = float(np.finfo(np.float32).eps) * max(source.shape)
    weights = np.linalg.lstsq(source - source_mean, target - target_mean, rcond=smallest)[0]
    return LeastSquares(weights, source_mean, target_mean)


def _unit(source: torch.Tensor) -> NDArray[np.float64]:
    return np.asarray(functional.normalize(source.double(), dim=-1).numpy())
