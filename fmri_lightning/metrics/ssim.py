"""Structural similarity (SSIM) exactly as the MindEye scripts compute it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.checks import require_equal_shapes

LUMINANCE = (0.2125, 0.7154, 0.0721)
SIGMA_PX = 1.5
RADIUS_PX = 5
C1 = 0.01**2
C2 = 0.03**2
# Outputs per banded product: small enough that the band is mostly non-zero, large enough for BLAS.
BLOCK_PX = 48


def luminance(images: NDArray[np.generic]) -> NDArray[np.float64]:
    """Grey pictures by the weights of scikit-image's ``rgb2gray`` (0.2125, 0.7154, 0.0721).

    Args:
        images: Pictures (..., 3), uint8 0..255 or float 0..1.

    Returns:
        float64 (...) in 0..1.

    Raises:
        ValueError: The last axis is not three channels.
    """
    if images.shape[-1] != 3:
        raise ValueError(f"luminance needs three channels last, not shape {images.shape}")
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    return np.asarray(images.astype(np.float64) @ (np.array(LUMINANCE) / scale))


def structural_similarity(images_a: NDArray[np.generic], images_b: NDArray[np.generic]) -> NDArray[np.float64]:
    """SSIM of each picture pair (Wang et al., 2004) with MindEye's arguments.

    Grey pictures, Gaussian window of sigma 1.5 px with 11 taps, population covariance, data range 1,
    K1 .01, K2 .03, mean of the map without its 5-pixel border. Equals scikit-image's
    ``structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    data_range=1)`` on ``rgb2gray`` pictures; torchmetrics' SSIM is another quantity (3e-3 away).

    Args:
        images_a: Pictures (n, height, width, 3) or grey (n, height, width); uint8 or float 0..1.
        images_b: Pictures of the same shape.

    Returns:
        float64 (n,), 1 for equal pictures.

    Raises:
        ValueError: Shapes differ, or a side is shorter than the 11-tap window.
    """
    require_equal_shapes(images_a, images_b, "picture sets")
    if images_a.ndim not in (3, 4) or min(images_a.shape[1:3]) < 2 * RADIUS_PX + 1:
        raise ValueError(f"SSIM needs pictures of at least 11 x 11 px, not shape {images_a.shape}")
    return np.array([_ssim_pair(_grey(images_a[i]), _grey(images_b[i])) for i in range(len(images_a))])


def _grey(image: NDArray[np.generic]) -> NDArray[np.float64]:
    if image.ndim == 3:
        return luminance(image)
    return np.asarray(image, dtype=np.float64) / (255.0 if image.dtype == np.uint8 else 1.0)


def _ssim_pair(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    # The border crop equals the kernel radius, so a valid convolution is all that is needed; and
    # var(a) + var(b) only enters as a sum: four blurs instead of five.
    mean_a, mean_b = _blur(a), _blur(b)
    power = _blur(a * a + b * b)
    product = mean_a * mean_b
    energy = mean_a * mean_a + mean_b * mean_b
    covariance = _blur(a * b) - product
    variances = power - energy
    numerator = (2.0 * product + C1) * (2.0 * covariance + C2)
    denominator = (energy + C1) * (variances + C2)
    return float(np.mean(numerator / denominator))


def _blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    return _blur_rows(_blur_rows(image).T).T


def _blur_rows(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Valid Gaussian convolution along the first axis, as products with a banded matrix."""
    n_out = image.shape[0] - 2 * RADIUS_PX
    blurred = np.empty((n_out, image.shape[1]))
    for start in range(0, n_out, BLOCK_PX):
        stop = min(start + BLOCK_PX, n_out)
        source = image[start : stop + 2 * RADIUS_PX]
        blurred[start:stop] = _BAND[: stop - start, : len(source)] @ source
    return blurred


def _gaussian_band() -> NDArray[np.float64]:
    offsets = np.arange(-RADIUS_PX, RADIUS_PX + 1)
    taps = np.exp(-0.5 * (offsets / SIGMA_PX) ** 2)
    taps /= taps.sum()
    band = np.zeros((BLOCK_PX, BLOCK_PX + 2 * RADIUS_PX))
    for row in range(BLOCK_PX):
        band[row, row : row + len(taps)] = taps
    return band


_BAND = _gaussian_band()
