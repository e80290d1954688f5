"""Cosines against scipy and scikit-learn."""

import numpy as np
import pytest
from scipy.spatial.distance import cosine as scipy_distance
from sklearn.metrics.pairwise import cosine_similarity

from fmri_lightning.metrics.cosine import centred_cosine, cosine, cosine_matrix, mean_vector_cosine


def test_equals_scipy_and_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 9, 33)).astype(np.float32)
    expected = [1 - scipy_distance(x.astype(float), y.astype(float)) for x, y in zip(a, b, strict=True)]
    assert cosine(a, b) == pytest.approx(expected, abs=1e-12)
    assert np.abs(cosine_matrix(a, b[:4]) - cosine_similarity(a.astype(float), b[:4].astype(float))).max() < 1e-12


def test_cone_flatters_the_plain_cosine_only() -> None:
    rng = np.random.default_rng(1)
    mean = np.full(512, 1.0)
    truth = mean + 0.5 * rng.standard_normal((200, 512))
    collapsed = mean + 1e-3 * rng.standard_normal((200, 512))
    assert cosine(collapsed, truth).mean() == pytest.approx(mean_vector_cosine(mean, truth).mean(), abs=1e-3)
    assert cosine(collapsed, truth).mean() > 0.85
    assert abs(centred_cosine(collapsed, truth, mean).mean()) < 4 / np.sqrt(512 * 200)
    assert centred_cosine(truth, truth, mean) == pytest.approx(np.ones(200), abs=1e-12)


def test_scale_does_not_matter_and_zero_is_nan() -> None:
    a = np.array([[3.0, 4.0], [0.0, 0.0]])
    result = cosine(a, np.array([[30.0, 40.0], [1.0, 0.0]]))
    assert result == pytest.approx([1.0, np.nan], abs=1e-15, nan_ok=True)


def test_other_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="differ"):
        cosine(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="dimension"):
        cosine_matrix(np.zeros((2, 3)), np.zeros((2, 4)))
