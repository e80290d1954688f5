"""Retrieval against scikit-learn and loops, on matrices with a known answer."""

import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from fmri_lightning.metrics.retrieval import gallery_ranks, pooled_top_1, retrieval_ranks, top_k


def noisy_similarity(n: int, seed: int) -> np.ndarray:
    return np.eye(n) + np.random.default_rng(seed).standard_normal((n, n))


@pytest.mark.parametrize("k", [1, 5, 10])
def test_top_k_equals_scikit_learn(k: int) -> None:
    similarity = noisy_similarity(60, 0)
    for matrix in (similarity, similarity.T):
        expected = top_k_accuracy_score(np.arange(60), matrix, k=k, labels=np.arange(60))
        assert top_k(retrieval_ranks(matrix), k).mean() == pytest.approx(expected, abs=1e-12)


def test_ranks_equal_a_sort() -> None:
    similarity = noisy_similarity(30, 1)
    expected = [list(np.argsort(-row)).index(i) + 1 for i, row in enumerate(similarity)]
    assert retrieval_ranks(similarity).tolist() == expected


def test_directions_differ_on_an_asymmetric_matrix() -> None:
    # Every brain looks most like picture 0, so only brain 0 finds its picture; each picture's best brain is its own.
    cos_brain_picture = np.array([[0.9, 0.1, 0.1], [0.8, 0.7, 0.1], [0.8, 0.1, 0.6]])
    assert retrieval_ranks(cos_brain_picture).tolist() == [1, 2, 2]
    assert retrieval_ranks(cos_brain_picture.T).tolist() == [1, 1, 1]


def test_ties_and_nan_count_against() -> None:
    assert retrieval_ranks(np.zeros((4, 4))).tolist() == [4, 4, 4, 4]
    nan = np.eye(3)
    nan[1, 1] = np.nan
    assert retrieval_ranks(nan).tolist() == [1, 3, 1]


def test_equal_ids_are_never_distractors() -> None:
    similarity = np.array([[0.5, 0.9, 0.1], [0.9, 0.5, 0.1], [0.6, 0.1, 0.5]])
    assert retrieval_ranks(similarity).tolist() == [2, 2, 2]
    assert retrieval_ranks(similarity, np.array([8, 8, 3])).tolist() == [1, 1, 2]


def test_random_similarity_is_at_chance() -> None:
    rng = np.random.default_rng(2)
    ranks = np.concatenate([retrieval_ranks(rng.random((50, 50))) for _ in range(100)])
    assert top_k(ranks, 1).mean() == pytest.approx(1 / 50, abs=4 * np.sqrt(0.02 * 0.98 / 5000))
    assert np.median(ranks) == pytest.approx(25.5, abs=2)


def test_pools_equal_a_loop_and_are_deterministic() -> None:
    similarity = noisy_similarity(40, 3)
    ids = np.arange(40) // 2
    result = pooled_top_1(similarity, ids, pool=20, draws=7, seed=5)
    rng = np.random.default_rng(5)
    for draw in range(7):
        chosen = np.sort(rng.choice(40, size=20, replace=False))
        hits = [all(similarity[q, c] < similarity[q, q] for c in chosen if ids[c] != ids[q]) for q in chosen]
        assert result.per_draw[draw] == pytest.approx(np.mean(hits), abs=1e-15)
    again = pooled_top_1(similarity, ids, pool=20, draws=7, seed=5)
    assert again.per_item.tobytes() == result.per_item.tobytes()


def test_a_pool_of_everything_is_the_full_gallery() -> None:
    similarity = noisy_similarity(30, 4)
    result = pooled_top_1(similarity, pool=30, draws=3)
    assert result.per_item.tolist() == top_k(retrieval_ranks(similarity), 1).tolist()


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="pool of 300"):
        pooled_top_1(np.eye(20))
    with pytest.raises(ValueError, match="k of at least 1"):
        top_k(np.arange(3), 0)


def test_gallery_of_the_queries_alone_equals_the_square_case() -> None:
    similarity = noisy_similarity(20, 6)
    ids = np.random.default_rng(7).permutation(100)[:20]
    order = np.random.default_rng(8).permutation(20)
    expected = retrieval_ranks(similarity).tolist()
    assert gallery_ranks(similarity[:, order], ids, ids[order]).tolist() == expected


def test_larger_gallery_equals_a_sort() -> None:
    rng = np.random.default_rng(9)
    gallery_ids, query_ids = rng.permutation(50), np.array([7, 7, 31, 0])
    similarity = rng.random((4, 50))
    expected = [
        list(gallery_ids[np.argsort(-row)]).index(query) + 1 for row, query in zip(similarity, query_ids, strict=True)
    ]
    assert gallery_ranks(similarity, query_ids, gallery_ids).tolist() == expected
    assert gallery_ranks(np.zeros((4, 50)), query_ids, gallery_ids).tolist() == [50] * 4


def test_unfit_galleries_are_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        gallery_ranks(np.zeros((1, 2)), np.array([3]), np.array([3, 3]))
    with pytest.raises(ValueError, match="lacks"):
        gallery_ranks(np.zeros((1, 2)), np.array([3]), np.array([1, 2]))
    with pytest.raises(ValueError, match="do not fit"):
        gallery_ranks(np.zeros((2, 2)), np.array([3]), np.array([1, 3]))
