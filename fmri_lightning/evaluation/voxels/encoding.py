"""How well true embeddings predict each voxel, beside the best that its noise allows.

A ridge regression from the true embeddings of the training stimuli to the mean responses to them, one penalty a
voxel, expects a response to every test stimulus. Its correlation with the measured one is compared with the noise
ceiling of means over as many repeats (NSD Data Manual; Allen et al. 2022).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.reliability import noise_ceiling
from fmri_lightning.encoder.ridge import AlphaAtEdgeWarning, fit_ridge
from fmri_lightning.evaluation.brain.voxel_model import correlations
from fmri_lightning.evaluation.voxels.material import StimulusMeans
from fmri_lightning.metrics.false_discovery import benjamini_hochberg
from fmri_lightning.progress import track


@dataclass(frozen=True, eq=False)
class Encoding:
    """Encoding accuracy of v voxels over n test stimuli.

    Attributes:
        r: Correlation of expected and measured response (v,); NaN for voxels that do not vary.
        contribution: What each stimulus adds to r, (n, v): its mean is r, its bootstrap that of r to first order.
        p: One-sided p of r by permuting which stimulus a response belongs to (v,); NaN with r.
        q: p corrected for the number of voxels, as false discovery rate (v,).
        ceiling: Share of the variance of the test means that is signal, from training trials, 0..1 (v,); NaN where
            no training stimulus is repeated.
        ceiling_published: The same from NSD's map, which saw test trials (v,); NaN where there is none.
        of_ceiling: r² / ceiling (v,), 0 where r is negative; NaN where the ceiling is below ``min_ceiling``. Above 1
            by chance.
        of_ceiling_contribution: What each stimulus adds to it, (n, v).
        min_ceiling: Smallest ceiling that r² is divided by.
    """

    r: NDArray[np.float64]
    contribution: NDArray[np.float64]
    p: NDArray[np.float64]
    q: NDArray[np.float64]
    ceiling: NDArray[np.float64]
    ceiling_published: NDArray[np.float64]
    of_ceiling: NDArray[np.float64]
    of_ceiling_contribution: NDArray[np.float64]
    min_ceiling: float


def encode_voxels(
    train: StimulusMeans,
    train_embeddings: NDArray[np.float32],
    test: StimulusMeans,
    test_embeddings: NDArray[np.float32],
    ncsnr: NDArray[np.floating],
    ncsnr_published: NDArray[np.floating],
    min_ceiling: float = 0.1,
    n_permutations: int = 1000,
    seed: int = 0,
) -> Encoding:
    """Fit on training stimuli and score on test stimuli.

    Args:
        train: Responses to n_train stimuli, v voxels.
        train_embeddings: True embedding of each, raw, (n_train, d).
        test: Responses to n test stimuli, the same voxels.
        test_embeddings: True embedding of each, raw, (n, d).
        ncsnr: Signal-to-noise ratio from training trials (v,).
        ncsnr_published: NSD's (v,), NaN where there is none.
        min_ceiling: Smallest ceiling that r² is divided by, 0..1.
        n_permutations: Of the test stimuli.
        seed: Of the permutations.

    Returns:
        The accuracy of every voxel.
    """
    with warnings.catch_warnings():
        # A voxel that no embedding predicts takes the largest penalty, and there are many of those.
        warnings.simplefilter("ignore", AlphaAtEdgeWarning)
        fit = fit_ridge(train_embeddings.astype(np.float32), train.responses, alpha_per_target=True)
    expected = np.asarray(fit.predict(test_embeddings.astype(np.float32)), dtype=np.float32)
    measured = np.where(test.responses.std(axis=0) > 0, test.responses, 0.0).astype(np.float32)
    r, contribution = correlations(expected, measured)
    p = permutation_ps(expected, measured, r, n_permutations, seed)
    ceiling = noise_ceiling(ncsnr, test.repeats)
    ratio = of_ceiling(r, ceiling, min_ceiling)
    # Derivative of r² / ceiling; where r is negative the ratio is 0 and stays so.
    slope = np.divide(2.0 * np.maximum(r, 0.0), ceiling, out=np.full_like(r, np.nan), where=np.isfinite(ratio))
    return Encoding(
        r=r,
        contribution=contribution,
        p=p,
        q=benjamini_hochberg(p),
        ceiling=ceiling,
        ceiling_published=noise_ceiling(ncsnr_published, test.repeats),
        of_ceiling=ratio,
        of_ceiling_contribution=ratio + slope * (contribution - r),
        min_ceiling=min_ceiling,
    )


def of_ceiling(r: NDArray[np.float64], ceiling: NDArray[np.float64], min_ceiling: float = 0.1) -> NDArray[np.float64]:
    """Share of the explainable variance that is explained: r² over the noise ceiling.

    Args:
        r: Correlation with the measured mean responses (v,).
        ceiling: Share of their variance that is signal, 0..1 (v,).
        min_ceiling: Below it a voxel has next to no signal, and the ratio is noise over noise.

    Returns:
        (v,); 0 where r is negative, NaN where either is NaN or the ceiling too low.
    """
    defined = np.isfinite(r) & (np.nan_to_num(ceiling) >= max(min_ceiling, 1e-6))
    squared = np.square(np.maximum(r, 0.0))
    return np.asarray(np.divide(squared, ceiling, out=np.full(np.shape(r), np.nan), where=defined))


def permutation_ps(
    expected: NDArray[np.float32],
    measured: NDArray[np.float32],
    r: NDArray[np.float64],
    n_permutations: int,
    seed: int,
) -> NDArray[np.float64]:
    """One-sided p of each voxel's correlation when responses belong to other stimuli.

    The same permutation serves all voxels, so their dependence stays in it. p = (b + 1) / (n + 1), never 0.

    Args:
        expected: Responses of the model (n, v).
        measured: Responses of the brain (n, v).
        r: Their correlation (v,).
        n_permutations: How many.
        seed: Of the permutations.

    Returns:
        (v,); NaN where r is.
    """
    x, y = _standardised(expected), _standardised(measured)
    generator = np.random.default_rng(seed)
    beaten = np.zeros(len(r))
    # Rounding must not turn the identity, when it is drawn, into a smaller value than observed.
    bar = r - 1e-6
    for _ in track(range(n_permutations), "permuting test stimuli"):
        beaten += np.einsum("nv,nv->v", x[generator.permutation(len(x))], y) / len(x) >= bar
    return np.where(np.isfinite(r), (beaten + 1.0) / (n_permutations + 1.0), np.nan)


def _standardised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = values - values.mean(axis=0, dtype=np.float64)
    scale = np.sqrt(np.square(centred).mean(axis=0))
    return np.asarray(np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 0), dtype=np.float32)
