"""How reliable a voxel is across repeats of a picture: pair correlations, and NSD's ncsnr.

ncsnr is the ratio of signal to noise standard deviation; its definition and the noise ceiling follow the NSD
Data Manual (Allen et al. 2022). Everything is streamed over blocks of pictures: a store larger than memory will do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.rows import repeat_table
from fmri_lightning.errors import BadInputError

MIN_REPEATED_STIMULI = 100
REPEATS_PROJECTED = 3
NCSNR_AGREES = 0.5
"""Smallest correlation of two ncsnr maps of one brain. Simulated with NSD's ceilings, an estimate from 100 pictures
of three repeats correlates .89 with the truth, from 1,000 pictures .98; maps of shuffled voxels do not correlate."""
_STIMULI_PER_BLOCK = 256


def project_reliability(r: NDArray[np.floating]) -> NDArray[np.float64]:
    """Project the correlation of single repeats to means of three repeats: 3r / (1 + 2r) (Spearman, Brown 1910).

    Args:
        r: Correlation of single repeats, any shape.

    Returns:
        float64, the same shape, -1 to 1; the formula means nothing below r = -1/5, where it would leave that range.
    """
    clipped = np.maximum(np.asarray(r, dtype=np.float64), -1 / 5)
    projected: NDArray[np.float64] = REPEATS_PROJECTED * clipped / (1 + (REPEATS_PROJECTED - 1) * clipped)
    return projected


def pair_reliability(
    betas: NDArray[np.floating],
    groups: list[NDArray[np.int64]],
    n_draws: int = 10,
    seed: int = 0,
    min_stimuli: int = MIN_REPEATED_STIMULI,
) -> NDArray[np.float64]:
    """Correlate random pairs of disjoint single repeats over pictures.

    Each draw takes two different trials of every repeated picture; correlations of the draws are averaged as
    Fisher's z.

    Args:
        betas: T0 betas, (n_trials, n_voxels); may be memory-mapped.
        groups: Rows of each training picture.
        n_draws: Random pairings.
        seed: Of the pairings.
        min_stimuli: Fewest pictures with two trials.

    Returns:
        Correlation of single repeats per voxel, float64 (n_voxels,); 0 where a voxel is constant.

    Raises:
        BadInputError: If too few pictures are repeated.
    """
    repeated = _repeated(groups, min_stimuli)
    generator = np.random.default_rng(seed)
    table = repeat_table(repeated)
    counts = (table >= 0).sum(axis=1)
    first = generator.integers(0, counts, size=(n_draws, len(counts)))
    second = (first + generator.integers(1, counts, size=(n_draws, len(counts)))) % counts

    n_voxels = betas.shape[1]
    # Sums of a, b, aa, bb, ab: T0 output has means near 0 and spreads near 1, where this loses nothing in float64.
    sums = np.zeros((5, n_draws, n_voxels))
    for block, rows in _blocks(betas, table):
        stimuli = np.arange(rows.start, rows.stop)
        for draw in range(n_draws):
            a = block[stimuli - rows.start, first[draw, stimuli]]
            b = block[stimuli - rows.start, second[draw, stimuli]]
            for k, term in enumerate((a, b, a * a, b * b, a * b)):
                sums[k, draw] += term.sum(axis=0)
    mean_a, mean_b, aa, bb, ab = sums / len(repeated)
    spread = np.sqrt(np.maximum(aa - mean_a**2, 0) * np.maximum(bb - mean_b**2, 0))
    covariance = ab - mean_a * mean_b
    r = np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > 1e-12)
    # Two identical repeats would be an infinite z.
    z = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))
    reliability: NDArray[np.float64] = np.tanh(z.mean(axis=0))
    return reliability


def estimate_ncsnr(
    betas: NDArray[np.floating], groups: list[NDArray[np.int64]], min_stimuli: int = 1
) -> NDArray[np.float64]:
    """Estimate ncsnr from z-scored betas.

    Noise variance is the mean over repeated pictures of the unbiased variance across their trials, whatever
    their number; signal variance is what remains of 1, at least 0.

    Args:
        betas: T0 betas, unit variance per voxel, (n_trials, n_voxels); may be memory-mapped.
        groups: Rows of each picture.
        min_stimuli: Fewest pictures with two trials.

    Returns:
        float64 (n_voxels,); 0 where a voxel is constant.

    Raises:
        BadInputError: If too few pictures are repeated.
    """
    table = repeat_table(_repeated(groups, min_stimuli))
    total = np.zeros(betas.shape[1])
    varies = np.zeros(betas.shape[1], dtype=bool)
    for block, rows in _blocks(betas, table):
        has = (table[rows.start : rows.stop] >= 0)[:, :, None]
        counts = has.sum(axis=1)
        mean = (block * has).sum(axis=1) / counts
        deviations = np.square(block - mean[:, None]) * has
        total += (deviations.sum(axis=1) / (counts - 1)).sum(axis=0)
        varies |= ((block != 0) & has).any(axis=(0, 1))
    noise = np.maximum(total / len(table), 1e-12)
    # A dropped voxel has no variance to share out; its zeros would read as pure signal.
    ratio = np.where(varies, np.maximum(1 - noise, 0) / noise, 0.0)
    ncsnr: NDArray[np.float64] = np.sqrt(ratio)
    return ncsnr


def compare_ncsnr(
    ncsnr: NDArray[np.floating], published: NDArray[np.floating], alive: NDArray[np.bool_], n_stimuli: int
) -> dict[str, Any]:
    """Compare our ncsnr, from training trials, with NSD's map, which saw all trials.

    Args:
        ncsnr: Ours, (n_voxels,); NaN where no picture is repeated.
        published: NSD's, (n_voxels,); NaN where there is none.
        alive: Voxels that carry a signal, (n_voxels,) bool.
        n_stimuli: Repeated pictures behind ours.

    Returns:
        ``median`` of ours, ``median_published``, their Pearson ``correlation`` over voxels, ``n_voxels`` that both
        have, and whether the maps ``agrees``; None for what cannot be told.
    """
    both = alive & np.isfinite(ncsnr) & np.isfinite(published)
    a, b = ncsnr[both].astype(np.float64), published[both].astype(np.float64)
    told = len(a) > 2 and a.std() > 0 and b.std() > 0
    ours = ncsnr[alive & np.isfinite(ncsnr)]
    correlation = round(float(np.corrcoef(a, b)[0, 1]), 4) if told else None
    return {
        "median": round(float(np.median(ours)), 4) if len(ours) else None,
        "median_published": round(float(np.median(b)), 4) if len(b) else None,
        "correlation": correlation,
        "n_voxels": len(a),
        "agrees": None if correlation is None or n_stimuli < MIN_REPEATED_STIMULI else correlation >= NCSNR_AGREES,
    }


def noise_ceiling(ncsnr: NDArray[np.floating], repeat_counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the ceiling on explained variance of means over repeats.

    Args:
        ncsnr: Signal-to-noise ratio, any shape.
        repeat_counts: Number of trials averaged per picture, (n_stimuli,); they may differ.

    Returns:
        Share of variance, 0 to 1, float64, the shape of ``ncsnr``.
    """
    squared = np.square(np.asarray(ncsnr, dtype=np.float64))
    inverse_n = float(np.mean(1.0 / np.asarray(repeat_counts, dtype=np.float64)))
    return squared / (squared + inverse_n)


def _repeated(groups: list[NDArray[np.int64]], min_stimuli: int) -> list[NDArray[np.int64]]:
    repeated = [group for group in groups if len(group) >= 2]
    if len(repeated) < min_stimuli:
        raise BadInputError(
            f"{len(repeated)} training pictures have two trials or more, {min_stimuli} are needed to judge voxels; "
            "index more sessions, or keep all voxels with --mask roi"
        )
    return repeated


def _blocks(betas: NDArray[np.floating], table: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.float64], range]]:
    """Yield betas (stimuli, repeats, voxels) in float64 and the rows of the table they belong to."""
    for start in range(0, len(table), _STIMULI_PER_BLOCK):
        rows = range(start, min(start + _STIMULI_PER_BLOCK, len(table)))
        yield betas[np.maximum(table[rows.start : rows.stop], 0)].astype(np.float64), rows
