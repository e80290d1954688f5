"""Noise of simulated betas: four parts whose shares of a voxel's noise variance are stated.

independent   new in every voxel and trial;
smooth        Gaussian random field over space, new in every trial;
low_rank      few patterns over the whole brain, the principal components of the signals, so that this part looks
              like changes of the picture and cannot be averaged away over voxels (information-limiting correlations,
              Moreno-Bote et al. 2014, doi:10.1038/nn.3807): in each voxel its variance is a fixed multiple of the
              signal's, up to a cap, as if the subject saw another picture a little;
drift         slow cosines within a session, smooth over space.

Smooth noise and drift have the same share everywhere, the independent part takes what the others leave. Each
part has unit variance in expectation at every voxel and so has their weighted sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from fmri_lightning.simulate.geometry import Brain
from fmri_lightning.simulate.recipe import RECIPE

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class NoiseModel:
    """Noise of one subject, V voxels.

    Attributes:
        brain: Geometry.
        patterns: float32 (n_modes, V), unit length over modes.
        shares: part → float32 (V,), fraction of the voxel's noise variance; they add up to 1.
    """

    brain: Brain
    patterns: FloatArray
    shares: dict[str, FloatArray]

    def parts(self, n_trials: int, rng: np.random.Generator) -> dict[str, FloatArray]:
        """Draw the parts for the trials of one session, each float32 (n_trials, V) with unit variance."""
        n_modes, n_voxels = self.patterns.shape
        waves = _cosines(n_trials)
        return {
            "independent": rng.standard_normal((n_trials, n_voxels), dtype=np.float32),
            "smooth": self._smooth_fields(n_trials, rng),
            "low_rank": rng.standard_normal((n_trials, n_modes), dtype=np.float32) @ self.patterns,
            "drift": waves @ self._smooth_fields(waves.shape[1], rng),
        }

    def draw(self, n_trials: int, rng: np.random.Generator) -> FloatArray:
        """Draw the noise of one session, float32 (n_trials, V), unit variance in expectation."""
        parts = self.parts(n_trials, rng)
        total = np.zeros_like(parts["independent"])
        for name, part in parts.items():
            total += np.sqrt(self.shares[name]) * part
        return total

    def _smooth_fields(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Return n Gaussian random fields at the voxels, float32 (n, V)."""
        field = rng.standard_normal((n, *self.brain.shape), dtype=np.float32)
        for axis, side in enumerate(self.brain.shape, start=1):
            field = np.moveaxis(np.moveaxis(field, axis, -1) @ _smoother(side), -1, axis)
        i, j, k = self.brain.ijk.T
        return np.ascontiguousarray(field[:, i, j, k])


def make_noise_model(brain: Brain, signals: FloatArray, ncsnr: npt.NDArray[np.float64]) -> NoiseModel:
    """Work out patterns and shares of the noise.

    Args:
        brain: Geometry of the subject, V voxels.
        signals: float32 (n_pictures, V), standardised noiseless responses.
        ncsnr: float64 (V,), sigma_signal / sigma_noise.

    Returns:
        The noise model.
    """
    n_modes = min(RECIPE.low_rank_modes, *signals.shape)
    pictures = eigh(signals @ signals.T, subset_by_index=[len(signals) - n_modes, len(signals) - 1])[1]
    # The sign of an eigenvector is the linear algebra library's choice.
    pictures *= np.sign(pictures[np.abs(pictures).argmax(axis=0), np.arange(n_modes)])
    patterns = (pictures.T @ signals).astype(np.float32)
    length = np.linalg.norm(patterns, axis=0)
    patterns /= np.where(length > 0, length, 1)
    low_rank = np.minimum(RECIPE.low_rank_per_signal * ncsnr**2, RECIPE.share_low_rank_cap) * (length > 0)
    rest = 1 - RECIPE.share_smooth - RECIPE.share_drift
    shares = {
        "independent": rest - low_rank,
        "smooth": np.full(len(ncsnr), RECIPE.share_smooth),
        "low_rank": low_rank,
        "drift": np.full(len(ncsnr), RECIPE.share_drift),
    }
    return NoiseModel(brain, patterns, {name: share.astype(np.float32) for name, share in shares.items()})


def _smoother(side: int) -> FloatArray:
    """Return a Gaussian smoothing matrix (side, side) that keeps unit variance up to the edges."""
    offset = np.arange(side)[:, None] - np.arange(side)
    kernel = np.exp(-(offset**2) / (2 * RECIPE.smooth_sigma_voxels**2))
    smoother: FloatArray = (kernel / np.linalg.norm(kernel, axis=0)).astype(np.float32)
    return smoother


def _cosines(n_trials: int) -> FloatArray:
    """Return slow cosines over a session, (n_trials, waves); their squares average to 1 over trials and waves."""
    time = (np.arange(n_trials) + 0.5) / n_trials
    waves = np.sqrt(2.0) * np.cos(np.pi * np.outer(time, np.arange(1, RECIPE.drift_waves + 1)))
    scaled: FloatArray = (waves / np.sqrt(RECIPE.drift_waves)).astype(np.float32)
    return scaled
