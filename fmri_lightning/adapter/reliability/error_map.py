"""From an item's uncertainty to its expected error: a monotone map fitted on val pictures, or one number for all.

The map is chosen by cross-validation over pictures, and so is the answer to whether it orders errors at all: where the
interval of the rank correlation on held-out pictures includes 0, every item gets the same error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from fmri_lightning.errors import BadInputError

Kind = Literal["power_law", "isotonic_variance", "isotonic_ratio", "constant"]
KINDS: tuple[Kind, ...] = ("power_law", "isotonic_variance", "isotonic_ratio")
FOLDS = 5
MIN_STIMULI = 10
"""Two a fold: with fewer, neither map nor ordering can be judged."""
RESAMPLES = 2000

_TINY = 1e-12
NO_EXPONENTS = np.zeros(3)


@dataclass(frozen=True, eq=False)
class ErrorMap:
    """Piecewise linear and rising, in logarithms; beyond the val pictures it keeps the value of the last one.

    Attributes:
        kind: power_law (of all numbers, exponents at least 0), isotonic_variance (any rising function of model plus
            repeats), isotonic_ratio (of the same times faintness), or constant.
        exponents: Of the three numbers in power_law, (3,) float64.
        index: Knots, ascending, (k,) float64.
        log_error: Logarithm of the RMS error at each knot, (k,) float64, never falling.
    """

    kind: Kind
    exponents: NDArray[np.float64]
    index: NDArray[np.float64]
    log_error: NDArray[np.float64]

    def errors(self, signals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Expected RMS errors of items with their numbers (n, 3), (n,), standardised."""
        index = _index(self.kind, self.exponents, signals)
        return np.asarray(np.exp(np.interp(index, self.index, self.log_error)))


@dataclass(frozen=True)
class Ordering:
    """How well expected errors order the errors of pictures that the map was not fitted on.

    Attributes:
        rho: Spearman's rank correlation within held-out folds; NaN where there is nothing to order by.
        low: Lower end of its 95 % interval, by resampling pictures.
        high: Upper end.
        n_stimuli: Pictures.
    """

    rho: float
    low: float
    high: float
    n_stimuli: int

    @property
    def useful(self) -> bool:
        """Whether the interval lies above 0."""
        return bool(self.low > 0)


def fit_error_map(
    signals: NDArray[np.float64], errors: NDArray[np.floating], nsd_ids: NDArray[np.integer], seed: int = 0
) -> tuple[ErrorMap, Ordering]:
    """Fit the map, and judge it.

    Args:
        signals: Model, repeats and faintness of each item, (n, 3), at least 0.
        errors: RMS error of each item's prediction, (n,), standardised, above 0.
        nsd_ids: Picture of each item, (n,); items of one are held out together.
        seed: Of folds and resampling.

    Returns:
        The map, constant where the ordering is not useful, and the ordering.

    Raises:
        BadInputError: Fewer than 10 pictures, or a number that is not finite.
    """
    values = np.asarray(errors, dtype=np.float64)
    if not (np.isfinite(signals).all() and np.isfinite(values).all()) or (signals < 0).any():
        raise BadInputError("reliability: uncertainties or errors hold NaN or infinity; look at the encoder")
    stimuli, block = np.unique(nsd_ids, return_inverse=True)
    if len(stimuli) < MIN_STIMULI:
        raise BadInputError(
            f"reliability: {len(stimuli)} val pictures are too few to learn errors from, {MIN_STIMULI} are needed; "
            "index more sessions: fmri-lightning index"
        )
    expected, fold = held_out_errors(signals, values, nsd_ids, seed)
    ordering = _ordering(expected, values, fold, block, seed)
    kind = _choose(signals, values, block, seed) if ordering.useful else "constant"
    return _fit(kind, signals, values), ordering


