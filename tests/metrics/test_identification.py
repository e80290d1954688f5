"""Two-way identification against loops, known answers and chance."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fmri_lightning.metrics.identification import correlation_matrix, two_way_identification


def published(features_truth: NDArray[np.generic], features_recon: NDArray[np.generic]) -> float:
    """The published formulation: one stacked corrcoef, diagonal broadcast along the rows."""
    n = len(features_truth)
    r = np.corrcoef(features_truth, features_recon)[:n, n:]
    return float((r < np.diag(r)).sum(axis=0).mean() / (n - 1))


def by_loops(features_truth: NDArray[np.generic], features_recon: NDArray[np.generic], anchor: str) -> float:
    """Every reconstruction, or every original, against every distractor."""
    n, wins = len(features_truth), 0
    for j in range(n):
        own = np.corrcoef(features_truth[j], features_recon[j])[0, 1]
        for i in range(n):
            pair = (i, j) if anchor == "reconstruction" else (j, i)
            wins += i != j and np.corrcoef(features_truth[pair[0]], features_recon[pair[1]])[0, 1] < own
    return wins / (n * (n - 1))


def test_equals_the_published_formulation() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((40, 70))
    recon = truth + 3 * rng.standard_normal((40, 70))
    score = two_way_identification(correlation_matrix(truth, recon))
    assert score.mean() == pytest.approx(published(truth, recon), abs=1e-12)
    assert score.mean() == pytest.approx(by_loops(truth, recon, "reconstruction"), abs=1e-12)
    turned = two_way_identification(correlation_matrix(truth, recon).T)
    assert turned.mean() == pytest.approx(by_loops(truth, recon, "original"), abs=1e-12)
    # Inputs in the wrong order swap the anchor, and the value.
    swapped = two_way_identification(correlation_matrix(recon, truth))
    assert swapped.mean() == pytest.approx(turned.mean(), abs=1e-12)
    assert swapped.mean() != pytest.approx(score.mean(), abs=1e-9)


def test_many_float32_features_equal_the_published_formulation() -> None:
    # Wide enough for float32 products; independent features crowd around each other, which tests every comparison.
    rng = np.random.default_rng(10)
    truth = np.maximum(rng.standard_normal((60, 10_000), dtype=np.float32), 0)
    for weight in (0.0, 0.01):
        noise = rng.standard_normal(truth.shape, dtype=np.float32)
        recon = np.maximum(weight * truth + noise, 0)
        score = two_way_identification(correlation_matrix(truth, recon))
        assert score.mean() == pytest.approx(published(truth, recon), abs=1e-12)


def test_anchor_is_the_column() -> None:
    similarity = np.array([[0.5, 0.9], [0.1, 0.8]])
    # Reconstruction 0 beats ground truth 1 (0.1 < 0.5); reconstruction 1 loses to ground truth 0.
    assert two_way_identification(similarity).tolist() == [1.0, 0.0]
    assert two_way_identification(similarity.T).tolist() == [0.0, 1.0]


def test_known_answers() -> None:
    features = np.random.default_rng(1).standard_normal((20, 50))
    assert two_way_identification(correlation_matrix(features, features)).tolist() == [1.0] * 20
    assert two_way_identification(-correlation_matrix(features, features)).tolist() == [0.0] * 20
    ties = np.zeros((5, 5))
    assert two_way_identification(ties).tolist() == [0.0] * 5


def test_independent_features_are_at_chance() -> None:
    rng = np.random.default_rng(2)
    scores = [two_way_identification(correlation_matrix(*rng.standard_normal((2, 64, 32)))).mean() for _ in range(200)]
    assert np.mean(scores) == pytest.approx(0.5, abs=4 * 0.29 / np.sqrt(64 * 200))
    assert np.std(scores) == pytest.approx(0.29 / np.sqrt(64), rel=0.25)


def test_equal_ids_are_never_distractors() -> None:
    rng = np.random.default_rng(3)
    similarity = rng.random((9, 9))
    ids = np.array([4, 4, 7, 7, 7, 1, 2, 3, 0])
    expected = []
    for j in range(9):
        rivals = [i for i in range(9) if ids[i] != ids[j]]
        expected.append(np.mean([similarity[i, j] < similarity[j, j] for i in rivals]))
    assert two_way_identification(similarity, ids) == pytest.approx(expected, abs=1e-15)


def test_one_stimulus_alone_has_no_score() -> None:
    assert np.isnan(two_way_identification(np.ones((2, 2)), np.array([3, 3]))).all()


def test_order_of_items_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    similarity, ids = rng.random((12, 12)), rng.integers(0, 6, 12)
    order = rng.permutation(12)
    shuffled = two_way_identification(similarity[np.ix_(order, order)], ids[order])
    assert shuffled.tolist() == two_way_identification(similarity, ids)[order].tolist()


@pytest.mark.parametrize("d", [30, 9000])
def test_constant_features_lose_everywhere(d: int) -> None:
    rng = np.random.default_rng(5)
    truth = rng.standard_normal((6, d)).astype(np.float32)
    recon = truth.copy()
    recon[2] = 0.1
    similarity = correlation_matrix(truth, recon)
    assert np.isnan(similarity).tolist() == [[False, False, True, False, False, False]] * 6
    assert two_way_identification(similarity).tolist() == [1, 1, 0, 1, 1, 1]


@pytest.mark.parametrize("d", [768, 9001])
def test_equal_pictures_of_different_ids_tie_and_lose(d: int) -> None:
    rng = np.random.default_rng(7)
    # 61 rows: products of odd sizes treat their last rows differently.
    truth = rng.standard_normal((61, d)).astype(np.float32)
    truth[60] = truth[3]
    truth[17] = truth[3]
    noise = rng.standard_normal((61, d)).astype(np.float32)
    r = correlation_matrix(truth, truth + noise)
    assert r[60].tobytes() == r[3].tobytes() == r[17].tobytes()
    score = two_way_identification(r)
    assert score[[3, 17, 60]] == pytest.approx(58 / 60, abs=1e-12)
    assert np.delete(score, [3, 17, 60]).tolist() == [1.0] * 58
    assert two_way_identification(r, np.where(np.isin(np.arange(61), [17, 60]), 3, np.arange(61))).tolist() == [1] * 61
    # Equal reconstructions tie for the other anchor.
    turned = correlation_matrix(truth + noise, truth).T
    assert turned[60].tobytes() == turned[3].tobytes() == turned[17].tobytes()
    assert two_way_identification(correlation_matrix(truth, truth)).tolist() == [
        58 / 60 if i in (3, 17, 60) else 1.0 for i in range(61)
    ]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="must be square"):
        two_way_identification(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="3 items need 3 ids"):
        two_way_identification(np.zeros((3, 3)), np.arange(2))
    with pytest.raises(ValueError, match="features must be"):
        correlation_matrix(np.zeros((3, 4)), np.zeros((3, 5)))
