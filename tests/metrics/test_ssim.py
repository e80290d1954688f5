"""SSIM against scikit-image with the arguments of the published scripts."""

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity as skimage_ssim

from fmri_lightning.metrics.ssim import luminance, structural_similarity


def reference(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    return float(
        skimage_ssim(
            rgb2gray(a), rgb2gray(b), gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
        )
    )


@pytest.mark.parametrize("size", [(11, 11), (64, 64), (59, 107), (130, 59)])
def test_equals_scikit_image(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(size[0])
    a = rng.random((3, *size, 3))
    a[1] = np.cumsum(a[1], axis=0) / size[0]
    b = np.clip(a + 0.3 * rng.standard_normal(a.shape), 0, 1)
    expected = [reference(x, y) for x, y in zip(a, b, strict=True)]
    assert np.abs(structural_similarity(a, b) - expected).max() < 1e-10


def test_uint8_pictures_equal_their_float_view() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 2, 32, 32, 3), dtype=np.uint8)
    expected = [reference(x, y) for x, y in zip(a, b, strict=True)]
    assert np.abs(structural_similarity(a, b) - expected).max() < 1e-10


def test_known_answers() -> None:
    a = np.random.default_rng(1).random((2, 20, 20, 3))
    assert structural_similarity(a, a) == pytest.approx([1.0, 1.0], abs=1e-12)
    # Two constant pictures: no variance, so only the luminance term is left.
    x, y = np.full((1, 16, 16), 0.25), np.full((1, 16, 16), 0.75)
    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    assert structural_similarity(x, y)[0] == pytest.approx(expected, abs=1e-9)


def test_is_symmetric_and_paired() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 4, 24, 24, 3))
    order = np.array([2, 0, 3, 1])
    assert structural_similarity(a, b) == pytest.approx(structural_similarity(b, a), abs=1e-12)
    assert structural_similarity(a, b)[order] == pytest.approx(structural_similarity(a[order], b[order]), abs=1e-15)


def test_luminance_equals_scikit_image() -> None:
    image = np.random.default_rng(3).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    assert np.abs(luminance(image) - rgb2gray(image)).max() < 1e-12


def test_too_small_and_unpaired_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 11 x 11"):
        structural_similarity(np.zeros((1, 10, 12, 3)), np.zeros((1, 10, 12, 3)))
    with pytest.raises(ValueError, match="pair them one to one"):
        structural_similarity(np.zeros((2, 12, 12, 3)), np.zeros((1, 12, 12, 3)))
