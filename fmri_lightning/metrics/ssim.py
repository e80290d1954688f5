"""Structural similarity (SSIM) exactly as the published scripts compute it, in both of their versions."""

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
BAND_PX = 16
# Output rows whose maps are made at once: at 425 px they stay in the second-level cache.
STRIP_PX = 64
# Rows of colours that are turned into float64 at once.
GREY_PX = 32


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
    return _ssim(images_a, images_b, both_axes=True)


def ssim_columns(images_a: NDArray[np.generic], images_b: NDArray[np.generic]) -> NDArray[np.float64]:
    """SSIM of one-dimensional columns: what Brain-Diffuser's script computes with its pinned scikit-image 0.17.2.

    That release took ``multichannel=True`` on a grey picture (height, width) to mean that its columns are
    channels: the window of :func:`structural_similarity` runs down each column only, nothing is blurred across
    columns, the border is cropped at top and bottom, and the mean is over all columns. Releases from 0.20 ignore
    the argument on grey pictures; ``channel_axis=1`` asks them for this quantity. It reads up to .13 higher than
    the two-dimensional SSIM, so the two must not share a column of a table.

    Args:
        images_a: Pictures (n, height, width, 3) or grey (n, height, width); uint8 or float 0..1.
        images_b: Pictures of the same shape.

    Returns:
        float64 (n,), 1 for equal pictures.

    Raises:
        ValueError: Shapes differ, or a side is shorter than the 11-tap window.
    """
    return _ssim(images_a, images_b, both_axes=False)


def _ssim(images_a: NDArray[np.generic], images_b: NDArray[np.generic], both_axes: bool) -> NDArray[np.float64]:
    require_equal_shapes(images_a, images_b, "picture sets")
    if images_a.ndim not in (3, 4) or min(images_a.shape[1:3]) < 2 * RADIUS_PX + 1:
        raise ValueError(f"SSIM needs pictures of at least 11 x 11 px, not shape {images_a.shape}")
    rooms = _Rooms(images_a.shape[1], images_a.shape[2], both_axes)
    return np.array([rooms.ssim(a, b) for a, b in zip(images_a, images_b, strict=True)], dtype=np.float64)


class _Rooms:
    """Memory that is used again for every pair: asking for new pages costs as much as the arithmetic."""

    def __init__(self, height: int, width: int, both_axes: bool) -> None:
        self.height, self.width, self.both_axes = height, width, both_axes
        self.grey = np.empty((2, height, width))
        self.colours = np.empty((GREY_PX, width, 3))
        self.moments = np.empty((2, STRIP_PX + 2 * RADIUS_PX, width))
        self.down = np.empty(4 * STRIP_PX * width)
        self.across = np.empty(4 * STRIP_PX * (width - 2 * RADIUS_PX))
        self.product = np.empty(STRIP_PX * width)

    def ssim(self, image_a: NDArray[np.generic], image_b: NDArray[np.generic]) -> float:
        """Mean of the SSIM map of one pair, strip by strip."""
        self._make_grey(image_a, self.grey[0])
        self._make_grey(image_b, self.grey[1])
        # The border crop equals the kernel radius, so a valid convolution is all that is needed.
        n_rows = self.height - 2 * RADIUS_PX
        columns = self.width - 2 * RADIUS_PX if self.both_axes else self.width
        strips = range(0, n_rows, STRIP_PX)
        return sum(self._strip(start, min(start + STRIP_PX, n_rows)) for start in strips) / (n_rows * columns)

    def _make_grey(self, image: NDArray[np.generic], grey: NDArray[np.float64]) -> None:
        scale = 255.0 if image.dtype == np.uint8 else 1.0
        if image.ndim == 2:
            np.divide(image, scale, out=grey)
            return
        if image.shape[-1] != 3:
            raise ValueError(f"luminance needs three channels last, not shape {image.shape}")
        weights = np.array(LUMINANCE) / scale
        for start in range(0, self.height, GREY_PX):
            rows = image[start : start + GREY_PX]
            colours = self.colours[: len(rows)]
            colours[...] = rows
            np.matmul(colours, weights, out=grey[start : start + GREY_PX])

    def _strip(self, start: int, stop: int) -> float:
        """Sum of the SSIM map over some of its rows."""
        n_rows, n_source = stop - start, stop - start + 2 * RADIUS_PX
        a, b = self.grey[:, start : start + n_source]
        power, cross = self.moments[:, :n_source]
        # var(a) + var(b) only enters as a sum: four blurs instead of five.
        np.multiply(a, a, out=power)
        np.multiply(b, b, out=cross)
        power += cross
        np.multiply(a, b, out=cross)
        blurred = self.down[: 4 * n_rows * self.width].reshape(4, n_rows, self.width)
        for plane, out in zip((a, b, power, cross), blurred, strict=True):
            _blur_down(plane, out)
        if self.both_axes:
            n_columns = self.width - 2 * RADIUS_PX
            across = self.across[: 4 * n_rows * n_columns].reshape(4, n_rows, n_columns)
            _blur_across(blurred.reshape(-1, self.width), across.reshape(-1, n_columns))
            blurred = across
        product = self.product[: blurred[0].size].reshape(blurred[0].shape)
        return _sum_of_map(blurred, product)


def _sum_of_map(blurred: NDArray[np.float64], product: NDArray[np.float64]) -> float:
    """Sum of the SSIM map from local means of a, b, a² + b² and ab; overwrites them and the room for a product."""
    mean_a, mean_b, power, cross = blurred
    np.multiply(mean_a, mean_b, out=product)
    mean_a *= mean_a
    mean_b *= mean_b
    energy = np.add(mean_a, mean_b, out=mean_a)
    # Numerator (2 mu_a mu_b + C1)(2 cov + C2).
    cross -= product
    cross *= 2.0
    cross += C2
    product *= 2.0
    product += C1
    cross *= product
    # Denominator (mu_a² + mu_b² + C1)(var_a + var_b + C2).
    power -= energy
    power += C2
    energy += C1
    power *= energy
    cross /= power
    return float(cross.sum())


def _blur_down(plane: NDArray[np.float64], blurred: NDArray[np.float64]) -> None:
    """Valid Gaussian convolution along the first axis, as products with a banded matrix."""
    for start in range(0, len(blurred), BAND_PX):
        stop = min(start + BAND_PX, len(blurred))
        source = plane[start : stop + 2 * RADIUS_PX]
        np.matmul(_BAND[: stop - start, : len(source)], source, out=blurred[start:stop])


def _blur_across(rows: NDArray[np.float64], blurred: NDArray[np.float64]) -> None:
    """The same along the last axis."""
    n_out = blurred.shape[1]
    for start in range(0, n_out, BAND_PX):
        stop = min(start + BAND_PX, n_out)
        source = rows[:, start : stop + 2 * RADIUS_PX]
        np.matmul(source, _BAND_ACROSS[: source.shape[1], : stop - start], out=blurred[:, start:stop])


def _gaussian_band() -> NDArray[np.float64]:
    offsets = np.arange(-RADIUS_PX, RADIUS_PX + 1)
    taps = np.exp(-0.5 * (offsets / SIGMA_PX) ** 2)
    taps /= taps.sum()
    band = np.zeros((BAND_PX, BAND_PX + 2 * RADIUS_PX))
    for row in range(BAND_PX):
        band[row, row : row + len(taps)] = taps
    return band


_BAND = _gaussian_band()
_BAND_ACROSS = np.ascontiguousarray(_BAND.T)
