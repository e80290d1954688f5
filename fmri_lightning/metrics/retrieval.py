"""Retrieval: how far up the true match stands among all candidates of a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.checks import ids_or_positions, require_square


def retrieval_ranks(similarity: NDArray[np.floating], ids: NDArray[np.integer] | None = None) -> NDArray[np.int64]:
    """Rank of the true candidate (the diagonal) for every query (row).

    With ``similarity[i, j] = cos(brain i, picture j)`` rows answer "which picture does this brain
    show" (``picture_from_brain``) and the transpose "which brain saw this picture"
    (``brain_from_picture``). The published code of MindEye prints the second as "image retrieval" and
    the first as "brain retrieval", because its similarity helper returns a transpose.

    Args:
        similarity: Matrix (n, n), queries in rows, candidates in columns.
        ids: Stimulus id of each item (n,); another item of the query's stimulus is no candidate.

    Returns:
        int64 (n,), 1 = first. A candidate that ties counts as ahead, and so does everything when the
        true similarity is NaN.

    Raises:
        ValueError: The matrix is not square, or the number of ids differs.
    """
    require_square(similarity, "the retrieval matrix")
    stimuli = ids_or_positions(ids, similarity.shape[0])
    distractor = stimuli[:, None] != stimuli[None, :]
    behind = similarity < np.diagonal(similarity)[:, None]
    return np.asarray(1 + (~behind & distractor).sum(axis=1), dtype=np.int64)


def gallery_ranks(
    similarity: NDArray[np.floating], query_ids: NDArray[np.integer], gallery_ids: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Rank of the true candidate in a gallery that holds more stimuli than were queried.

    Args:
        similarity: Matrix (n, m), queries in rows, gallery in columns.
        query_ids: Stimulus of each query (n,), repeats allowed.
        gallery_ids: Stimulus of each candidate (m,), each once.

    Returns:
        int64 (n,), 1 = first; ties and NaN count against.

    Raises:
        ValueError: Shapes do not fit, the gallery holds a stimulus twice, or lacks a query's stimulus.
    """
    queries, gallery = np.asarray(query_ids), np.asarray(gallery_ids)
    if similarity.shape != (len(queries), len(gallery)):
        raise ValueError(f"{len(queries)} queries and {len(gallery)} candidates do not fit {similarity.shape}")
    order = np.argsort(gallery, kind="stable")
    ascending = gallery[order]
    if np.any(ascending[1:] == ascending[:-1]):
        raise ValueError("a stimulus stands twice in the gallery")
    place = np.minimum(np.searchsorted(ascending, queries), len(gallery) - 1)
    if np.any(ascending[place] != queries):
        raise ValueError("the gallery lacks a stimulus that was queried")
    true = order[place]
    rows = np.arange(len(queries))
    ahead = ~(similarity < similarity[rows, true][:, None])
    ahead[rows, true] = False
    return np.asarray(1 + ahead.sum(axis=1), dtype=np.int64)


def top_k(ranks: NDArray[np.integer], k: int) -> NDArray[np.float64]:
    """Whether each query has its match among the first k.

    Args:
        ranks: Ranks (n,), 1 = first.
        k: Number of places that count.

    Returns:
        float64 (n,) of 0 and 1; the mean is top-k accuracy.

    Raises:
        ValueError: k is below 1.
    """
    if k < 1:
        raise ValueError(f"top-k needs k of at least 1, not {k}")
    return (np.asarray(ranks) <= k).astype(np.float64)


def reciprocal_rank(ranks: NDArray[np.integer]) -> NDArray[np.float64]:
    """One over the rank of each query's match.

    Args:
        ranks: Ranks (n,), 1 = first.

    Returns:
        float64 (n,) in 0..1; the mean is the mean reciprocal rank. Chance is the mean of 1/1 .. 1/m among m
        candidates.
    """
    return np.asarray(1.0 / np.asarray(ranks, dtype=np.float64))


