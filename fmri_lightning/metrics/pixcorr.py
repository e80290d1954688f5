"""Pixel correlation (PixCorr): Pearson r over all colour values of a picture pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.checks import require_equal_shapes


def pixel_correlation(images_a: NDArray[np.generic], images_b: NDArray[np.generic]) -> NDArray[np.float64]:
    """Pearson correlation of each picture pair over height x width x channel.

    The definition of MindEye (Scotti et al., 2023) and Brain-Diffuser (Ozcelik & VanRullen, 2023):
    ``corrcoef(a.ravel(), b.ravel())`` picture by picture. Sums run in float64, since float32 ones
    are off by 1e-4 at 425 px.

    Args:
        images_a: Pictures (n, ...), uint8 0..255 or float 0..1; r does not depend on the scale.
        images_b: Pictures of the same shape.

    Returns:
        float64 (n,) in -1..1; NaN where either picture is constant, for the caller to count.

    Raises:
        ValueError: Shapes differ.
    """
    require_equal_shapes(images_a, images_b, "picture sets")
    n = images_a.shape[0]
    correlation = np.full(n, np.nan)
    for i in range(n):
        a = np.asarray(images_a[i], dtype=np.float64).ravel()
        b = np.asarray(images_b[i], dtype=np.float64).ravel()
        # A constant float picture keeps a rounding residue after centring, so test the range instead.
        if np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
            continue
        a = a - a.mean()
        b = b - b.mean()
        correlation[i] = (a @ b) / np.sqrt((a @ a) * (b @ b))
    return correlation
