"""PixCorr against numpy, and on pictures with a known answer."""

import numpy as np
import pytest

from fmri_lightning.metrics.pixcorr import pixel_correlation


def test_equals_numpy_corrcoef() -> None:
    rng = np.random.default_rng(0)
    a = rng.random((6, 32, 32, 3)).astype(np.float32)
    b = (0.5 * a + 0.5 * rng.random(a.shape)).astype(np.float32)
    expected = [np.corrcoef(x.ravel().astype(float), y.ravel().astype(float))[0, 1] for x, y in zip(a, b, strict=True)]
    assert np.abs(pixel_correlation(a, b) - expected).max() < 1e-12


def test_known_answers() -> None:
    a = np.random.default_rng(1).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    assert pixel_correlation(a, a)[0] == pytest.approx(1.0, abs=1e-15)
    assert pixel_correlation(a, 255 - a)[0] == pytest.approx(-1.0, abs=1e-15)
    assert pixel_correlation(a, a / 255.0 * 0.3 + 0.1)[0] == pytest.approx(1.0, abs=1e-12)


def test_constant_picture_is_nan_and_touches_no_other() -> None:
    a = np.random.default_rng(2).random((3, 8, 8, 3)).astype(np.float32)
    b = a.copy()
    b[1] = 0.1
    r = pixel_correlation(a, b)
    assert np.isnan(r).tolist() == [False, True, False]


def test_independent_pictures_centre_on_zero() -> None:
    rng = np.random.default_rng(3)
    r = pixel_correlation(rng.random((200, 16, 16, 3)), rng.random((200, 16, 16, 3)))
    # One r of independent pixels has standard deviation 1/sqrt(767).
    assert abs(r.mean()) < 4 / np.sqrt(767 * 200)
    assert r.std() == pytest.approx(1 / np.sqrt(767), rel=0.2)


def test_unpaired_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="pair them one to one"):
        pixel_correlation(np.zeros((1, 4, 4, 3)), np.zeros((3, 4, 4, 3)))
