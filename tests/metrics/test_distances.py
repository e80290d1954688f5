"""Correlation distance against scipy, errors of pictures against scikit-image."""

import numpy as np
import pytest
from scipy.spatial.distance import correlation as scipy_distance
from skimage.metrics import mean_squared_error as skimage_mse
from skimage.metrics import peak_signal_noise_ratio as skimage_psnr

from fmri_lightning.metrics.distances import correlation_distance, mean_squared_error, peak_signal_to_noise


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_equals_scipy(dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(0)
    a = np.maximum(rng.standard_normal((9, 1280)), 0).astype(dtype)
    b = (0.3 * a + rng.standard_normal(a.shape) + 20).astype(dtype)
    expected = [scipy_distance(x.astype(float), y.astype(float)) for x, y in zip(a, b, strict=True)]
    assert correlation_distance(a, b) == pytest.approx(expected, abs=1e-11)


def test_distance_of_known_rows() -> None:
    a = np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0], [1.0, 0.0, -1.0], [0.1, 0.1, 0.1]])
    b = np.array([[3.0, 5.0, 9.0], [-1.0, -2.0, -4.0], [1.0, -2.0, 1.0], [1.0, 2.0, 3.0]])
    assert correlation_distance(a, b) == pytest.approx([0.0, 2.0, 1.0, np.nan], abs=1e-15, nan_ok=True)
    assert correlation_distance(b, a) == pytest.approx([0.0, 2.0, 1.0, np.nan], abs=1e-15, nan_ok=True)
    rng = np.random.default_rng(1)
    independent = correlation_distance(rng.random((500, 100)), rng.random((500, 100)))
    assert independent.mean() == pytest.approx(1.0, abs=4 / np.sqrt(99 * 500))
    assert ((independent >= 0) & (independent <= 2)).all()


def test_errors_of_pictures_equal_scikit_image() -> None:
    rng = np.random.default_rng(2)
    floats = rng.random((2, 3, 80, 90, 3)).astype(np.float32)
    integers = rng.integers(0, 256, (2, 3, 80, 90, 3), dtype=np.uint8)
    for a, b in (floats, integers):
        peak = 255 if a.dtype == np.uint8 else 1
        mse = [skimage_mse(x.astype(float), y.astype(float)) / peak**2 for x, y in zip(a, b, strict=True)]
        psnr = [skimage_psnr(x.astype(float), y.astype(float), data_range=peak) for x, y in zip(a, b, strict=True)]
        assert mean_squared_error(a, b) == pytest.approx(mse, abs=1e-12)
        assert peak_signal_to_noise(a, b) == pytest.approx(psnr, abs=1e-9)
    assert mean_squared_error(integers[0], integers[1] / 255) == pytest.approx(mean_squared_error(*integers), abs=1e-12)


def test_errors_of_known_pictures() -> None:
    black, white, grey = (np.full((1, 8, 8, 3), level, dtype=np.uint8) for level in (0, 255, 51))
    assert mean_squared_error(black, white).tolist() == [1.0]
    assert peak_signal_to_noise(black, white).tolist() == [0.0]
    # An error of a fifth everywhere: 20 log10(5).
    assert peak_signal_to_noise(black, grey)[0] == pytest.approx(13.979400086720377, abs=1e-12)
    assert mean_squared_error(grey, grey).tolist() == [0.0]
    assert peak_signal_to_noise(grey, grey).tolist() == [np.inf]


def test_unpaired_sets_are_refused() -> None:
    for metric in (correlation_distance, mean_squared_error, peak_signal_to_noise):
        with pytest.raises(ValueError, match="pair them one to one"):
            metric(np.zeros((1, 4)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="features must be"):
        correlation_distance(np.zeros((3, 4, 2)), np.zeros((3, 4, 2)))
