"""How much predictions from single repeats of a picture differ, and what their mean is therefore worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError


@dataclass(frozen=True)
class RepeatNoise:
    """Variance between predictions from single repeats, over pictures.

    Attributes:
        variance: Mean over pictures of the variance within one, standardised (of 1, the variance of true embeddings).
        between: Variance over pictures of the true variance within one, as a part of ``variance`` squared.
        dimensions: Over how many independent dimensions one picture's variance is averaged, at least 1.
    """

    variance: float
    between: float
    dimensions: float

    def of_mean(self, within: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Variance of the mean over each item's repeats.

        An item's own variance is trusted as far as pictures were found to differ, beside the error of an estimate from
        so few repeats; the rest is the mean over pictures (empirical Bayes). One repeat says nothing of its own.

        Args:
            within: Variance between the predictions from an item's repeats, (n,); ignored where there is one.
            counts: Repeats of each item, (n,), at least 1.

        Returns:
            (n,), falling with the number of repeats.
        """
        sampling = 2.0 / (np.maximum(counts - 1, 1) * self.dimensions)
        total = self.between + sampling
        own = np.where(counts > 1, self.between / total, 0.0)
        expected = own * np.where(counts > 1, within, 0.0) + (1 - own) * self.variance
        return np.asarray(expected / counts)


def within_variance(
    predictions: NDArray[np.floating], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variance between the predictions of each item's repeats.

    Args:
        predictions: Standardised predictions from single trials, (trials, dim), those of an item side by side.
        counts: Trials of each item, (n,), adding up to the trials.

    Returns:
        Mean over dimensions of the variance (ddof 1), (n,), 0 where there is one trial; and deviations from the
        item's mean (trials, dim).
    """
    values = np.asarray(predictions, dtype=np.float64)
    starts = np.cumsum(counts) - counts
    mean = np.add.reduceat(values, starts, axis=0) / counts[:, None]
    deviations = values - np.repeat(mean, counts, axis=0)
    squares = np.add.reduceat(np.square(deviations).mean(axis=1), starts)
    return squares / np.maximum(counts - 1, 1), deviations


def fit_repeat_noise(predictions: NDArray[np.floating], counts: NDArray[np.int64]) -> RepeatNoise:
    """Estimate the noise of single repeats.

    Args:
        predictions: Standardised predictions from single trials of pictures that the encoder was not fitted on,
            (trials, dim), those of a picture side by side.
        counts: Trials of each picture, (n,).

    Returns:
        The noise; all zero where no picture has two trials.

    Raises:
        BadInputError: A prediction is not finite.
    """
    if not np.isfinite(predictions).all():
        raise BadInputError("reliability: predictions hold NaN or infinity; look at the encoder that made them")
    within, deviations = within_variance(predictions, counts)
    repeated = counts > 1
    if not repeated.any() or not within[repeated].any():
        return RepeatNoise(0.0, 0.0, 1.0)
    freedom = (counts - 1)[repeated].astype(np.float64)
    variance = float(np.average(within[repeated], weights=freedom))
    # (tr C)^2 / tr C^2 of the covariance C of the deviations, from the smaller of its two Gram matrices.
    few = len(deviations) < deviations.shape[1]
    gram = deviations @ deviations.T if few else deviations.T @ deviations
    dimensions = max(1.0, float(np.trace(gram) ** 2 / np.square(gram).sum()))
    spread = float(np.mean(np.square(within[repeated] / variance - 1)))
    between = max(0.0, spread - float(np.mean(2.0 / (freedom * dimensions))))
    return RepeatNoise(variance, between, dimensions)
