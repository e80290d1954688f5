"""Distances of pairs: correlation distance of features, mean squared error and PSNR of pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.checks import require_equal_shapes
from fmri_lightning.metrics.pearson import BLOCK, pearson


def correlation_distance(features_a: NDArray[np.generic], features_b: NDArray[np.generic]) -> NDArray[np.float64]:
    """Correlation distance 1 - r of each pair of rows: "Eff" and "SwAV" of the published tables.

    ``scipy.spatial.distance.correlation`` row by row, as MindEye (Scotti et al., 2023) and Brain-Diffuser
    (Ozcelik & VanRullen, 2023) score EfficientNet-B1 and SwAV features. Lower is better; 1 without a relation.

    Args:
        features_a: Features (n, d), any real type.
        features_b: Features (n, d).

    Returns:
        float64 (n,) in 0..2; NaN where a row is constant.

    Raises:
        ValueError: Shapes differ, or are not (n, d).
    """
    require_equal_shapes(features_a, features_b, "feature sets")
    if features_a.ndim != 2:
        raise ValueError(f"features must be (n, d), not {features_a.shape}")
    return np.array([1.0 - pearson(a, b) for a, b in zip(features_a, features_b, strict=True)], dtype=np.float64)


def mean_squared_error(images_a: NDArray[np.generic], images_b: NDArray[np.generic]) -> NDArray[np.float64]:
    """Mean of (a - b)² over all colour values of each picture pair, on the scale 0..1.

    Args:
        images_a: Pictures (n, ...), uint8 0..255 or float 0..1.
        images_b: Pictures of the same shape.

    Returns:
        float64 (n,) in 0..1; 0 for equal pictures.

    Raises:
        ValueError: Shapes differ.
    """
    require_equal_shapes(images_a, images_b, "picture sets")
    pairs = zip(images_a, images_b, strict=True)
    return np.array([_squared_error(a.reshape(-1), b.reshape(-1)) for a, b in pairs], dtype=np.float64)


def peak_signal_to_noise(images_a: NDArray[np.generic], images_b: NDArray[np.generic]) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio of each picture pair in dB: ``10 log10(1 / mean squared error)``.

    The peak is 1 for float pictures and 255 for uint8, which is the same number of dB. The mean over pictures of
    decibels is not the decibels of the mean error.

    Args:
        images_a: Pictures (n, ...), uint8 0..255 or float 0..1.
        images_b: Pictures of the same shape.

    Returns:
        float64 (n,), higher is nearer; infinite for equal pictures, as in scikit-image.

    Raises:
        ValueError: Shapes differ.
    """
    error = mean_squared_error(images_a, images_b)
    logarithm = np.full_like(error, -np.inf)
    np.log10(error, out=logarithm, where=error != 0)
    return np.asarray(0.0 - 10.0 * logarithm)


def _squared_error(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    unit_a, unit_b = _unit(a), _unit(b)
    rooms = np.empty((2, min(BLOCK, a.size)))
    total = 0.0
    for start in range(0, a.size, BLOCK):
        stop = min(start + BLOCK, a.size)
        x, y = rooms[0, : stop - start], rooms[1, : stop - start]
        x[...], y[...] = a[start:stop], b[start:stop]
        if unit_a != unit_b:
            x /= unit_a
            y /= unit_b
        x -= y
        total += float(x @ x)
    return total / a.size / (unit_a * unit_a if unit_a == unit_b else 1.0)


def _unit(values: NDArray[np.generic]) -> float:
    return 255.0 if values.dtype == np.uint8 else 1.0