def csls(similarity: NDArray[np.floating], k: int = 10) -> NDArray[np.float64]:
    """Cross-domain similarity local scaling (Conneau et al., 2018): takes hubs down.

    ``2 cos(q, c) - r(q) - r(c)``, where r(q) is the mean cosine of query q with its k nearest candidates and r(c)
    that of candidate c with its k nearest queries. A candidate that is near to every query loses its advantage.
    The transpose of the result is the result of the transpose. Scores of a query depend on the other queries,
    that is on the other test predictions.

    The true match is among the neighbours, as in the paper, and so is every row and column of the matrix: repeats
    of one stimulus are neighbours of each other's match. Where they should count once, average them first or pass
    each stimulus once.

    Args:
        similarity: Cosines (n, m), queries in rows, candidates in columns.
        k: Number of neighbours; where there are fewer, all of them.

    Returns:
        float64 (n, m); NaN where the cosine is NaN, which is nobody's neighbour.

    Raises:
        ValueError: k is below 1, or the matrix is not (n, m).
    """
    if k < 1:
        raise ValueError(f"local scaling needs at least 1 neighbour, not {k}")
    if similarity.ndim != 2:
        raise ValueError(f"the similarity must be (n, m), not {similarity.shape}")
    cosines = np.asarray(similarity, dtype=np.float64)
    of_query, of_candidate = _neighbourhood(cosines, k), _neighbourhood(cosines.T, k)
    return np.asarray(2.0 * cosines - of_query[:, None] - of_candidate[None, :])


def _neighbourhood(cosines: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Mean of the k largest values of each row, without NaN; NaN for a row of NaN."""
    n, m = cosines.shape
    known = np.where(np.isnan(cosines), -np.inf, cosines)
    if k < m:
        known = np.partition(known, m - k, axis=1)[:, m - k :]
    found = known > -np.inf
    mean = np.full(n, np.nan)
    np.divide(np.where(found, known, 0.0).sum(axis=1), found.sum(axis=1), out=mean, where=found.any(axis=1))
    return mean


class PooledRetrieval(NamedTuple):
    """Top-k in random pools: ``per_draw`` (draws,) and ``per_item`` (n,), NaN for items never drawn."""

    per_draw: NDArray[np.float64]
    per_item: NDArray[np.float64]


def pooled_top_1(
    similarity: NDArray[np.floating],
    ids: NDArray[np.integer] | None = None,
    pool: int = 300,
    draws: int = 30,
    seed: int = 42,
) -> PooledRetrieval:
    """Top-1 retrieval in random pools, the published "300 x 30" (Scotti et al., 2023, 2024).

    Each draw takes ``pool`` items without replacement; queries and candidates are the items drawn.
    The spread over draws is not an interval over pictures: bootstrap ``per_item`` for that.

    Args:
        similarity: Matrix (n, n), queries in rows, candidates in columns.
        ids: Stimulus id of each item (n,); equal ids are never distractors.
        pool: Items in one pool.
        draws: Number of pools.
        seed: Seed of the draws; the same seed gives the same pools.

    Returns:
        Accuracy of each draw, and of each item over the draws that held it.

    Raises:
        ValueError: Fewer items than a pool needs, or a matrix that is not square.
    """
    return pooled_top_k(similarity, (1,), ids, pool, draws, seed)[1]


def pooled_top_k(
    similarity: NDArray[np.floating],
    ks: Sequence[int],
    ids: NDArray[np.integer] | None = None,
    pool: int = 300,
    draws: int = 30,
    seed: int = 42,
) -> dict[int, PooledRetrieval]:
    """Top-k retrieval for several k in the pools of :func:`pooled_top_1`.

    Args:
        similarity: Matrix (n, n), queries in rows, candidates in columns.
        ks: Numbers of places that count.
        ids: Stimulus id of each item (n,); equal ids are never distractors.
        pool: Items in one pool.
        draws: Number of pools.
        seed: Seed of the draws.

    Returns:
        k to accuracy of each draw and each item.

    Raises:
        ValueError: Fewer items than a pool needs, a k below 1, or a matrix that is not square.
    """
    require_square(similarity, "the retrieval matrix")
    n = similarity.shape[0]
    if pool > n:
        raise ValueError(f"a pool of {pool} cannot be drawn from {n} items")
    stimuli = ids_or_positions(ids, n)
    generator = np.random.default_rng(seed)
    hits, seen, per_draw = {k: np.zeros(n) for k in ks}, np.zeros(n), {k: np.zeros(draws) for k in ks}
    for draw in range(draws):
        chosen = np.sort(generator.choice(n, size=pool, replace=False))
        ranks = retrieval_ranks(similarity[np.ix_(chosen, chosen)], stimuli[chosen])
        seen[chosen] += 1
        for k in ks:
            first = top_k(ranks, k)
            per_draw[k][draw] = first.mean()
            hits[k][chosen] += first
    found = {}
    for k in ks:
        per_item = np.full(n, np.nan)
        np.divide(hits[k], seen, out=per_item, where=seen > 0)
        found[k] = PooledRetrieval(per_draw[k], per_item)
    return found
