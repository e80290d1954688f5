"""Correlation of many feature rows with many, in float32 products that keep the accuracy of float64.

With the row's mean over a block of columns taken off first, the covariance is the sum over blocks of the covariance
within each and that of the block means (Chan, Golub & LeVeque, 1983). The first part is the large one: float32
products of small deviations. All else is float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.pearson import pearson

# Columns per product. With this many, r is off by 3e-7 at most in the tests, whose features are hostile.
BLOCK = 512
# From here on float32 pays, and rounding averages out over the blocks.
FLOAT32_FEATURES = 8192
# Mean squares that float32 can square without overflow or denormal numbers.
FLOAT32_POWER = (1e-28, 1e28)
# Two float32 results nearer than this may stand in the wrong order.
NEAR = 1e-6
# One r in float64 alone costs as much as this many of a whole matrix in float64.
COST_ALONE = 50
# Values of a row that are compared before whole rows are.
PROBES = 64


@dataclass(frozen=True)
class Rows:
    """The distinct rows of a feature set.

    Attributes:
        features: Features (n, d).
        first: Where each distinct row stands first (u,); None when all are distinct.
        which: Distinct row of each row (n,).
    """

    features: NDArray[np.generic]
    first: NDArray[np.intp] | None
    which: NDArray[np.intp]

    @classmethod
    def of(cls, features: NDArray[np.generic]) -> Rows:
        """Find the distinct rows.

        Args:
            features: Features (n, d).

        Returns:
            The rows; equal ones by value count once.
        """
        n, d = features.shape
        probes = features[:, :: max(1, d // PROBES)]
        _, alike, counts = np.unique(probes, axis=0, return_inverse=True, return_counts=True)
        which = np.arange(n)
        seen: dict[bytes, int] = {}
        for i in np.flatnonzero(counts[alike] > 1):
            # Adding zero makes equal values equal bytes: -0.0 becomes 0.0.
            content = (features[i] + features.dtype.type(0)).tobytes()
            which[i] = seen.setdefault(blake2b(content, digest_size=16).digest(), int(i))
        first, inverse = np.unique(which, return_inverse=True)
        return cls(features, None if len(first) == n else first, inverse)

    def __len__(self) -> int:
        """Number of distinct rows."""
        return len(self.features) if self.first is None else len(self.first)

    def row(self, index: int) -> NDArray[np.generic]:
        """Features (d,) of a distinct row.

        Args:
            index: Number of the distinct row.

        Returns:
            Its features, a view.
        """
        place = index if self.first is None else int(self.first[index])
        return np.asarray(self.features[place])

    def read(self, start: int, out: NDArray[np.floating]) -> None:
        """Copy a block of columns of the distinct rows.

        Args:
            start: First column.
            out: Room (u, width) that is filled.
        """
        columns = slice(start, start + out.shape[1])
        block = self.features[:, columns] if self.first is None else self.features[self.first, columns]
        if block.dtype == np.float16 and out.dtype == np.float32:
            # numpy's own conversion is six times slower where zeros and other values alternate, as after a ReLU.
            np.take(_all_halves(), block.view(np.uint16), out=out, mode="clip")
        else:
            out[...] = block

    def constant(self) -> NDArray[np.bool_]:
        """Which distinct rows hold one value only.

        Returns:
            bool (u,).
        """
        rows = np.arange(len(self.features)) if self.first is None else self.first
        left = np.arange(len(rows))
        for start in range(0, self.features.shape[1], BLOCK):
            block = self.features[rows[left], start : start + BLOCK]
            left = left[(block == self.features[rows[left], :1]).all(axis=1)]
        constant = np.zeros(len(rows), dtype=bool)
        constant[left] = True
        return constant


def correlate(a: Rows, b: Rows) -> tuple[NDArray[np.float64], bool]:
    """Pearson r of all distinct rows with each other.

    Args:
        a: Rows (n, d).
        b: Rows (m, d).

    Returns:
        float64 (distinct rows of a, of b), NaN where a row is constant; and whether float64 was used throughout.
    """
    fits = all(np.can_cast(rows.features.dtype, np.float32) for rows in (a, b))
    constant_a, constant_b = a.constant(), b.constant()
    if fits and a.features.shape[1] >= FLOAT32_FEATURES:
        product, power_a, power_b = _covariances(a, b, np.dtype(np.float32))
        low, high = (limit * a.features.shape[1] for limit in FLOAT32_POWER)
        powers = np.concatenate([power_a[~constant_a], power_b[~constant_b]])
        if not np.any((powers < low) | (powers > high)):
            return _normalised(product, power_a, power_b, constant_a, constant_b), False
    return _normalised(*_covariances(a, b, np.dtype(np.float64)), constant_a, constant_b), True


def settle_near_ties(r: NDArray[np.float64], a: Rows, b: Rows) -> NDArray[np.float64]:
    """Replace what may stand on the wrong side of its anchor by values in float64.

    Args:
        r: Correlations of distinct rows, off by rounding in float32.
        a: Rows (n, d).
        b: Rows (n, d), the true partner of each.

    Returns:
        Correlations in which r[i, j] compares with r[j, j] and with r[i, i] as in float64.
    """
    full = r[np.ix_(a.which, b.which)]
    own = np.diagonal(full)
    # Equal rows share one entry, so they tie whatever its rounding.
    with_column = (np.abs(full - own[None, :]) < NEAR) & (a.which[:, None] != a.which[None, :])
    with_row = (np.abs(full - own[:, None]) < NEAR) & (b.which[:, None] != b.which[None, :])
    i, j = np.nonzero(with_column | with_row)
    if len(i) * COST_ALONE > full.size:
        return _normalised(*_covariances(a, b, np.dtype(np.float64)), a.constant(), b.constant())
    entries = {(int(a.which[p]), int(b.which[q])) for p, q in (*zip(i, j, strict=True), *zip(i, i, strict=True))}
    entries |= {(int(a.which[q]), int(b.which[q])) for q in j}
    for p, q in entries:
        r[p, q] = pearson(a.row(p), b.row(q))
    return r


def _normalised(
    product: NDArray[np.float64],
    power_a: NDArray[np.float64],
    power_b: NDArray[np.float64],
    constant_a: NDArray[np.bool_],
    constant_b: NDArray[np.bool_],
) -> NDArray[np.float64]:
    # A constant row keeps a rounding residue after centring: its values say so exactly.
    length_a = np.sqrt(np.where(constant_a, np.nan, power_a))
    length_b = np.sqrt(np.where(constant_b, np.nan, power_b))
    return np.asarray(np.clip(product / length_a[:, None] / length_b[None, :], -1.0, 1.0))


def _covariances(
    a: Rows, b: Rows, dtype: np.dtype[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Centred products of all pairs of rows, and centred sums of squares of each row."""
    d = a.features.shape[1]
    left, right = _Side(a, dtype), _Side(b, dtype)
    product = np.zeros((len(a), len(b)))
    part = np.empty((len(a), len(b)), dtype)
    # Too large or infinite features end as NaN, or begin again in float64.
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, d, BLOCK):
            x, y = left.centred(start), right.centred(start)
            np.matmul(x, y.T, out=part)
            product += part
        means_a, residues_a = left.between_blocks()
        means_b, residues_b = right.between_blocks()
    product += np.hstack([means_a, -residues_a]) @ np.hstack([means_b, residues_b]).T
    return product, left.power, right.power


