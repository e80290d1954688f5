"""Two-way identification: is a reconstruction more like its own picture than like another one?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.checks import ids_or_positions, require_square

# Feature columns per product: 1,000 pictures x 8,192 values in float64 are 66 MB.
CHUNK_FEATURES = 8192


def correlation_matrix(features_a: NDArray[np.generic], features_b: NDArray[np.generic]) -> NDArray[np.float64]:
    """Pearson r between every row of one feature set and every row of the other.

    Equals ``np.corrcoef(a, b)[:n, n:]`` without the two diagonal blocks and in bounded memory.

    Args:
        features_a: Features (n, d), any real type.
        features_b: Features (m, d).

    Returns:
        float64 (n, m) in -1..1; NaN where a row is constant.

    Raises:
        ValueError: The numbers of features differ.
    """
    if features_a.ndim != 2 or features_b.ndim != 2 or features_a.shape[1] != features_b.shape[1]:
        raise ValueError(f"features must be (n, d) and (m, d), not {features_a.shape} and {features_b.shape}")
    mean_a = features_a.mean(axis=1, dtype=np.float64, keepdims=True)
    mean_b = features_b.mean(axis=1, dtype=np.float64, keepdims=True)
    product = np.zeros((features_a.shape[0], features_b.shape[0]))
    power_a, power_b = np.zeros(features_a.shape[0]), np.zeros(features_b.shape[0])
    for start in range(0, features_a.shape[1], CHUNK_FEATURES):
        a = features_a[:, start : start + CHUNK_FEATURES] - mean_a
        b = features_b[:, start : start + CHUNK_FEATURES] - mean_b
        product += a @ b.T
        power_a += np.einsum("ij,ij->i", a, a)
        power_b += np.einsum("ij,ij->i", b, b)
    # A constant row keeps a rounding residue after centring: its range says so exactly.
    power_a[np.ptp(features_a, axis=1) == 0] = np.nan
    power_b[np.ptp(features_b, axis=1) == 0] = np.nan
    return np.asarray(product / np.sqrt(power_a[:, None] * power_b[None, :]))


def two_way_identification(
    similarity: NDArray[np.floating], ids: NDArray[np.integer] | None = None
) -> NDArray[np.float64]:
    """Share of distractors that each anchor beats, as coded by MindEye (Scotti et al., 2023).

    Columns are the anchors: ``similarity[i, j]`` compares ground truth i with reconstruction j, the
    distractors of reconstruction j are the other ground truths, and it wins against i when
    ``similarity[i, j] < similarity[j, j]``, strictly. Takagi & Nishimoto (2023) anchor on the
    original instead: pass the transpose. Nothing is sampled; chance is .5 without ties.

    Args:
        similarity: Matrix (n, n) with the true pairs on the diagonal.
        ids: Stimulus id of each item (n,); items of equal id are never distractors of each other.

    Returns:
        float64 (n,) in 0..1 per anchor. Ties and NaN lose. NaN for an anchor without any distractor.

    Raises:
        ValueError: The matrix is not square, or the number of ids differs.
    """
    require_square(similarity, "the similarity of pairs")
    stimuli = ids_or_positions(ids, similarity.shape[0])
    distractor = stimuli[:, None] != stimuli[None, :]
    wins = (similarity < np.diagonal(similarity)[None, :]) & distractor
    n_distractors = distractor.sum(axis=0)
    score = np.full(similarity.shape[0], np.nan)
    np.divide(wins.sum(axis=0), n_distractors, out=score, where=n_distractors > 0)
    return score
