"""Polynomials of Gaussian latents whose mean is 0 and whose covariance is the identity, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class HermiteFeatures:
    """Hermite polynomials of z ~ N(0, I): all z_i, then for chosen pairs (z_i^2 - 1) / sqrt 2 or z_i z_j.

    Attributes:
        n_latents: K, length of z.
        first: int64 (Q,), i of each pair.
        second: int64 (Q,), j of each pair, j >= i; equal for a square.
    """

    n_latents: int
    first: IntArray
    second: IntArray

    @property
    def n_features(self) -> int:
        """K + Q."""
        return self.n_latents + len(self.first)

    @property
    def factor(self) -> FloatArray:
        """What the product of a pair is multiplied by, 1 / sqrt 2 for squares, else 1, (Q,)."""
        return np.where(self.first == self.second, np.sqrt(0.5), 1.0)

    @property
    def offset(self) -> FloatArray:
        """What is taken off after that, 1 / sqrt 2 for squares, else 0, (Q,)."""
        return np.where(self.first == self.second, np.sqrt(0.5), 0.0)

    def __call__(self, latents: FloatArray) -> FloatArray:
        """Evaluate the polynomials of latents (n, K), float64 (n, K + Q)."""
        products = latents[:, self.first] * latents[:, self.second] * self.factor - self.offset
        return np.concatenate([latents, products], axis=1)

    def jacobian(self, latents: FloatArray) -> FloatArray:
        """Differentiate the polynomials by the latents (n, K), float64 (n, K + Q, K)."""
        n = len(latents)
        slopes = np.zeros((n, self.n_features, self.n_latents))
        slopes[:, : self.n_latents] = np.eye(self.n_latents)
        pair = np.arange(len(self.first))
        slopes[:, self.n_latents + pair, self.first] += self.factor * latents[:, self.second]
        slopes[:, self.n_latents + pair, self.second] += self.factor * latents[:, self.first]
        return slopes


def choose_pairs(influence: FloatArray, n_pairs: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Choose pairs of latents, a latent with itself included, without replacement.

    Args:
        influence: Variance that each latent accounts for, (K,); a pair's chance grows with the product.
        n_pairs: Pairs wanted; all K (K + 1) / 2 at most.
        rng: Source of chance.

    Returns:
        int64 (Q,) first and second latent, first <= second.
    """
    first, second = np.triu_indices(len(influence))
    weight = influence[first] * influence[second]
    count = min(n_pairs, len(first))
    chosen = np.sort(rng.choice(len(first), count, replace=False, p=weight / weight.sum()))
    return first[chosen].astype(np.int64), second[chosen].astype(np.int64)
