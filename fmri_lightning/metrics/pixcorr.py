"""Pixel correlation (PixCorr): Pearson r over all colour values of a picture pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.checks import require_equal_shapes
from fmri_lightning.metrics.pearson import pearson


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
    pairs = zip(images_a, images_b, strict=True)
    return np.array([pearson(a.reshape(-1), b.reshape(-1)) for a, b in pairs], dtype=np.float64)