class _Side:
    """Block means and power of one feature set, gathered block by block."""

    def __init__(self, rows: Rows, dtype: np.dtype[np.floating]) -> None:
        self.rows = rows
        d = rows.features.shape[1]
        self.widths = np.array([min(BLOCK, d - start) for start in range(0, d, BLOCK)], dtype=np.float64)
        self.room = np.empty((len(rows), BLOCK), dtype)
        self.means = np.empty((len(rows), len(self.widths)))
        self.residues = np.empty_like(self.means)
        self.power = np.zeros(len(rows))

    def centred(self, start: int) -> NDArray[np.floating]:
        """Deviations from the rounded mean of a block; remembers what rounding left of the mean."""
        number = start // BLOCK
        width = int(self.widths[number])
        x = self.room[:, :width]
        self.rows.read(start, x)
        mean = x.mean(axis=1)
        x -= mean[:, None]
        residue = x.sum(axis=1).astype(np.float64)
        self.means[:, number] = mean + residue / width
        self.residues[:, number] = residue
        self.power += np.vecdot(x, x)
        return x

    def between_blocks(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Block means about the row's mean, and residues, scaled so that products of them are sums over features."""
        scale = np.sqrt(self.widths)
        grand = self.means @ self.widths / self.widths.sum()
        means, residues = (self.means - grand[:, None]) * scale, self.residues / scale
        self.power += (means * means).sum(axis=1) - (residues * residues).sum(axis=1)
        return means, residues


@cache
def _all_halves() -> NDArray[np.float32]:
    """Every float16 as float32, by its bits."""
    return np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
