"""What is logged about predicted embeddings, always beside the score of a constant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.cosine import centred_cosine, cosine, cosine_matrix, mean_vector_cosine
from fmri_lightning.metrics.identification import two_way_identification
from fmri_lightning.metrics.retrieval import retrieval_ranks, top_k


def embedding_scores(
    predicted: NDArray[np.floating],
    true: NDArray[np.floating],
    training_mean: NDArray[np.floating],
    nsd_ids: NDArray[np.integer] | None = None,
) -> dict[str, float]:
    """Score predicted embeddings against the true ones.

    A prediction that is constant reaches the mean-vector cosine, centred cosine 0 and two-way .5: read the plain
    cosine only beside them.

    Args:
        predicted: Raw predictions, (n, dim).
        true: Raw embeddings of the pictures seen, (n, dim).
        training_mean: Mean true embedding of the training pictures, (dim,).
        nsd_ids: Picture of each row, (n,); rows of one picture are never each other's distractors.

    Returns:
        ``cosine``, ``mean_vector_cosine``, ``centred_cosine``, ``top1`` and ``top5`` (picture from brain, among the
        rows' pictures) and ``two_way``, each a mean over rows; a constant prediction's undefined terms count as 0.
    """
    from_brain = cosine_matrix(predicted, true)
    ranks = retrieval_ranks(from_brain, nsd_ids)
    scores = {
        "cosine": cosine(predicted, true),
        "mean_vector_cosine": mean_vector_cosine(training_mean, true),
        "centred_cosine": centred_cosine(predicted, true, training_mean),
        "top1": top_k(ranks, 1),
        "top5": top_k(ranks, 5),
        "two_way": two_way_identification(from_brain.T, nsd_ids),
    }
    return {name: float(np.nan_to_num(np.asarray(values, dtype=np.float64)).mean()) for name, values in scores.items()}
