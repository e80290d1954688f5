"""What drives each voxel: receptive fields over contrast energy, or a random network over the meaning.

Early voxels (V1 to V3) pool oriented energy, luminance and colour in their receptive field, compressed by a
logarithm. Higher voxels see a two-layer network of rectified conjunctions of attributes, so their signal is no
linear function of the attributes nor of an embedding of the picture. hV4 and the mid-level streams mix both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from fmri_lightning.simulate.geometry import Brain
from fmri_lightning.simulate.pictures import DOMAINS, Meaning
from fmri_lightning.simulate.pyramid import GRID, N_CHANNELS, N_ENERGY, N_ORIENTATIONS, SCALES_CYCLES
from fmri_lightning.simulate.recipe import RECIPE

FloatArray = npt.NDArray[np.float32]

_CONJUNCTION = 5
_UNITS_PER_CENTRE = 24


@dataclass(frozen=True)
class EarlyTuning:
    """Tuning of n voxels to the channels of the pyramid.

    Attributes:
        field: float32 (GRID * GRID, n), receptive field, sums to 1 over the picture.
        weights: float32 (N_CHANNELS, n).
    """

    field: FloatArray
    weights: FloatArray


def draw_early_tuning(brain: Brain, voxels: npt.NDArray[np.int64], rng: np.random.Generator) -> EarlyTuning:
    """Draw the tuning of voxels that have a receptive field.

    Small fields prefer fine scales. Orientation preference is random in each voxel; colour weighs more where the
    meaning of a picture has some say, that is in hV4 and beyond.

    Args:
        brain: Geometry of the subject.
        voxels: int64 (n,), rows of ``brain``.
        rng: Random generator.

    Returns:
        The tuning.
    """
    n = len(voxels)
    position = (np.arange(GRID) + 0.5) / GRID
    gx, gy = np.meshgrid(position, position)
    centre, sigma = brain.centre[voxels], brain.rf_sigma[voxels]
    distance = (gx.ravel()[:, None] - centre[:, 0]) ** 2 + (gy.ravel()[:, None] - centre[:, 1]) ** 2
    # A field narrower than a cell of the grid would vanish between two samples.
    field = np.exp(-distance / (2 * np.maximum(sigma, 0.6 / GRID) ** 2))
    field /= field.sum(axis=0)
    preferred = np.log2(np.clip(1.1 / sigma, 3.0, 24.0)) + rng.normal(0, 0.4, n)
    scale = np.exp(-((np.log2(np.array(SCALES_CYCLES))[:, None] - preferred) ** 2) / 2)
    turn = np.pi * np.arange(N_ORIENTATIONS)[:, None] / N_ORIENTATIONS - rng.uniform(0, np.pi, n)
    orientation = np.exp(1.2 * np.cos(2 * turn))
    energy = scale[:, None] * orientation[None]
    energy = energy.reshape(N_ENERGY, n) / np.linalg.norm(energy.reshape(N_ENERGY, n), axis=0)
    luminance = rng.normal(0, 0.5, (1, n))
    colour = rng.normal(0, 0.4 + 0.6 * brain.semantic[voxels], (2, n))
    weights = np.concatenate([energy, luminance, colour])
    return EarlyTuning(field.astype(np.float32), weights.astype(np.float32))


def early_signal(maps: FloatArray, tuning: EarlyTuning, reference: int | None = None) -> FloatArray:
    """Return the response of early voxels to pictures.

    Args:
        maps: float32 (n_pictures, N_CHANNELS, GRID * GRID) of :func:`pyramid.channel_maps`.
        tuning: Of n_voxels voxels.
        reference: Scale by the first so many pictures; None for all.

    Returns:
        float32 (n_pictures, n_voxels), mean 0 and standard deviation 1 over the pictures of the reference.
    """
    signal = np.zeros((len(maps), tuning.field.shape[1]), dtype=np.float32)
    for channel in range(N_CHANNELS):
        pooled = maps[:, channel] @ tuning.field
        if channel < N_ENERGY:
            pooled = np.log1p(pooled / max(float(np.median(maps[:reference, channel])), 1e-9))
        signal += standardise(pooled, reference) * tuning.weights[channel]
    return standardise(signal, reference)


def higher_signal(
    meaning: Meaning,
    brain: Brain,
    voxels: npt.NDArray[np.int64],
    rng: np.random.Generator,
    reference: int | None = None,
) -> FloatArray:
    """Return the response of higher voxels to the meaning of pictures.

    Hidden units are rectified sums of a few random attributes; neighbouring voxels read similar units, and a
    saturating output makes the second non-linearity. Regions of floc-* read their own domain as well.

    Args:
        meaning: Of n_pictures pictures.
        brain: Geometry of the subject.
        voxels: int64 (n_voxels,), rows of ``brain``.
        rng: Random generator.
        reference: Scale by the first so many pictures; None for all.

    Returns:
        float32 (n_pictures, n_voxels), mean 0 and standard deviation 1 over the pictures of the reference.
    """
    attributes = standardise(meaning.attributes, reference)
    n_attributes, hidden = attributes.shape[1], RECIPE.hidden_units
    mixing = np.zeros((n_attributes, hidden), dtype=np.float32)
    for unit in range(hidden):
        chosen = rng.choice(n_attributes, min(_CONJUNCTION, n_attributes), replace=False)
        mixing[chosen, unit] = rng.normal(size=len(chosen))
    drives = standardise(attributes @ mixing, reference)
    above = np.maximum(drives - rng.uniform(*RECIPE.threshold, hidden).astype(np.float32), 0.0)
    units = standardise(above, reference)
    drive = standardise(units @ _readout(brain.ijk[voxels], hidden, rng), reference)
    domains = standardise(meaning.domains, reference)
    for column, domain in enumerate(DOMAINS):
        selective = brain.labels[f"floc-{domain}"][voxels] > 0
        drive[:, selective] += 1.2 * domains[:, column : column + 1]
    return standardise(np.tanh(RECIPE.output_gain * standardise(drive, reference)), reference)


def _readout(ijk: npt.NDArray[np.int64], hidden: int, rng: np.random.Generator) -> FloatArray:
    """Return weights (hidden, n_voxels) that change smoothly over the cortex, plus each voxel's own."""
    n = len(ijk)
    n_centres = max(4, n // 30)
    patterns = np.zeros((n_centres, hidden))
    for row in patterns:
        row[rng.choice(hidden, _UNITS_PER_CENTRE, replace=False)] = rng.normal(size=_UNITS_PER_CENTRE)
    centres = ijk[rng.choice(n, n_centres)]
    distance = ((ijk[:, None, :] - centres[None]) ** 2).sum(axis=2)
    nearness = np.exp(-distance / (2 * 1.5**2)) + 1e-6
    weights = nearness / np.linalg.norm(nearness, axis=1, keepdims=True) @ patterns
    weights += rng.normal(size=weights.shape) * (rng.random(weights.shape) < 0.04) * 0.8
    readout: FloatArray = weights.T.astype(np.float32)
    return readout


def voxel_signals(
    maps: FloatArray, meaning: Meaning, brain: Brain, rng: np.random.Generator, reference: int | None = None
) -> FloatArray:
    """Return the noiseless response of all voxels of a subject to its pictures.

    Args:
        maps: float32 (n_pictures, N_CHANNELS, GRID * GRID).
        meaning: Of the same pictures.
        brain: Geometry of the subject, V voxels.
        rng: Random generator.
        reference: Scale by the first so many pictures, so that further ones change nothing in them; None for all.

    Returns:
        float32 (n_pictures, V), standardised over the pictures of the reference; 0 outside the cortex.
    """
    signal = np.zeros((len(maps), len(brain.ijk)), dtype=np.float32)
    seeing = np.flatnonzero(brain.semantic < 1)
    understanding = np.flatnonzero(brain.cortex & (brain.semantic > 0))
    early = early_signal(maps, draw_early_tuning(brain, seeing, rng), reference)
    signal[:, seeing] += early * np.sqrt(1 - brain.semantic[seeing]).astype(np.float32)
    higher = higher_signal(meaning, brain, understanding, rng, reference)
    signal[:, understanding] += higher * np.sqrt(brain.semantic[understanding]).astype(np.float32)
    return standardise(signal, reference)


def draw_ncsnr(brain: Brain, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw sigma_signal / sigma_noise of each voxel.

    Inside nsdgeneral the values follow a log-normal law exactly, and early voxels tend to get the high ones;
    the rest of the cortex has its own, lower law.

    Args:
        brain: Geometry of the subject, V voxels.
        rng: Random generator.

    Returns:
        float64 (V,), 0 outside the cortex.
    """
    ncsnr = np.zeros(len(brain.ijk))
    spread = RECIPE.ncsnr_sigma
    visual = np.flatnonzero(brain.nsdgeneral)
    values = RECIPE.ncsnr_median * np.exp(spread * ndtri((np.arange(len(visual)) + 0.5) / len(visual)))
    score = rng.normal(size=len(visual)) + RECIPE.ncsnr_early_lead * (brain.labels["prf-visualrois"][visual] > 0)
    ncsnr[visual[np.argsort(score, kind="stable")]] = values
    rest = np.flatnonzero(brain.cortex & ~brain.nsdgeneral)
    ncsnr[rest] = RECIPE.ncsnr_median_cortex * np.exp(spread * rng.normal(size=len(rest)))
    return np.minimum(ncsnr, RECIPE.ncsnr_cap)


def standardise(values: npt.NDArray[np.floating], reference: int | None = None) -> FloatArray:
    """Return columns with mean 0 and standard deviation 1 over the first ``reference`` rows, or over all, float32.

    Columns that are constant there become 0.
    """
    mean = values[:reference].mean(axis=0, dtype=np.float64)
    centred = values - mean
    spread = np.sqrt((centred[:reference] ** 2).mean(axis=0, dtype=np.float64))
    scores: FloatArray = (centred / np.where(spread > 1e-6, spread, np.inf)).astype(np.float32)
    return scores
