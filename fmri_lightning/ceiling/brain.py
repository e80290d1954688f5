"""A simulated brain without pictures, of which every covariance is known in closed form.

    z ~ N(0, I)                        latents of a picture
    e = mu + A phi(z) + r              its embedding; r, isotropic, is not visible to the brain
    s = C phi(z)                       noiseless responses of the voxels, unit variance
    v = s + noise,  noise ~ N(0, Sigma_n), new in every trial

phi are orthonormal polynomials (:mod:`fmri_lightning.ceiling.features`), so Cov(s) = C C^T and Cov(e, s) = A C^T.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.ceiling.features import FloatArray, HermiteFeatures, IntArray, choose_pairs
from fmri_lightning.ceiling.recipe import KNOWN_RECIPE, KnownRecipe
from fmri_lightning.errors import BadInputError
from fmri_lightning.simulate.recipe import RECIPE


@dataclass(frozen=True, eq=False)
class KnownBrain:
    """V voxels, K latents, F features, D dimensions of the embedding.

    Attributes:
        features: phi, (n, K) → (n, F).
        mean: mu, (D,).
        embedding: A, (D, F).
        residual_sd: Standard deviation of r in each dimension.
        tuning: C, (V, F), rows of unit length.
        ncsnr: Standard deviation of a voxel's signal over that of its noise, (V,).
        ijk: Position of each voxel in a box, int64 (V, 3).
        patterns: Low-rank noise, (V, modes), rows of unit length.
        shares: Share of each part in a voxel's noise variance, part → (V,): independent, smooth, low_rank.
        recipe: What it was drawn by.
        seed: With which seed.
    """

    features: HermiteFeatures
    mean: FloatArray
    embedding: FloatArray
    residual_sd: float
    tuning: FloatArray
    ncsnr: FloatArray
    ijk: IntArray
    patterns: FloatArray
    shares: dict[str, FloatArray]
    recipe: KnownRecipe
    seed: int

    @property
    def n_voxels(self) -> int:
        """V."""
        return len(self.tuning)

    @property
    def noise_sd(self) -> FloatArray:
        """Standard deviation of the noise of one trial, signal standard deviations, (V,)."""
        return 1 / self.ncsnr

    @property
    def voxel_sd(self) -> FloatArray:
        """Standard deviation of a voxel over single trials of random pictures, (V,)."""
        return np.sqrt(1 + self.noise_sd**2)

    @property
    def signal_covariance(self) -> FloatArray:
        """Cov(s) = C C^T, (V, V)."""
        return self.tuning @ self.tuning.T

    @property
    def embedding_signal_covariance(self) -> FloatArray:
        """Cov(e, s) = A C^T, (D, V)."""
        return self.embedding @ self.tuning.T

    @property
    def embedding_covariance(self) -> FloatArray:
        """Cov(e) = A A^T + residual variance, (D, D)."""
        return self.embedding @ self.embedding.T + self.residual_sd**2 * np.eye(len(self.mean))

    @cached_property
    def noise_covariance(self) -> FloatArray:
        """Sigma_n of one trial, (V, V)."""
        low_rank = np.sqrt(self.shares["low_rank"])[:, None] * self.patterns
        smooth = np.sqrt(self.shares["smooth"])
        correlation = low_rank @ low_rank.T + np.outer(smooth, smooth) * smooth_correlation(self.ijk)
        correlation[np.diag_indices(self.n_voxels)] += self.shares["independent"]
        return correlation * np.outer(self.noise_sd, self.noise_sd)

    def draw_latents(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Draw the latents of n pictures, (n, K)."""
        return rng.standard_normal((n, self.features.n_latents))

    def embeddings(self, latents: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Draw the embeddings of pictures with latents (n, K), raw scale, (n, D)."""
        residual = self.residual_sd * rng.standard_normal((len(latents), len(self.mean)))
        return self.mean + self.features(latents) @ self.embedding.T + residual

    def signals(self, latents: FloatArray) -> FloatArray:
        """Compute the noiseless responses to pictures with latents (n, K), (n, V)."""
        return self.features(latents) @ self.tuning.T

    def noise(self, n_trials: int, rng: np.random.Generator) -> FloatArray:
        """Draw the noise of trials part by part, (n_trials, V), in standard deviations of the signal."""
        total = np.sqrt(self.shares["independent"]) * rng.standard_normal((n_trials, self.n_voxels))
        total += np.sqrt(self.shares["smooth"]) * smooth_fields(self.ijk, n_trials, rng)
        modes = rng.standard_normal((n_trials, self.patterns.shape[1]))
        total += np.sqrt(self.shares["low_rank"]) * (modes @ self.patterns.T)
        return total * self.noise_sd


def draw_brain(n_voxels: int, seed: int, recipe: KnownRecipe = KNOWN_RECIPE) -> KnownBrain:
    """Draw all parameters of a brain.

    Args:
        n_voxels: V.
        seed: Of the draw; equal seeds give equal brains.
        recipe: Constants of signal and embedding.

    Returns:
        The brain.

    Raises:
        BadInputError: If there are fewer than two voxels.
    """
    if n_voxels < 2:
        raise BadInputError(f"a known brain has at least 2 voxels, got {n_voxels}; raise --voxels")
    rng = np.random.default_rng([seed, 5501])
    influence: FloatArray = np.arange(1, recipe.latents + 1, dtype=np.float64) ** -recipe.exponent
    features = HermiteFeatures(recipe.latents, *choose_pairs(influence, recipe.quadratic, rng))
    variance = np.r_[influence, influence[features.first] * influence[features.second]]
    ijk = box_positions(n_voxels)
    tuning = _draw_tuning(ijk, variance, recipe, rng)
    ncsnr = RECIPE.ncsnr_median * np.exp(RECIPE.ncsnr_sigma * rng.standard_normal(n_voxels))
    ncsnr = np.minimum(ncsnr, RECIPE.ncsnr_cap)
    mean, embedding, residual_sd = _draw_embedding(variance, recipe, rng)
    return KnownBrain(
        features=features,
        mean=mean,
        embedding=embedding,
        residual_sd=residual_sd,
        tuning=tuning,
        ncsnr=ncsnr,
        ijk=ijk,
        patterns=_principal_patterns(tuning),
        shares=_noise_shares(ncsnr),
        recipe=recipe,
        seed=seed,
    )


def _draw_tuning(ijk: IntArray, variance: FloatArray, recipe: KnownRecipe, rng: np.random.Generator) -> FloatArray:
    """Draw C; neighbours are tuned alike, as in cortex, over the width that RECIPE gives to smooth noise."""
    weights = smooth_fields(ijk, len(variance), rng).T * np.sqrt(variance)
    parts = (slice(None, recipe.latents), 1 - recipe.nonlinear), (slice(recipe.latents, None), recipe.nonlinear)
    for columns, share in parts:
        if weights[:, columns].size:
            weights[:, columns] *= np.sqrt(share) / np.linalg.norm(weights[:, columns], axis=1, keepdims=True)
    return weights


def _draw_embedding(
    variance: FloatArray, recipe: KnownRecipe, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, float]:
    """Draw mu, A and the size of r, so that variances and the norm of the mean are those asked for."""
    centred = recipe.norm**2 * (1 - recipe.mean_cosine**2)  # variance over all dimensions
    directions = rng.standard_normal((recipe.dim, len(variance) + 1))
    directions /= np.linalg.norm(directions, axis=0)
    spread = variance.copy()
    parts = (
        (slice(None, recipe.latents), 1 - recipe.embedding_quadratic),
        (slice(recipe.latents, None), recipe.embedding_quadratic),
    )
    for columns, share in parts:
        if spread[columns].size:
            spread[columns] *= share * (1 - recipe.residual) * centred / spread[columns].sum()
    mean = directions[:, -1] * recipe.norm * recipe.mean_cosine
    return mean, directions[:, :-1] * np.sqrt(spread), float(np.sqrt(recipe.residual * centred / recipe.dim))


def _principal_patterns(tuning: FloatArray) -> FloatArray:
    """Return the leading principal components of the signals at each voxel, rows of unit length, (V, modes)."""
    left, size, _ = np.linalg.svd(tuning, full_matrices=False)
    patterns = (left * size)[:, : RECIPE.low_rank_modes]
    return np.asarray(patterns / np.linalg.norm(patterns, axis=1, keepdims=True))


def _noise_shares(ncsnr: FloatArray) -> dict[str, FloatArray]:
    """Share the noise out as RECIPE does; drift counts as independent, since trials here have no time."""
    low_rank = np.minimum(RECIPE.low_rank_per_signal * ncsnr**2, RECIPE.share_low_rank_cap)
    smooth = np.full(len(ncsnr), RECIPE.share_smooth)
    return {"independent": 1 - smooth - low_rank, "smooth": smooth, "low_rank": low_rank}


def box_positions(n_voxels: int) -> IntArray:
    """Fill a box that is nearly a cube, last axis fastest; int64 (n_voxels, 3)."""
    side = int(np.ceil(np.cbrt(n_voxels)))
    return np.argwhere(np.ones((side, side, side), dtype=bool))[:n_voxels].astype(np.int64)


def smooth_fields(ijk: IntArray, n: int, rng: np.random.Generator) -> FloatArray:
    """Draw Gaussian random fields of unit variance, smooth over the voxels, (n, V)."""
    field: NDArray[np.float64] = rng.standard_normal((n, *(ijk.max(axis=0) + 1)))
    for axis in (1, 2, 3):
        field = np.moveaxis(np.moveaxis(field, axis, -1) @ _smoother(field.shape[axis]), -1, axis)
    return np.ascontiguousarray(field[:, ijk[:, 0], ijk[:, 1], ijk[:, 2]])


def smooth_correlation(ijk: IntArray) -> FloatArray:
    """Compute the correlation of :func:`smooth_fields` between voxels, (V, V), diagonal 1."""
    correlation = np.ones((len(ijk), len(ijk)))
    for axis in range(3):
        smoother = _smoother(int(ijk[:, axis].max()) + 1)
        along = smoother.T @ smoother
        correlation *= along[np.ix_(ijk[:, axis], ijk[:, axis])]
    return correlation


def _smoother(side: int) -> FloatArray:
    """Return a Gaussian smoothing matrix (side, side), columns of unit length, as in simulate/noise.py."""
    offset = np.arange(side)[:, None] - np.arange(side)
    kernel = np.exp(-(offset**2) / (2 * RECIPE.smooth_sigma_voxels**2))
    return np.asarray(kernel / np.linalg.norm(kernel, axis=0))