def held_out_errors(
    signals: NDArray[np.float64], errors: NDArray[np.float64], nsd_ids: NDArray[np.integer], seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Expect the error of each item by a map that was chosen and fitted on the pictures of the other folds.

    Args:
        signals: As for :func:`fit_error_map`, (n, 3).
        errors: RMS errors, (n,).
        nsd_ids: Picture of each item, (n,).
        seed: Of the folds.

    Returns:
        Expected RMS errors (n,), and the fold of each item (n,).
    """
    stimuli, block = np.unique(nsd_ids, return_inverse=True)
    fold = _folds(len(stimuli), seed)[block]
    expected = np.empty(len(errors))
    for f in range(FOLDS):
        rest = fold != f
        kind = _choose(signals[rest], errors[rest], block[rest], seed)
        expected[~rest] = _fit(kind, signals[rest], errors[rest]).errors(signals[~rest])
    return expected, fold


def _folds(n: int, seed: int) -> NDArray[np.int64]:
    return np.asarray(np.random.default_rng(seed).permutation(n) % FOLDS)


def _choose(signals: NDArray[np.float64], errors: NDArray[np.float64], block: NDArray[np.integer], seed: int) -> Kind:
    """Choose the map whose held-out logarithms are nearest."""
    _, own = np.unique(block, return_inverse=True)
    fold = _folds(int(own.max()) + 1, seed)[own]
    losses = []
    for kind in KINDS:
        loss = 0.0
        for f in range(FOLDS):
            rest = fold != f
            found = _log(_fit(kind, signals[rest], errors[rest]).errors(signals[~rest]))
            loss += float(np.square(found - _log(errors[~rest])).sum())
        losses.append(loss)
    return KINDS[int(np.argmin(losses))]


def _fit(kind: Kind, signals: NDArray[np.float64], errors: NDArray[np.float64]) -> ErrorMap:
    fitted = _of_logarithms(kind, signals, _log(errors))
    # The mean of a logarithm lies below that of what it is of: the mean squared error is to be right on average.
    shift = 0.5 * float(np.log(max(np.square(errors).mean(), _TINY) / np.square(fitted.errors(signals)).mean()))
    return ErrorMap(kind, fitted.exponents, fitted.index, fitted.log_error + shift)


def _of_logarithms(kind: Kind, signals: NDArray[np.float64], log_errors: NDArray[np.float64]) -> ErrorMap:
    mean = float(log_errors.mean())
    if kind == "constant":
        return ErrorMap(kind, NO_EXPONENTS, np.zeros(1), np.array([mean]))
    if kind == "power_law":
        from scipy.optimize import nnls

        logs = _log(signals)
        exponents = nnls(logs - logs.mean(axis=0), log_errors - mean)[0]
        index = logs @ exponents
        ends = np.array([index.min(), index.max()])
        return ErrorMap(kind, exponents, ends, ends + mean - float(index.mean()))
    from sklearn.isotonic import IsotonicRegression

    index = _index(kind, NO_EXPONENTS, signals)
    found = IsotonicRegression(out_of_bounds="clip").fit(index, log_errors)
    return ErrorMap(kind, NO_EXPONENTS, np.asarray(found.X_thresholds_), np.asarray(found.y_thresholds_))


def _index(kind: Kind, exponents: NDArray[np.float64], signals: NDArray[np.float64]) -> NDArray[np.float64]:
    if kind == "constant":
        return np.zeros(len(signals))
    if kind == "power_law":
        return np.asarray(_log(signals) @ exponents)
    variance = _log(signals[:, :2].sum(axis=1))
    return variance + _log(signals[:, 2]) if kind == "isotonic_ratio" else variance


def _log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(values, _TINY)))


def _ordering(
    expected: NDArray[np.float64],
    errors: NDArray[np.float64],
    fold: NDArray[np.int64],
    block: NDArray[np.integer],
    seed: int,
) -> Ordering:
    """Rank correlation within folds, averaged: maps of different folds are not compared with each other.

    Resampled pictures keep the ranks they had, so that thousands of resamples are one matrix product.
    """
    rng = np.random.default_rng(seed)
    n_stimuli = int(block.max()) + 1
    rho, resampled = 0.0, np.zeros(RESAMPLES)
    informed = False
    for f in range(FOLDS):
        items = np.flatnonzero(fold == f)
        stimuli, own = np.unique(block[items], return_inverse=True)
        drawn = rng.multinomial(len(stimuli), np.full(len(stimuli), 1 / len(stimuli)), size=RESAMPLES)
        weights = np.r_[np.ones((1, len(items))), drawn[:, own]]
        ranks_expected, ranks_errors = rankdata(expected[items]), rankdata(errors[items])
        found = _weighted_correlation(ranks_expected, ranks_errors, weights)
        informed |= bool(np.ptp(ranks_expected) > 0)
        share = len(items) / len(errors)
        rho, resampled = rho + share * float(found[0]), resampled + share * found[1:]
    if not informed:
        return Ordering(float("nan"), float("nan"), float("nan"), n_stimuli)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Ordering(rho, float(low), float(high), n_stimuli)


def _weighted_correlation(
    a: NDArray[np.float64], b: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Correlation of a and b (n,) by each row of weights (m, n); 0 where one does not vary: it orders nothing."""
    total = weights.sum(axis=1)
    mean_a, mean_b = weights @ a / total, weights @ b / total
    covariance = weights @ (a * b) / total - mean_a * mean_b
    power = (weights @ (a * a) / total - mean_a**2) * (weights @ (b * b) / total - mean_b**2)
    varies = power > _TINY
    return np.where(varies, covariance / np.sqrt(np.where(varies, power, 1.0)), 0.0)
