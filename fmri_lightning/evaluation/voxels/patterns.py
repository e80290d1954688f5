"""What a decoder's components look like in the brain: patterns in the sense of Haufe et al. (2014).

A decoder's weights say how voxels are combined, not where the signal is: a voxel that carries nothing but noise gets
a large weight when it helps to take that noise off another one. The forward model of the same decoder,

    A = Cov(x) W Cov(y)^-1 = Cov(x, y) Cov(y)^-1,

says how the voxels x go up and down with what was decoded, y. The first form needs a linear decoder y = W' x; the
second is the same number for it and is defined for every other decoder as well (the best linear forward model).

An embedding has hundreds of dimensions that no axis of is special. Decoded embeddings are therefore rotated to their
principal components and whitened; a voxel's column of A is then its covariance with each component, and the squared
correlations add up to the share of the voxel's variance that the components explain together (their root mean square
is the root of that share over their number). That share is what the map shows: it does not depend on how embedding
space is rotated. Components beyond ``SHARE`` of the decoded variance are left out, which the decoder hardly uses and
which whitening would blow up to the size of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError

SHARE = 0.95
ROWS = 1024


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of decoded embeddings.

    Attributes:
        mean: Mean decoded embedding (d,).
        axes: Components, unit length, most variance first (k, d).
        sd: Standard deviation of the decoded embeddings along each (k,).
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    sd: NDArray[np.float64]

    def whitened(self, predicted: NDArray[np.floating]) -> NDArray[np.float64]:
        """Decoded embeddings (n, d) as uncorrelated scores of unit variance (n, k)."""
        return np.asarray((predicted - self.mean) @ self.axes.T / self.sd)


@dataclass(frozen=True, eq=False)
class Patterns:
    """Patterns of an encoder.

    Attributes:
        components: What was decoded, as components.
        pattern: Change of each voxel per standard deviation of each component, in the unit of the betas (v, k).
        mean: Mean of each voxel (v,).
        variance: Variance of each voxel (v,).
        explained: Share of each voxel's variance that the components explain, not adjusted, 0..1 (v,); NaN for a
            voxel that does not vary.
        strength: The same adjusted for the number of components, so that a voxel of noise is near 0 (v,).
        n_rows: Trials.
    """

    components: Components
    pattern: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    explained: NDArray[np.float64]
    strength: NDArray[np.float64]
    n_rows: int

    def in_embedding_space(self) -> NDArray[np.float64]:
        """A itself, (v, d): change of each voxel per unit of each decoded dimension, over the components kept."""
        return np.asarray(self.pattern / self.components.sd @ self.components.axes)


def components_of(predicted: NDArray[np.floating], share: float = SHARE) -> Components:
    """Find the principal components of decoded embeddings.

    Args:
        predicted: Decoded embeddings, (n, d).
        share: Share of their variance that is kept, 0..1.

    Returns:
        The components.

    Raises:
        BadInputError: The decoded embeddings do not vary.
    """
    values = np.asarray(predicted, dtype=np.float64)
    mean = values.mean(axis=0)
    centred = values - mean
    eigenvalues, vectors = np.linalg.eigh(centred.T @ centred / len(values))
    eigenvalues, vectors = np.maximum(eigenvalues[::-1], 0.0), vectors[:, ::-1]
    total = float(eigenvalues.sum())
    if not total > 1e-12 * max(float(np.square(mean).sum()), 1e-300):
        raise BadInputError("the encoder predicts the same embedding for every training trial; it has no pattern")
    solid = int((eigenvalues > 1e-10 * eigenvalues[0]).sum())
    n = min(int(np.searchsorted(np.cumsum(eigenvalues) / total, share - 1e-12) + 1), solid)
    return Components(mean, vectors[:, :n].T, np.sqrt(eigenvalues[:n]))


class Trials:
    """Voxels of some trials, read block by block.

    Args:
        betas: Trials by voxels, may be memory-mapped.
        rows: Which trials (n,).
        voxels: Which voxels (v,).
    """

    def __init__(self, betas: NDArray[np.floating], rows: NDArray[np.int64], voxels: NDArray[np.int64]) -> None:
        self.betas, self.rows, self.voxels = betas, rows, voxels

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yield positions among the trials, and their voxels (rows, v)."""
        for start in range(0, len(self.rows), ROWS):
            part = slice(start, min(start + ROWS, len(self.rows)))
            yield part, np.asarray(self.betas[self.rows[part]], dtype=np.float64)[:, self.voxels]


def haufe_patterns(trials: Trials, predicted: NDArray[np.floating], share: float = SHARE) -> Patterns:
    """Compute the patterns of a decoder from what it decoded of the very trials.

    Args:
        trials: Voxels of the training trials (n, v).
        predicted: What the decoder made of each trial (n, d).
        share: Share of the decoded variance that is kept, 0..1.

    Returns:
        The patterns.

    Raises:
        BadInputError: There are not more trials than components, or nothing was decoded.
    """
    components = components_of(predicted, share)
    n, k = len(trials), len(components.sd)
    if n <= k + 1:
        raise BadInputError(f"{n} training trials cannot tell {k} components apart; patterns need more of them")
    scores = components.whitened(np.asarray(predicted, dtype=np.float64))
    mean = sum((x.sum(axis=0) for _, x in trials.blocks()), np.zeros(len(trials.voxels))) / n
    covariance, variance = np.zeros((len(trials.voxels), k)), np.zeros(len(trials.voxels))
    for part, x in trials.blocks():
        x = x - mean
        covariance += x.T @ scores[part]
        variance += np.square(x).sum(axis=0)
    covariance, variance = covariance / n, variance / n
    varies = variance > 1e-12
    explained = np.divide(np.square(covariance).sum(axis=1), variance, out=np.full(len(variance), np.nan), where=varies)
    strength = 1.0 - (1.0 - explained) * (n - 1) / (n - k - 1)
    return Patterns(components, covariance, mean, variance, explained, strength, n)


def contributions(
    patterns: Patterns, trials: Trials, predicted: NDArray[np.floating], groups: dict[str, NDArray[np.bool_]]
) -> dict[str, NDArray[np.float64]]:
    """What each trial adds to the mean explained share over the voxels of some regions.

    To first order the share 1 - E[e²] / Var(x) of a voxel moves with a trial by -e² / Var + (1 - share) x² / Var,
    e its residual: the influence function, so that the bootstrap of these numbers is that of the mean share.

    Args:
        patterns: Of the same trials.
        trials: Voxels of the training trials.
        predicted: What the decoder made of each (n, d).
        groups: Region to its voxels among those of ``trials`` (v,) bool.

    Returns:
        Region to (n,), whose mean is the mean adjusted share; regions without a voxel that varies are left out.
    """
    scores = patterns.components.whitened(np.asarray(predicted, dtype=np.float64))
    varies = np.isfinite(patterns.strength)
    used = {name: mask & varies for name, mask in groups.items() if (mask & varies).any()}
    weights = np.stack([mask / mask.sum() for mask in used.values()], axis=1) if used else np.zeros((len(varies), 0))
    scale = np.where(varies, patterns.variance, 1.0)
    unexplained = np.where(varies, 1.0 - patterns.explained, 0.0)
    level = np.where(varies, patterns.strength, 0.0) @ weights
    found = np.empty((len(trials), len(used)))
    for part, x in trials.blocks():
        x = x - patterns.mean
        residual = x - scores[part] @ patterns.pattern.T
        moved = (unexplained * np.square(x) - np.square(residual)) / scale
        found[part] = level + moved @ weights
    return {name: found[:, i] for i, name in enumerate(used)}
