"""SSIM against scikit-image with the arguments of the published scripts."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity as skimage_ssim

from fmri_lightning.metrics.ssim import luminance, ssim_columns, structural_similarity

SIZES = [(11, 11), (64, 64), (59, 107), (130, 59), (150, 43)]


def reference(a: NDArray[np.generic], b: NDArray[np.generic], channel_axis: int | None = None) -> float:
    return float(
        skimage_ssim(
            rgb2gray(a) if a.ndim == 3 else a,
            rgb2gray(b) if b.ndim == 3 else b,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=channel_axis,
        )
    )


def by_columns(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """SSIM of one column at a time, from its definition."""
    ratios = []
    for x, y in zip(a.T, b.T, strict=True):
        mean_x, mean_y, xx, yy, xy = (
            gaussian_filter1d(part, 1.5, truncate=3.5)[5:-5] for part in (x, y, x * x, y * y, x * y)
        )
        top = (2 * mean_x * mean_y + 1e-4) * (2 * (xy - mean_x * mean_y) + 9e-4)
        ratios.append(top / ((mean_x**2 + mean_y**2 + 1e-4) * (xx - mean_x**2 + yy - mean_y**2 + 9e-4)))
    return float(np.mean(ratios))


def pairs(size: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(size[0])
    a = rng.random((3, *size, 3))
    a[1] = np.cumsum(a[1], axis=0) / size[0]
    return a, np.clip(a + 0.3 * rng.standard_normal(a.shape), 0, 1)


@pytest.mark.parametrize("size", SIZES)
def test_equals_scikit_image(size: tuple[int, int]) -> None:
    a, b = pairs(size)
    expected = [reference(x, y) for x, y in zip(a, b, strict=True)]
    assert np.abs(structural_similarity(a, b) - expected).max() < 1e-10


@pytest.mark.parametrize("size", SIZES)
def test_columns_equal_scikit_image_with_columns_as_channels(size: tuple[int, int]) -> None:
    a, b = pairs(size)
    expected = [reference(rgb2gray(x), rgb2gray(y), channel_axis=1) for x, y in zip(a, b, strict=True)]
    assert np.abs(ssim_columns(a, b) - expected).max() < 1e-10
    assert ssim_columns(a[:1], b[:1])[0] == pytest.approx(by_columns(luminance(a[0]), luminance(b[0])), abs=1e-10)


def test_columns_are_another_quantity() -> None:
    a, b = pairs((64, 64))
    assert (np.abs(ssim_columns(a, b) - structural_similarity(a, b)) > 1e-3).any()
    # Stripes along the columns: every column is constant, so only two dimensions see structure.
    stripes = np.tile(np.arange(64) % 2 * 0.8 + 0.1, (64, 1))[None]
    assert structural_similarity(stripes, 1 - stripes)[0] < -0.5
    expected = (2 * 0.1 * 0.9 + 1e-4) / (0.1**2 + 0.9**2 + 1e-4)
    assert ssim_columns(stripes, 1 - stripes)[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("level", [0.02, 0.5, 0.999])
def test_nearly_constant_pictures_equal_scikit_image(level: float) -> None:
    rng = np.random.default_rng(5)
    a = np.full((2, 90, 70, 3), level)
    a[0] += 1e-6 * rng.standard_normal(a[0].shape)
    a[1, :40] = 1 - level
    b = a + 1e-3 * rng.standard_normal(a.shape)
    for x, y in ((a, b), (a.astype(np.float32), b.astype(np.float32))):
        doubles = x.astype(np.float64), y.astype(np.float64)
        expected = [reference(p, q) for p, q in zip(*doubles, strict=True)]
        assert np.abs(structural_similarity(x, y) - expected).max() < 1e-10
        expected = [reference(rgb2gray(p), rgb2gray(q), 1) for p, q in zip(*doubles, strict=True)]
        assert np.abs(ssim_columns(x, y) - expected).max() < 1e-10


def test_float32_pictures_equal_the_published_formulation() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.random((2, 3, 140, 140, 3), dtype=np.float32)
    b = 0.7 * a + 0.3 * b
    expected = [reference(x, y) for x, y in zip(a, b, strict=True)]
    assert np.abs(structural_similarity(a, b) - expected).max() < 1e-7


def test_uint8_pictures_equal_their_float_view() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 2, 32, 32, 3), dtype=np.uint8)
    expected = [reference(x, y) for x, y in zip(a, b, strict=True)]
    assert np.abs(structural_similarity(a, b) - expected).max() < 1e-10
    grey = structural_similarity(a[..., 0], b[..., 0])
    assert grey == pytest.approx([reference(x[..., 0] / 255, y[..., 0] / 255) for x, y in zip(a, b, strict=True)])


def test_known_answers() -> None:
    a = np.random.default_rng(1).random((2, 20, 20, 3))
    x, y = np.full((1, 16, 16), 0.25), np.full((1, 16, 16), 0.75)
    # Two constant pictures: no variance, so only the luminance term is left.
    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    for metric in (structural_similarity, ssim_columns):
        assert metric(a, a) == pytest.approx([1.0, 1.0], abs=1e-12)
        assert metric(x, y)[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", [structural_similarity, ssim_columns])
def test_is_symmetric_and_paired(metric) -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 4, 24, 24, 3))
    before = a.tobytes(), b.tobytes()
    order = np.array([2, 0, 3, 1])
    assert metric(a, b) == pytest.approx(metric(b, a), abs=1e-12)
    assert metric(a, b)[order] == pytest.approx(metric(a[order], b[order]), abs=1e-15)
    assert (a.tobytes(), b.tobytes()) == before


def test_luminance_equals_scikit_image() -> None:
    image = np.random.default_rng(3).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    assert np.abs(luminance(image) - rgb2gray(image)).max() < 1e-12


def test_too_small_unpaired_and_colourless_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 11 x 11"):
        structural_similarity(np.zeros((1, 10, 12, 3)), np.zeros((1, 10, 12, 3)))
    with pytest.raises(ValueError, match="pair them one to one"):
        structural_similarity(np.zeros((2, 12, 12, 3)), np.zeros((1, 12, 12, 3)))
    with pytest.raises(ValueError, match="three channels last"):
        ssim_columns(np.zeros((1, 12, 12, 4)), np.zeros((1, 12, 12, 4)))
