"""PixCorr against numpy, and on pictures with a known answer."""

import numpy as np
import pytest

from fmri_lightning.metrics.pixcorr import pixel_correlation


def reference(a: np.ndarray, b: np.ndarray) -> list[float]:
    return [np.corrcoef(x.ravel().astype(float), y.ravel().astype(float))[0, 1] for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("size", [32, 75, 130])
def test_equals_numpy_corrcoef(size: int) -> None:
    rng = np.random.default_rng(0)
    a = rng.random((6, size, size, 3)).astype(np.float32)
    b = (0.5 * a + 0.5 * rng.random(a.shape)).astype(np.float32)
    assert np.abs(pixel_correlation(a, b) - reference(a, b)).max() < 1e-12
    assert (
        np.abs(pixel_correlation(a[:, ::2, :, ::-1], b[:, ::2, :, ::-1]) - reference(a[:, ::2], b[:, ::2])).max()
        < 1e-12
    )


def test_nearly_constant_pictures_equal_numpy() -> None:
    rng = np.random.default_rng(4)
    texture = rng.standard_normal((2, 90, 90, 3))
    texture[1] += texture[0]
    faint = (1.0 - 1e-6 * np.abs(texture)).astype(np.float32)
    assert np.abs(pixel_correlation(faint[:1], faint[1:]) - reference(faint[:1], faint[1:])).max() < 1e-9
    one_pixel = np.full((1, 90, 90, 3), 0.7, dtype=np.float32)
    for place in ((0, 0, 0), (40, 3, 1), (89, 89, 2)):
        dot = one_pixel.copy()
        dot[0][place] = 0.7000001
        assert pixel_correlation(dot, faint[1:]) == pytest.approx(reference(dot, faint[1:]), abs=1e-9)
        assert pixel_correlation(dot, dot)[0] == 1.0
    # The first pixel is far from all others.
    corner = rng.random((1, 90, 90, 3))
    corner[0, 0, 0] = 1e4
    assert pixel_correlation(corner, texture[:1]) == pytest.approx(reference(corner, texture[:1]), abs=1e-9)


def test_known_answers() -> None:
    a = np.random.default_rng(1).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    assert pixel_correlation(a, a)[0] == 1.0
    assert pixel_correlation(a, 255 - a)[0] == pytest.approx(-1.0, abs=1e-15)
    assert pixel_correlation(a, a / 255.0 * 0.3 + 0.1)[0] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("level", [0.0, 0.1, 1.0])
def test_constant_picture_is_nan_and_touches_no_other(level: float) -> None:
    a = np.random.default_rng(2).random((3, 80, 80, 3)).astype(np.float32)
    b = a.copy()
    b[1] = level
    assert np.isnan(pixel_correlation(a, b)).tolist() == [False, True, False]
    assert np.isnan(pixel_correlation(b, a)).tolist() == [False, True, False]


def test_a_picture_that_begins_with_a_flat_area_is_not_constant() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.random((2, 1, 150, 150, 3)).astype(np.float32)
    a[0, :149] = 0.5
    assert pixel_correlation(a, b) == pytest.approx(reference(a, b), abs=1e-12)


def test_independent_pictures_centre_on_zero() -> None:
    rng = np.random.default_rng(3)
    r = pixel_correlation(rng.random((200, 16, 16, 3)), rng.random((200, 16, 16, 3)))
    # One r of independent pixels has standard deviation 1/sqrt(767).
    assert abs(r.mean()) < 4 / np.sqrt(767 * 200)
    assert r.std() == pytest.approx(1 / np.sqrt(767), rel=0.2)


def test_unpaired_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="pair them one to one"):
        pixel_correlation(np.zeros((1, 4, 4, 3)), np.zeros((3, 4, 4, 3)))
