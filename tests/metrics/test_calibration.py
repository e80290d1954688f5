"""Calibration against scikit-learn and scipy, and on probabilities that are right by construction."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import spearmanr
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score

from fmri_lightning.metrics.calibration import (
    auroc,
    cross_fitted_guesses,
    fit_temperature,
    gallery_margin,
    reliability,
    selective_score,
    spearman,
)


def drawn_from_softmax(n, m, temperature, seed):
    """Similarities of which ``softmax(similarity / temperature)`` is the true distribution of the right candidate."""
    rng = np.random.default_rng(seed)
    similarity = temperature * rng.standard_normal((n, m)) * rng.gamma(2.0, size=(n, 1))
    probability = softmax(similarity / temperature, axis=1)
    true = (probability.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return similarity, np.minimum(true, m - 1), probability


def test_margin_is_best_minus_second_best():
    assert gallery_margin(np.array([[0.1, 0.9, 0.4], [0.7, 0.7, 0.2]])) == pytest.approx([0.5, 0.0])
    assert np.isnan(gallery_margin(np.array([[np.nan, 0.9, 0.4]]))).all()
    with pytest.raises(ValueError, match="two candidates"):
        gallery_margin(np.ones((3, 1)))


def test_selective_score_by_hand():
    found = selective_score(np.array([4, 1, 3, 2]), np.array([1.0, 0.0, 1.0, 0.5]))
    assert found.coverage.tolist() == [1.0, 0.75, 0.5, 0.25]
    assert found.n.tolist() == [4, 3, 2, 1]
    assert found.score == pytest.approx([0.625, 2.5 / 3, 1.0, 1.0])
    assert found.area == pytest.approx(np.mean([1, 1, 2.5 / 3, 0.625]))
    # Five items at 50 %: rounded up.
    assert selective_score(np.arange(5), np.arange(5), [0.5]).n.tolist() == [3]
    assert selective_score(np.arange(100), np.arange(100), [0.07]).n.tolist() == [7]


def test_ties_of_confidence_are_the_expectation_over_orders():
    rng = np.random.default_rng(0)
    confidence, scores = rng.integers(0, 3, 12), rng.random(12)
    found = selective_score(confidence, scores)
    broken = [selective_score(confidence + 1e-3 * rng.random(12), scores) for _ in range(4000)]
    assert found.score == pytest.approx(np.mean([one.score for one in broken], axis=0), abs=0.01)
    assert found.area == pytest.approx(np.mean([one.area for one in broken]), abs=0.01)
    order = rng.permutation(12)
    assert selective_score(confidence[order], scores[order]).score == pytest.approx(found.score, abs=1e-12)
    assert selective_score(np.ones(12), scores).area == pytest.approx(scores.mean())


def test_spearman_equals_scipy():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 9, 60), rng.random(60)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert spearman(b, np.exp(b)) == pytest.approx(1.0)
    assert np.isnan(spearman(np.ones(5), np.arange(5)))


def test_auroc_equals_scikit_learn():
    rng = np.random.default_rng(2)
    hits = rng.random(80) < 0.3
    for confidence in (rng.random(80), rng.integers(0, 4, 80) + hits):
        assert auroc(confidence, hits) == pytest.approx(roc_auc_score(hits, confidence), abs=1e-12)
    assert auroc(hits, hits) == 1.0
    assert np.isnan(auroc(np.arange(4), np.ones(4)))


def test_temperature_is_the_maximum_of_the_likelihood():
    similarity, true, _ = drawn_from_softmax(300, 20, 0.05, 3)

    def loss(log_t):
        return -log_softmax(similarity / np.exp(log_t), axis=1)[np.arange(300), true].sum()

    best = minimize_scalar(loss, bounds=(-8, 2), method="bounded", options={"xatol": 1e-9})
    assert fit_temperature(similarity, true) == pytest.approx(np.exp(best.x), rel=1e-5)
    assert fit_temperature(similarity + 3.0, true) == pytest.approx(np.exp(best.x), rel=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 0.07, 1.0, 250.0])
def test_temperature_recovers_the_scale(scale):
    similarity, true, _ = drawn_from_softmax(6000, 15, 1.0, 4)
    fitted = fit_temperature(similarity, true)
    assert fitted == pytest.approx(1.0, abs=0.05)
    assert fit_temperature(scale * similarity, true) == pytest.approx(scale * fitted, rel=1e-8)


def test_likelihood_without_a_maximum_stops_at_the_bounds():
    assert fit_temperature(np.eye(4), np.arange(4)) == pytest.approx(1e-6, rel=1e-6)
    assert fit_temperature(-np.eye(4), np.arange(4)) == pytest.approx(1e6, rel=1e-6)
    assert fit_temperature(np.ones((4, 4)), np.arange(4)) == 1.0


def test_true_probabilities_have_no_calibration_error():
    similarity, true, probability = drawn_from_softmax(20_000, 15, 1.0, 5)
    guess = probability.argmax(axis=1)
    found = reliability(probability.max(axis=1), guess == true)
    # Ten bins of 2,000: the error that chance leaves is the mean of |N(0, p (1 - p) / 2000)|.
    assert found.expected_calibration_error < 0.015
    assert found.hit_rate == pytest.approx(found.probability, abs=4 * np.sqrt(0.25 / 2000))
    assert found.n.tolist() == [2000] * 10
    wrong = reliability(softmax(3 * similarity, axis=1).max(axis=1), guess == true)
    assert wrong.expected_calibration_error > 0.1
    mended = cross_fitted_guesses(3 * similarity, true)
    assert mended.temperature == pytest.approx(np.full(5, 3.0), rel=0.05)
    assert reliability(mended.probability, mended.hit).expected_calibration_error < 0.015
    assert mended.guess.tolist() == guess.tolist()


def test_reliability_equals_scikit_learn():
    rng = np.random.default_rng(6)
    for probability in (rng.beta(1, 3, 500), rng.integers(0, 6, 500) / 5):
        hits = rng.random(500) < probability**1.5
        found = reliability(probability, hits)
        rate, mean = calibration_curve(hits, probability, n_bins=10, strategy="quantile")
        assert found.hit_rate == pytest.approx(rate, abs=1e-12)
        assert found.probability == pytest.approx(mean, abs=1e-12)
        assert found.brier == pytest.approx(brier_score_loss(hits, probability), abs=1e-12)
        error = (np.abs(rate - mean) * found.n).sum() / 500
        assert found.expected_calibration_error == pytest.approx(error, abs=1e-12)


def test_probability_of_an_item_never_saw_its_stimulus():
    similarity, true, _ = drawn_from_softmax(60, 10, 0.1, 7)
    ids = np.arange(60) // 3
    found = cross_fitted_guesses(similarity, true, ids, folds=4, seed=1)
    assert all(len(set(found.fold[ids == i])) == 1 for i in range(20))
    assert np.bincount(found.fold).tolist() == [15] * 4
    for f in range(4):
        others = found.fold != f
        assert found.temperature[f] == fit_temperature(similarity[others], true[others])
    expected = softmax(similarity / found.temperature[found.fold][:, None], axis=1).max(axis=1)
    assert found.probability == pytest.approx(expected, abs=1e-12)
    again = cross_fitted_guesses(similarity, true, ids, folds=4, seed=1)
    assert again.probability.tobytes() == found.probability.tobytes()
    order = np.random.default_rng(0).permutation(60)
    shuffled = cross_fitted_guesses(similarity[order], true[order], ids[order], folds=4, seed=1)
    assert shuffled.fold.tolist() == found.fold[order].tolist()
    assert shuffled.probability == pytest.approx(found.probability[order], abs=1e-9)
    assert cross_fitted_guesses(similarity, true, ids, folds=4, seed=2).fold.tolist() != found.fold.tolist()


def test_a_tie_for_first_place_is_a_miss():
    similarity = np.array([[0.5, 0.5, 0.1], [0.1, 0.6, 0.2], [0.3, 0.4, 0.9]])
    assert cross_fitted_guesses(similarity, np.array([0, 1, 1]), folds=3).hit.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: selective_score(np.arange(3), np.arange(4)), "differ in shape"),
        (lambda: selective_score(np.arange(2), np.array([1, np.nan])), "1 of 2 .* NaN"),
        (lambda: selective_score(np.arange(2), np.arange(2), [0.0]), "coverage"),
        (lambda: spearman(np.array([]), np.array([])), "n > 0"),
        (lambda: auroc(np.arange(2), np.array([0, 2])), "0 and 1"),
        (lambda: reliability(np.array([0.1, 1.2]), np.array([0, 1])), r"in 0\.\.1"),
        (lambda: reliability(np.array([0.1, 0.2]), np.array([0, 1]), 0), "one bin"),
        (lambda: fit_temperature(np.eye(3), np.arange(2)), "n true columns"),
        (lambda: fit_temperature(np.eye(3), np.arange(1, 4)), "outside the gallery"),
        (lambda: fit_temperature(np.full((2, 2), np.nan), np.arange(2)), "finite"),
        (lambda: cross_fitted_guesses(np.eye(3), np.arange(3)), "3 stimuli cannot be cut into 5"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
