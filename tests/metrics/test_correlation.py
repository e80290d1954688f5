"""The matrix of correlations against numpy in float64, on features made to break float32."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fmri_lightning.metrics import correlation
from fmri_lightning.metrics.identification import correlation_matrix

WIDE = 10_001  # float32 products, and a last block that is not full


def reference(a: NDArray[np.generic], b: NDArray[np.generic]) -> NDArray[np.float64]:
    return np.corrcoef(a.astype(np.float64), b.astype(np.float64))[: len(a), len(a) :]


def hostile(name: str, d: int) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Pairs of feature sets, related to different degrees."""
    rng = np.random.default_rng(len(name))
    x = rng.standard_normal((7, d))
    y = rng.random((5, 1)) * x[:5] + rng.standard_normal((5, d))
    run = min(64, d // 10)
    blocks_x = np.repeat(rng.random((7, d // run + 1)) > 0.5, run, axis=1)[:, :d]
    blocks_y = blocks_x[:5] ^ (rng.random((5, d)) > 0.9)
    outlier = 1e4 * (np.arange(d) % 5000 == 17)
    dead = np.arange(d) < d // 2
    made = {
        "plain": (x.astype(np.float32), y.astype(np.float32)),
        "large offset": ((1e3 + x).astype(np.float32), (1e3 + y).astype(np.float32)),
        "variance of some units in the last place": ((1 + 1e-6 * x).astype(np.float32), (1 + 1e-6 * y).astype("f4")),
        "half, large mean": ((60 + x).astype(np.float16), (60 + y).astype(np.float16)),
        "half, after a ReLU": (np.maximum(8 * x, 0).astype(np.float16), np.maximum(8 * y, 0).astype(np.float16)),
        "dead channels": (np.where(dead, 0, np.maximum(x, 0)).astype("f4"), np.maximum(y, 0).astype("f4")),
        "two levels in blocks": (
            np.where(blocks_x, 0.3, 0.1).astype("f4"),
            np.where(blocks_y, 0.33, 0.111).astype("f4"),
        ),
        "heavy tails": (np.exp(3 * x).astype(np.float32), np.exp(3 * y).astype(np.float32)),
        "few outliers": ((x + outlier).astype(np.float32), (y + outlier).astype(np.float32)),
        "bytes": (np.clip(128 + 40 * x, 0, 255).astype(np.uint8), np.clip(99 + 50 * y, 0, 255).astype(np.uint8)),
        "would overflow": ((1e25 * x).astype(np.float32), y.astype(np.float32)),
        "would vanish": (x.astype(np.float32), (1e-25 * y).astype(np.float32)),
        "doubles": (1e8 + x, y),
    }
    return made[name]


NAMES = [
    "plain",
    "large offset",
    "variance of some units in the last place",
    "half, large mean",
    "half, after a ReLU",
    "dead channels",
    "two levels in blocks",
    "heavy tails",
    "few outliers",
    "bytes",
    "would overflow",
    "would vanish",
    "doubles",
]


@pytest.mark.parametrize("d", [97, WIDE])
@pytest.mark.parametrize("name", NAMES)
def test_equals_numpy(name: str, d: int) -> None:
    a, b = hostile(name, d)
    # Narrow features are computed in float64; wide ones in blocks of float32, eight units in the last place of 1.
    limit = 1e-6 if d == WIDE else 1e-11
    assert np.abs(correlation_matrix(a, b) - reference(a, b)).max() < limit
    assert np.abs(correlation_matrix(b, a) - reference(b, a)).max() < limit


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    a = (rng.standard_normal((7, 101)) + 100).astype(np.float32)
    b = (rng.standard_normal((5, 101)) - 50).astype(np.float32)
    monkeypatch.setattr(correlation, "BLOCK", 16)
    assert np.abs(correlation_matrix(a, b) - reference(a, b)).max() < 1e-10


def test_inputs_stay_as_they_were() -> None:
    a, b = hostile("plain", WIDE)
    before = a.tobytes(), b.tobytes()
    correlation_matrix(a, b)
    assert (a.tobytes(), b.tobytes()) == before


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_comparisons_with_the_diagonal_are_those_of_float64(dtype: type[np.floating]) -> None:
    # Rows that are almost one: their correlations with a third one differ in the seventh digit.
    rng = np.random.default_rng(8)
    base = rng.standard_normal(WIDE)
    a = (base + 1e-5 * rng.standard_normal((12, WIDE))).astype(dtype)
    b = (base + rng.standard_normal((12, WIDE))).astype(dtype)
    found, expected = correlation_matrix(a, b), reference(a, b)
    for own in (np.diagonal(found)[None, :], np.diagonal(found)[:, None]):
        true = np.diagonal(expected).reshape(own.shape)
        assert ((found < own) == (expected < true)).all()


def test_some_near_ties_are_settled_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    a, b = rng.standard_normal((2, 40, WIDE)).astype(np.float32)
    a[7] = a[31]
    a[7, :3] += 1e-4
    expected = reference(a, b)
    dtypes = []
    covariances = correlation._covariances
    monkeypatch.setattr(correlation, "_covariances", lambda *args: dtypes.append(args[2]) or covariances(*args))
    found = correlation_matrix(a, b)
    assert dtypes == [np.float32]
    for i, j in ((7, 31), (31, 31), (31, 7), (7, 7)):
        assert found[i, j] == pytest.approx(expected[i, j], abs=1e-14)
    assert (found[7, 31] < found[31, 31]) == (expected[7, 31] < expected[31, 31])
    # The same for anchors in rows.
    turned = correlation_matrix(b, a)
    assert dtypes == [np.float32, np.float32]
    assert turned[31, 7] == pytest.approx(expected[7, 31], abs=1e-14)


def test_zero_of_either_sign_is_one_value() -> None:
    a = np.random.default_rng(11).standard_normal((3, 50))
    a[0, :5] = 0.0
    a[2] = a[0]
    a[2, :5] = -0.0
    assert correlation.Rows.of(a).which.tolist() == [0, 1, 0]
    r = correlation_matrix(a, a[:2] + 1e-3)
    assert r[0].tobytes() == r[2].tobytes()


def test_rows_alike_where_they_are_probed_are_told_apart() -> None:
    a = np.random.default_rng(12).standard_normal((4, 640))
    a[:, ::10] = 0.0
    assert correlation.Rows.of(a).first is None
    a[3] = a[1]
    rows = correlation.Rows.of(a)
    assert rows.first is not None
    assert rows.first.tolist() == [0, 1, 2]
    assert rows.which.tolist() == [0, 1, 2, 1]


def test_nan_stays_in_its_row() -> None:
    a, b = hostile("plain", WIDE)
    a = a.copy()
    a[1, 5] = np.nan
    assert np.isnan(correlation_matrix(a, b)).all(axis=1).tolist() == [i == 1 for i in range(7)]
    a[1, 5] = np.inf
    assert np.isnan(correlation_matrix(a, b)).all(axis=1).tolist() == [i == 1 for i in range(7)]
