"""What an item adds as anchor and as distractor, against derivatives and leaving items out."""

import numpy as np
import pytest

from fmri_lightning.metrics.bootstrap import (
    bootstrap_difference,
    bootstrap_interval,
    top_k_influence,
    two_way_influence,
)
from fmri_lightning.metrics.identification import two_way_identification
from fmri_lightning.metrics.retrieval import gallery_ranks, retrieval_ranks, top_k


def noisy(n, seed, signal=1.0):
    return signal * np.eye(n) + np.random.default_rng(seed).standard_normal((n, n))


def weighted_two_way(similarity, ids, weights):
    distractor = ids[:, None] != ids[None, :]
    wins = (similarity < np.diagonal(similarity)[None, :]) & distractor
    per_anchor = (weights @ wins) / (weights @ distractor)
    return (weights * per_anchor).sum() / weights.sum()


@pytest.mark.parametrize("ids", [np.arange(12), np.array([0, 0, 0, 1, 1, 2, 3, 4, 5, 5, 6, 7])])
def test_two_way_influence_is_the_derivative_by_the_weight(ids):
    similarity = noisy(12, 0)
    found = two_way_influence(similarity, ids)
    score = two_way_identification(similarity, ids).mean()
    assert found.mean() == pytest.approx(score, abs=1e-12)
    for item in range(12):
        step = np.where(np.arange(12) == item, 1e-6, 0.0)
        slope = (weighted_two_way(similarity, ids, 1 + step) - weighted_two_way(similarity, ids, 1 - step)) / 2e-6
        assert found[item] - score == pytest.approx(12 * slope, abs=1e-6)


def test_without_distractor_there_is_no_influence():
    assert np.isnan(two_way_influence(np.ones((2, 2)), np.array([3, 3]))).all()


def test_two_way_of_pure_hubs_has_no_spread():
    """Where the commoner truth always wins, the mean is one half whatever the stimuli."""
    typical = np.random.default_rng(1).random(50)
    similarity = np.broadcast_to(typical[:, None], (50, 50))
    assert two_way_identification(similarity).std() > 0.25
    assert two_way_influence(similarity) == pytest.approx(np.full(50, 0.5), abs=0.02)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize(
    "ids", [np.arange(14), np.repeat([4, 9, 1, 7, 3, 8, 2], 2), np.array([1] * 5 + list(range(2, 11)))]
)
def test_top_k_influence_follows_leaving_out(k, ids):
    similarity = noisy(14, 2, 1.5)
    hits = top_k(retrieval_ranks(similarity, ids), k)
    found = top_k_influence(similarity, k, ids)
    assert found.mean() == pytest.approx(hits.mean(), abs=1e-12)
    raw = np.empty(14)
    for stimulus in set(ids.tolist()):
        rest = ids != stimulus
        without = top_k(retrieval_ranks(similarity[np.ix_(rest, rest)], ids[rest]), k)
        raw[~rest] = hits[~rest] - (without - hits[rest]).sum() / (~rest).sum()
    # All that is left is one factor, at most 1.
    factor = np.polyfit(raw - raw.mean(), found - found.mean(), 1)[0]
    assert 0 < factor <= 1 + 1e-12
    assert found - found.mean() == pytest.approx(factor * (raw - raw.mean()), abs=1e-12)
    blocks = [np.sum((x - x.mean())[ids == i]) for x in (found, hits) for i in sorted(set(ids.tolist()))]
    assert np.square(blocks[: len(blocks) // 2]).sum() >= np.square(blocks[len(blocks) // 2 :]).sum() - 1e-12


def test_gallery_of_the_queries_equals_the_square_case():
    similarity, order = noisy(20, 3, 1.5), np.random.default_rng(4).permutation(20)
    ids = np.random.default_rng(5).permutation(90)[:20]
    found = top_k_influence(similarity[:, order], 1, ids, ids[order])
    assert found == pytest.approx(top_k_influence(similarity, 1, ids), abs=1e-12)


def test_repeats_in_a_larger_gallery():
    rng = np.random.default_rng(6)
    ids, gallery = rng.integers(0, 30, 40), rng.permutation(60)
    similarity = rng.standard_normal((40, 60)) + 2.0 * (ids[:, None] == gallery[None, :])
    hits = top_k(gallery_ranks(similarity, ids, gallery), 1)
    assert top_k_influence(similarity, 1, ids, gallery).mean() == pytest.approx(hits.mean(), abs=1e-12)


def test_perfect_and_hopeless_retrieval():
    assert top_k_influence(np.eye(6)).tolist() == [1.0] * 6
    assert top_k_influence(-np.eye(6)).tolist() == [0.0] * 6


def test_unfit_matrices_are_refused():
    with pytest.raises(ValueError, match="square"):
        two_way_influence(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="square"):
        top_k_influence(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="k of at least 1"):
        top_k_influence(np.eye(3), 0)
    with pytest.raises(ValueError, match="twice"):
        top_k_influence(np.eye(2), 1, np.arange(2), np.array([1, 1]))
    with pytest.raises(ValueError, match="lacks"):
        top_k_influence(np.eye(2), 1, np.arange(2), np.array([0, 3]))


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_difference_of_runs_keeps_the_pairs(statistic):
    rng = np.random.default_rng(7)
    hard = 5 * rng.standard_normal(60)
    a, b = hard + 0.5 + 0.1 * rng.standard_normal(60), hard + 0.1 * rng.standard_normal(60)
    found = bootstrap_difference(a, b, statistic=statistic)
    statistic_of = np.mean if statistic == "mean" else np.median
    assert found.value == pytest.approx(statistic_of(a) - statistic_of(b), abs=1e-12)
    assert found.low < found.value < found.high
    alone = bootstrap_interval(a, statistic=statistic)
    assert found.high - found.low < 0.3 * (alone.high - alone.low)
    if statistic == "mean":
        assert found == pytest.approx(bootstrap_interval(a - b), abs=1e-12)
        assert found.low > 0.4
    with pytest.raises(ValueError, match="not paired"):
        bootstrap_difference(a, b[:5])


def test_median_of_uneven_blocks_equals_concatenation():
    rng = np.random.default_rng(8)
    ids = rng.integers(0, 12, 31)
    values = rng.integers(0, 9, 31) / 4
    found = bootstrap_interval(values, ids, "median", n_resamples=300, seed=5)
    members = [values[ids == i] for i in np.unique(ids)]
    drawn = np.random.default_rng(5).integers(0, len(members), size=(300, len(members)))
    medians = [np.median(np.concatenate([members[b] for b in row])) for row in drawn]
    assert found == pytest.approx((np.median(values), *np.quantile(medians, [0.025, 0.975])), abs=1e-12)


def test_chunks_draw_the_same(monkeypatch):
    scores = np.random.default_rng(9).random(50)
    whole = bootstrap_interval(scores)
    monkeypatch.setattr("fmri_lightning.metrics.bootstrap.CHUNK_DRAWS", 50 * 77)
    assert bootstrap_interval(scores) == whole
