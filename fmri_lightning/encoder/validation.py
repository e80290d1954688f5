"""What is logged about predicted embeddings, always beside the score of a constant."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.bootstrap import Interval, bootstrap_interval
from fmri_lightning.metrics.checks import ids_or_positions
from fmri_lightning.metrics.cosine import centred_cosine, cosine, cosine_matrix, mean_vector_cosine
from fmri_lightning.metrics.identification import two_way_identification
from fmri_lightning.metrics.retrieval import pooled_top_k, retrieval_ranks

POOL = 300
"""Candidates of top-1 and top-5, the published gallery; all items where they are fewer, so read ``pool`` beside it."""

DRAWS = 30
PLACES = (1, 5)

Vectors = NDArray[np.floating]


class Validation(NamedTuple):
    """Scores of predicted embeddings.

    Attributes:
        scores: Name to value.
        centred: Mean centred cosine with its 95 % bootstrap interval over pictures.
        r2_per_dimension: Explained variance of each dimension, (dim,); NaN where the true values are constant.
    """

    scores: dict[str, float]
    centred: Interval
    r2_per_dimension: NDArray[np.float64]

    @property
    def collapsed(self) -> bool:
        """Whether nothing shows that the predictions are better than the mean training embedding."""
        return not self.centred.low > 0


def collapse_sentence(what: str, centred: Interval) -> str:
    """Say in words that a map has not been shown to beat a constant.

    Args:
        what: The map, and on which pictures.
        centred: Its centred cosine.
    """
    return (
        f"{what} has not been shown to predict better than the mean training embedding does: its centred cosine is "
        f"{centred.value:.3f} (95 % interval {centred.low:.3f} to {centred.high:.3f})"
    )


def embedding_scores(
    predicted: Vectors, true: Vectors, training_mean: Vectors, nsd_ids: NDArray[np.integer] | None = None
) -> dict[str, float]:
    """Score predicted embeddings against the true ones; see :func:`validate_embeddings`."""
    return validate_embeddings(predicted, true, training_mean, nsd_ids).scores


def validate_embeddings(
    predicted: Vectors, true: Vectors, training_mean: Vectors, nsd_ids: NDArray[np.integer] | None = None
) -> Validation:
    """Score predicted embeddings against the true ones.

    A prediction that is constant reaches the mean-vector cosine, centred cosine 0 and two-way .5: read the plain
    cosine only beside them. Picture from brain: among the pictures, which one does this brain activity show? Brain
    from picture: among the brain activities, which one saw this picture? (The published code of MindEye prints them
    the other way round.)

    Args:
        predicted: Raw predictions, (n, dim).
        true: Raw embeddings of the pictures seen, (n, dim).
        training_mean: Mean true embedding of the training pictures, (dim,).
        nsd_ids: Picture of each row, (n,); rows of one picture are never each other's distractors.

    Returns:
        Means over rows of ``cosine``, ``mean_vector_cosine``, ``centred_cosine``, ``two_way``, and for both
        directions ``{direction}_top1`` and ``_top5`` in pools of ``pool`` rows and ``_median_rank`` among all ``n``;
        ``r2``, the mean over dimensions. A constant prediction's undefined terms count as 0.
    """
    from_brain = cosine_matrix(predicted, true)
    centred = np.nan_to_num(centred_cosine(predicted, true, training_mean))
    per_dimension = r2_per_dimension(predicted, true)
    n = len(true)
    scores = {
        "cosine": _mean(cosine(predicted, true)),
        "mean_vector_cosine": _mean(mean_vector_cosine(training_mean, true)),
        "centred_cosine": float(centred.mean()),
        "two_way": _mean(two_way_identification(from_brain.T, nsd_ids)),
        **_retrieval("picture_from_brain", from_brain, nsd_ids),
        **_retrieval("brain_from_picture", from_brain.T, nsd_ids),
        "r2": float(np.nanmean(per_dimension)) if np.isfinite(per_dimension).any() else 0.0,
        "pool": float(min(POOL, n)),
        "n": float(n),
    }
    return Validation(scores, bootstrap_interval(centred, ids_or_positions(nsd_ids, n)), per_dimension)


def r2_per_dimension(predicted: Vectors, true: Vectors) -> NDArray[np.float64]:
    """Explained variance of each dimension, as scikit-learn's ``r2_score(multioutput="raw_values")``.

    Args:
        predicted: (n, dim).
        true: (n, dim).

    Returns:
        float64 (dim,), 1 at best; NaN where the true values are constant.
    """
    truth = np.asarray(true, dtype=np.float64)
    missed = np.square(truth - predicted).sum(axis=0)
    total = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    explained = np.full(truth.shape[1], np.nan)
    np.divide(missed, total, out=explained, where=total > 0)
    return 1 - explained


def _retrieval(
    direction: str, similarity: NDArray[np.float64], nsd_ids: NDArray[np.integer] | None
) -> dict[str, float]:
    pool = min(POOL, len(similarity))
    found = pooled_top_k(similarity, PLACES, nsd_ids, pool, draws=1 if pool == len(similarity) else DRAWS)
    pooled = {f"{direction}_top{k}": float(found[k].per_draw.mean()) for k in PLACES}
    return {**pooled, f"{direction}_median_rank": float(np.median(retrieval_ranks(similarity, nsd_ids)))}


def _mean(values: NDArray[np.floating]) -> float:
    return float(np.nan_to_num(np.asarray(values, dtype=np.float64)).mean())
