"""Retrieval against scikit-learn and loops, on matrices with a known answer."""

import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score, top_k_accuracy_score
from sklearn.neighbors import NearestNeighbors

from fmri_lightning.metrics.cosine import cosine_matrix
from fmri_lightning.metrics.retrieval import csls, gallery_ranks, pooled_top_1, reciprocal_rank, retrieval_ranks, top_k


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


def test_both_directions_equal_scikit_learn_on_an_asymmetric_example() -> None:
    rng = np.random.default_rng(10)
    pictures = rng.standard_normal((80, 24))
    # Hubs: some predictions are long averages, near to many pictures.
    brains = pictures + 2 * rng.standard_normal((80, 24)) + np.where(np.arange(80) % 4 == 0, 3.0, 0.0)[:, None]
    cosines = cosine_matrix(brains, pictures)
    found = []
    for queries, gallery, matrix in ((brains, pictures, cosines), (pictures, brains, cosines.T)):
        nearest = NearestNeighbors(n_neighbors=1, metric="cosine", algorithm="brute").fit(gallery)
        hits = nearest.kneighbors(queries, return_distance=False)[:, 0] == np.arange(80)
        assert (top_k(retrieval_ranks(matrix), 1) == hits).all()
        assert hits.mean() == pytest.approx(top_k_accuracy_score(np.arange(80), matrix, k=1, labels=np.arange(80)))
        found.append(hits.mean())
    assert found[0] != found[1]


def test_mean_reciprocal_rank_equals_scikit_learn() -> None:
    similarity = noisy_similarity(40, 11)
    score = reciprocal_rank(retrieval_ranks(similarity))
    assert score.mean() == pytest.approx(label_ranking_average_precision_score(np.eye(40), similarity), abs=1e-12)
    assert reciprocal_rank(np.array([1, 2, 4])).tolist() == [1.0, 0.5, 0.25]


def test_published_pools_equal_their_script() -> None:
    similarity = noisy_similarity(400, 12)
    similarity += 2 * np.eye(400)
    found = pooled_top_1(similarity)
    # Ten lines: 30 pools of 300 different items, the share whose best candidate is their own.
    rng, expected, hits, drawn = np.random.default_rng(42), [], np.zeros(400), np.zeros(400)
    for _ in range(30):
        pool = np.sort(rng.choice(400, size=300, replace=False))
        best = similarity[pool][:, pool].argmax(axis=1)
        right = best == np.arange(300)
        expected.append(right.mean())
        hits[pool] += right
        drawn[pool] += 1
    assert found.per_draw == pytest.approx(expected, abs=1e-12)
    assert found.per_item == pytest.approx(hits / drawn, abs=1e-12)


@pytest.mark.parametrize(("n", "m", "k"), [(12, 12, 10), (30, 17, 10), (17, 30, 3), (5, 8, 10), (6, 6, 1)])
def test_csls_equals_brute_force(n: int, m: int, k: int) -> None:
    cosines = np.random.default_rng(n * m).uniform(-1, 1, (n, m))
    expected = np.empty((n, m))
    for i in range(n):
        for j in range(m):
            of_query = sorted(cosines[i], reverse=True)[:k]
            of_candidate = sorted(cosines[:, j], reverse=True)[:k]
            expected[i, j] = 2 * cosines[i, j] - np.mean(of_query) - np.mean(of_candidate)
    assert csls(cosines, k) == pytest.approx(expected, abs=1e-12)
    turned = csls(cosines.T, k).T
    assert turned == pytest.approx(expected, abs=1e-12)


def test_csls_takes_a_hub_down() -> None:
    # Picture 0 is near to every brain, so only brain 0 finds its own by cosine.
    cosines = 0.3 * np.eye(6) + 0.2
    cosines[:, 0] = 0.6
    cosines[0, 0] = 0.9
    assert top_k(retrieval_ranks(cosines), 1).tolist() == [1, 0, 0, 0, 0, 0]
    assert top_k(retrieval_ranks(csls(cosines, k=2)), 1).tolist() == [1] * 6


def test_csls_without_hubs_keeps_the_order() -> None:
    # Every query and every candidate has the same neighbourhood.
    cosines = np.cos(np.subtract.outer(np.arange(12), np.arange(12)) * np.pi / 6)
    assert csls(cosines, 4) == pytest.approx(2 * cosines - 2 * np.sort(cosines[0])[-4:].mean(), abs=1e-12)


def test_csls_counts_repeats_and_leaves_nan_where_it_was() -> None:
    cosines = np.random.default_rng(13).uniform(-1, 1, (6, 7))
    repeated = cosines[:, [0, 0, 1, 2, 3, 4, 5, 6]]
    # Both copies of candidate 0 are neighbours of a query, so k = 2 may be used up by one stimulus.
    first = cosines[:, 0] > np.sort(cosines[:, 1:], axis=1)[:, -1]
    assert first.any()
    of_query = 2 * repeated[:, 0] - csls(repeated, 2)[:, 0] - np.sort(cosines[:, 0])[-2:].mean()
    assert of_query[first] == pytest.approx(cosines[first, 0], abs=1e-12)
    broken = cosines.copy()
    broken[2] = np.nan
    left = np.delete(np.arange(6), 2)
    assert np.isnan(csls(broken, 3)[2]).all()
    assert csls(broken, 3)[left] == pytest.approx(csls(cosines[left], 3), abs=1e-12)


def test_csls_refuses_what_it_cannot_scale() -> None:
    with pytest.raises(ValueError, match="at least 1 neighbour"):
        csls(np.eye(3), 0)
    with pytest.raises(ValueError, match=r"\(n, m\)"):
        csls(np.ones(3))
