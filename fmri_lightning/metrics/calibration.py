"""Does a confidence that knows no ground truth tell which items were decoded well?

A confidence is any number per item that is computed without the true picture, such as the margin between the two best
candidates of a gallery. Discrimination (selective score, Spearman, AUROC) asks only for its order; a calibrated
probability must also be right in size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.checks import ids_or_positions, require_equal_shapes

COVERAGES = (1.0, 0.75, 0.5, 0.25)
# Inverse temperatures in units of 1 / (largest spread of a row): beyond these a softmax is flat, or one-hot.
FLATTEST, SHARPEST = 1e-6, 1e6


class SelectiveScore(NamedTuple):
    """Mean score of the most confident items.

    Attributes:
        coverage: Share of items kept (c,), as asked for.
        score: Their mean score (c,), in the unit of the scores.
        n: Items kept (c,), coverage times all items rounded up.
        area: Mean of the score over all coverages 1/n, 2/n .. 1: the area under the curve. A confidence without
            information has the mean score as its area.
    """

    coverage: NDArray[np.float64]
    score: NDArray[np.float64]
    n: NDArray[np.int64]
    area: float


class Guesses(NamedTuple):
    """Best candidate of each query with the probability that it is the true one.

    Attributes:
        guess: Candidate of highest similarity (n,), an index of the gallery.
        hit: Whether it is the true one (n,); a tie for first place is a miss, as in retrieval.
        probability: Its softmax probability (n,), by the temperature that the other folds fitted.
        fold: Fold of each query (n,), 0..folds-1; a stimulus is in one fold only.
        temperature: Temperature used for each fold (folds,), in the unit of the similarities.
    """

    guess: NDArray[np.int64]
    hit: NDArray[np.bool_]
    probability: NDArray[np.float64]
    fold: NDArray[np.int64]
    temperature: NDArray[np.float64]


class Reliability(NamedTuple):
    """How well probabilities agree with hit rates.

    Attributes:
        expected_calibration_error: Mean over items of |hit rate - mean probability| of their bin, 0..1.
        brier: Mean of (probability - hit)², 0..1.
        probability: Mean probability of each bin that holds items (b,), ascending.
        hit_rate: Share of hits in the bin (b,).
        n: Items in the bin (b,).
    """

    expected_calibration_error: float
    brier: float
    probability: NDArray[np.float64]
    hit_rate: NDArray[np.float64]
    n: NDArray[np.int64]


def gallery_margin(similarity: NDArray[np.floating]) -> NDArray[np.float64]:
    """Similarity of the best candidate minus that of the second best: a confidence without ground truth.

    Args:
        similarity: Matrix (n, m), queries in rows and at least two candidates in columns.

    Returns:
        float64 (n,), 0 for a tie; NaN where a row holds NaN.

    Raises:
        ValueError: Fewer than two candidates.
    """
    if similarity.ndim != 2 or similarity.shape[1] < 2:
        raise ValueError(f"a margin needs at least two candidates, not a matrix of shape {similarity.shape}")
    best = np.partition(np.asarray(similarity, dtype=np.float64), -2, axis=1)[:, -2:]
    return np.where(np.isnan(similarity).any(axis=1), np.nan, best[:, 1] - best[:, 0])


def selective_score(
    confidence: NDArray[np.generic], scores: NDArray[np.generic], coverages: Sequence[float] = COVERAGES
) -> SelectiveScore:
    """Mean score when only the most confident items are kept.

    Items of equal confidence share their mean score, which is the expectation over all their orders.

    Args:
        confidence: One value per item (n,), larger is surer.
        scores: One score per item (n,), any unit.
        coverages: Shares of items to keep, each in (0, 1].

    Returns:
        The scores at these coverages and the area under the whole curve.

    Raises:
        ValueError: Unpaired, no items, NaN, or a coverage outside (0, 1].
    """
    sure, values = _paired(confidence, scores, "confidence and scores")
    share = np.asarray(coverages, dtype=np.float64)
    if np.any(share <= 0) or np.any(share > 1):
        raise ValueError(f"a coverage must be in (0, 1], not {list(coverages)}")
    _, tied = np.unique(-sure, return_inverse=True)
    expected = (np.bincount(tied, weights=values) / np.bincount(tied))[np.sort(tied)]
    curve = np.cumsum(expected) / np.arange(1, values.size + 1)
    kept = np.ceil(share * values.size - 1e-9).astype(np.int64)
    return SelectiveScore(share, curve[kept - 1], kept, float(curve.mean()))


def spearman(confidence: NDArray[np.generic], scores: NDArray[np.generic]) -> float:
    """Spearman rank correlation of confidence and score; ties have their mean rank.

    Args:
        confidence: One value per item (n,).
        scores: One score per item (n,).

    Returns:
        rho in -1..1; NaN where either is constant.

    Raises:
        ValueError: Unpaired, no items, or NaN.
    """
    sure, values = _paired(confidence, scores, "confidence and scores")
    a, b = _mean_ranks(sure), _mean_ranks(values)
    a, b = a - a.mean(), b - b.mean()
    power = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / power if power > 0 else float("nan")


def auroc(confidence: NDArray[np.generic], hits: NDArray[np.generic]) -> float:
    """Chance that a hit has more confidence than a miss (Mann & Whitney, 1947); a tie counts one half.

    Args:
        confidence: One value per item (n,).
        hits: Whether each item was right (n,), bool or 0 and 1.

    Returns:
        Area under the ROC curve in 0..1, .5 without information; NaN when all items are hits, or all misses.

    Raises:
        ValueError: Unpaired, no items, NaN, or hits other than 0 and 1.
    """
    sure, right = _paired(confidence, hits, "confidence and hits")
    _require_binary(right)
    n_hits = float(right.sum())
    pairs = n_hits * (right.size - n_hits)
    if pairs == 0:
        return float("nan")
    return float((_mean_ranks(sure)[right == 1].sum() - n_hits * (n_hits + 1) / 2) / pairs)


def fit_temperature(similarity: NDArray[np.floating], true: NDArray[np.integer]) -> float:
    """Temperature T of maximum likelihood: argmax of sum_i log softmax(similarity[i] / T)[true[i]].

    The likelihood is concave in 1 / T, so its slope is followed to zero by Newton steps inside a shrinking bracket.

    Args:
        similarity: Matrix (n, m), queries in rows and candidates in columns, such as cosines.
        true: Column of the true candidate of each query (n,).

    Returns:
        T > 0 in the unit of the similarities. Where every guess is right, or none is better than chance, the
        likelihood has no maximum inside: T is then 1e-6 or 1e6 times the largest spread of a row.

    Raises:
        ValueError: Shapes that do not fit, an index outside the gallery, or a similarity that is not finite.
    """
    logits, place = _gallery(similarity, true)
    logits = logits - logits.max(axis=1, keepdims=True)
    scale = float(-logits.min())
    if scale == 0:
        return 1.0
    logits /= scale
    own = float(logits[np.arange(len(place)), place].sum())
    # The slope keeps its sign to the end: every guess right, or none better than drawing at random.
    if own == 0:
        return scale / SHARPEST
    if own <= logits.mean(axis=1).sum():
        return scale / FLATTEST
    low, high, log_inverse = np.log(FLATTEST), np.log(SHARPEST), 0.0
    for _ in range(100):
        inverse = np.exp(log_inverse)
        weights = np.exp(logits * inverse)
        weights /= weights.sum(axis=1, keepdims=True)
        mean = np.einsum("ij,ij->i", weights, logits)
        slope = own - float(mean.sum())
        low, high = (log_inverse, high) if slope > 0 else (low, log_inverse)
        curvature = inverse * float((np.einsum("ij,ij,ij->i", weights, logits, logits) - mean**2).sum())
        newton = log_inverse + slope / curvature if curvature > 0 else np.inf
        following = newton if low < newton < high else (low + high) / 2
        if abs(following - log_inverse) < 1e-12:
            break
        log_inverse = following
    return float(scale / np.exp(log_inverse))


def cross_fitted_guesses(
    similarity: NDArray[np.floating],
    true: NDArray[np.integer],
    ids: NDArray[np.integer] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Guesses:
    """Probability of each top-1 guess, ``softmax(similarity / T)`` over the gallery, T fitted on the other folds.

    Args:
        similarity: Matrix (n, m), queries in rows and candidates in columns, such as cosines.
        true: Column of the true candidate of each query (n,); repeats of a stimulus may share it.
        ids: Stimulus of each query (n,). Folds are made of stimuli: an item's own stimulus never fits its temperature.
        folds: Number of folds, at least 2.
        seed: Seed of the folds; they depend on the ids and the seed, not on the order of items.

    Returns:
        Guess, hit and probability of each query, with the temperatures.

    Raises:
        ValueError: As :func:`fit_temperature`; fewer stimuli than folds, or fewer than two folds.
    """
    logits, place = _gallery(similarity, true)
    n = len(place)
    stimuli, block = np.unique(ids_or_positions(ids, n), return_inverse=True)
    if not 2 <= folds <= len(stimuli):
        raise ValueError(
            f"{len(stimuli)} stimuli cannot be cut into {folds} folds; at least 2 folds, one stimulus each"
        )
    fold = (np.random.default_rng(seed).permutation(len(stimuli)) % folds)[block]
    temperature = np.array([fit_temperature(logits[fold != f], place[fold != f]) for f in range(folds)])
    guess = np.argmax(logits, axis=1)
    best = logits[np.arange(n), guess]
    alone = (logits == best[:, None]).sum(axis=1) == 1
    probability = 1.0 / np.exp((logits - best[:, None]) / temperature[fold][:, None]).sum(axis=1)
    return Guesses(guess, alone & (guess == place), probability, fold, temperature)


def reliability(probability: NDArray[np.generic], hits: NDArray[np.generic], bins: int = 10) -> Reliability:
    """Compare probabilities with hit rates in bins of equal mass.

    Bin edges are the quantiles of the probabilities, as ``calibration_curve(strategy="quantile")`` of scikit-learn:
    equal probabilities share a bin, so that heavy ties leave fewer bins. Even perfect probabilities have an expected
    error above 0 in a finite sample, about ``sqrt(2 p (1 - p) bins / (pi n))``.

    Args:
        probability: Probability of a hit per item (n,), 0..1.
        hits: Whether each item was a hit (n,), bool or 0 and 1.
        bins: Number of bins.

    Returns:
        Expected calibration error, Brier score and the points of the reliability curve.

    Raises:
        ValueError: Unpaired, no items, NaN, a probability outside 0..1, hits other than 0 and 1, or no bins.
    """
    chance, right = _paired(probability, hits, "probabilities and hits")
    _require_binary(right)
    if chance.min() < 0 or chance.max() > 1:
        raise ValueError(f"probabilities must be in 0..1, not {chance.min()} to {chance.max()}")
    if bins < 1:
        raise ValueError(f"at least one bin is needed, not {bins}")
    edges = np.quantile(chance, np.linspace(0, 1, bins + 1))
    of_item = np.searchsorted(edges[1:-1], chance)
    n = np.bincount(of_item, minlength=bins)
    filled = n > 0
    mean = np.bincount(of_item, weights=chance, minlength=bins)[filled] / n[filled]
    rate = np.bincount(of_item, weights=right, minlength=bins)[filled] / n[filled]
    error = float((np.abs(rate - mean) * n[filled]).sum() / chance.size)
    return Reliability(error, float(np.square(chance - right).mean()), mean, rate, n[filled])


def _paired(
    a: NDArray[np.generic], b: NDArray[np.generic], what: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    require_equal_shapes(x, y, what)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"{what} must be (n,) with n > 0, not {x.shape}")
    undefined = int((np.isnan(x) | np.isnan(y)).sum())
    if undefined:
        raise ValueError(f"{undefined} of {x.size} {what} are NaN; drop and count them first")
    return x, y


def _gallery(
    similarity: NDArray[np.floating], true: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    logits, place = np.asarray(similarity, dtype=np.float64), np.asarray(true, dtype=np.int64)
    if logits.ndim != 2 or logits.size == 0 or place.shape != (len(logits),):
        raise ValueError(f"similarities (n, m) need n true columns, not shapes {logits.shape} and {place.shape}")
    if place.min() < 0 or place.max() >= logits.shape[1]:
        raise ValueError(f"a true column stands outside the gallery of {logits.shape[1]} candidates")
    if not np.isfinite(logits).all():
        raise ValueError("similarities must be finite; drop and count the undefined queries first")
    return logits, place


def _require_binary(hits: NDArray[np.float64]) -> None:
    if not np.isin(hits, (0.0, 1.0)).all():
        raise ValueError("hits must be bool, or 0 and 1")


def _mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[which])
