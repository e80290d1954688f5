"""Two-way identification: is a reconstruction more like its own picture than like another one?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.checks import ids_or_positions, require_square
from fmri_lightning.metrics.correlation import Rows, correlate, settle_near_ties


def correlation_matrix(features_a: NDArray[np.generic], features_b: NDArray[np.generic]) -> NDArray[np.float64]:
    """Pearson r between every row of one feature set and every row of the other.

    Equals ``np.corrcoef(a, b)[:n, n:]`` without the two diagonal blocks and in bounded memory: to 1e-6 for many
    features of at most 32 bits, whose products run in float32, else to rounding. Equal rows have bitwise equal
    correlations, so a tie is a tie; and where the matrix is square, r that stand within 1e-6 of the diagonal's are
    those of float64, so that :func:`two_way_identification` counts what it would count in float64.

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
    a, b = Rows.of(features_a), Rows.of(features_b)
    r, exact = correlate(a, b)
    if not exact and features_a.shape[0] == features_b.shape[0]:
        r = settle_near_ties(r, a, b)
    return r if a.first is None and b.first is None else r[np.ix_(a.which, b.which)]


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
