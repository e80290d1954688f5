"""The simulated head: a box, an ellipsoidal brain in it, its cortex, and regions in it named as in NSD.

Axes are NIfTI's: i grows to the right, j to the front, k upwards. Voxels are listed with k fastest (C order of
an (X, Y, Z) volume). The sides of the box differ from each other and between subjects, so that a reader that
mixes up axes fails at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmri_lightning.simulate.recipe import RECIPE

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Shape = tuple[int, int, int]

PICTURE_DEG = 8.4
"""Width of a picture in the visual field."""

ROI_NAMES: dict[str, dict[int, str]] = {
    "nsdgeneral": {1: "nsdgeneral"},
    "prf-visualrois": {1: "V1v", 2: "V1d", 3: "V2v", 4: "V2d", 5: "V3v", 6: "V3d", 7: "hV4"},
    "prf-eccrois": {1: "ecc0pt5", 2: "ecc1", 3: "ecc2", 4: "ecc4", 5: "ecc4+"},
    "floc-faces": {1: "OFA", 2: "FFA-1", 3: "FFA-2", 4: "mTL-faces", 5: "aTL-faces"},
    "floc-bodies": {1: "EBA", 2: "FBA-1", 3: "FBA-2", 4: "mTL-bodies"},
    "floc-places": {1: "OPA", 2: "PPA", 3: "RSC"},
    "floc-words": {1: "OWFA", 2: "VWFA-1", 3: "VWFA-2", 4: "mfs-words", 5: "mTL-words"},
    "streams": {1: "early", 2: "midventral", 3: "midlateral", 4: "midparietal", 5: "ventral", 6: "lateral"}
    | {7: "parietal"},
}
"""Label files of a subject. Regions without voxels here: mTL-*, aTL-*, mfs-words, and all of floc-words."""

_DORSAL = {2: 0.40, 4: 0.31, 6: 0.29}
_VENTRAL = {1: 0.22, 3: 0.30, 5: 0.23, 7: 0.25}
_RF_SLOPE = {1: 0.15, 2: 0.15, 3: 0.22, 4: 0.22, 5: 0.30, 6: 0.30, 7: 0.45}
# label file, label, stream it lies in, share of nsdgeneral
_PATCHES = (
    ("floc-faces", 1, 6, 0.010),
    ("floc-faces", 2, 5, 0.020),
    ("floc-faces", 3, 5, 0.012),
    ("floc-bodies", 1, 6, 0.080),
    ("floc-bodies", 2, 5, 0.015),
    ("floc-places", 1, 7, 0.040),
    ("floc-places", 2, 5, 0.040),
)


@dataclass(frozen=True)
class Brain:
    """Where the voxels of a subject are and what they belong to; V voxels inside the brain mask.

    Attributes:
        shape: sides (X, Y, Z) of the box in voxels.
        ijk: int64 (V, 3).
        cortex: bool (V,).
        left: bool (V,), left hemisphere.
        labels: label file → int64 (V,), 0 = none.
        centre: float64 (V, 2), receptive field, fraction of the picture from left and from top.
        rf_sigma: float64 (V,), its width, fraction of the picture.
        semantic: float64 (V,), how much of the signal comes from the meaning of a picture, 0..1.
    """

    shape: Shape
    ijk: IntArray
    cortex: npt.NDArray[np.bool_]
    left: npt.NDArray[np.bool_]
    labels: dict[str, IntArray]
    centre: FloatArray
    rf_sigma: FloatArray
    semantic: FloatArray

    @property
    def nsdgeneral(self) -> npt.NDArray[np.bool_]:
        """Which voxels of the brain mask are in nsdgeneral, bool (V,)."""
        return self.labels["nsdgeneral"] > 0

    def volume(self, values: npt.NDArray[np.generic], outside: float) -> npt.NDArray[np.generic]:
        """Put one value a voxel into the box, (X, Y, Z), with ``outside`` beyond the brain mask."""
        box = np.full(self.shape, outside, dtype=values.dtype)
        box[tuple(self.ijk.T)] = values
        return box


def box_shape(subject: int, nsdgeneral_voxels: int) -> Shape:
    """Return the sides of a subject's box, all different, about five times nsdgeneral in volume."""
    rng = np.random.default_rng([subject, 303])
    edge = (5.3 * nsdgeneral_voxels) ** (1 / 3)
    sides = np.array([0.91, 1.19, 0.97]) * edge * rng.uniform(0.88, 1.12, 3)
    x, y, z = (int(side) for side in np.maximum(sides.round(), 6))
    z -= int(z == x)
    while y in (x, z):
        y += 1
    return x, y, z


def make_brain(subject: int, nsdgeneral_voxels: int, seed: int) -> Brain:
    """Lay out the brain of a subject.

    Args:
        subject: 1-based number.
        nsdgeneral_voxels: Exact number of voxels in nsdgeneral.
        seed: Seed of the simulation.

    Returns:
        Its geometry.
    """
    rng = np.random.default_rng([seed, subject, 301])
    shape = box_shape(subject, nsdgeneral_voxels)
    ijk, unit = _ellipsoid(shape, nsdgeneral_voxels)
    radius = np.linalg.norm(unit, axis=1)
    cortex = radius >= np.sort(radius)[::-1][min(len(radius) - 1, round(1.6 * nsdgeneral_voxels))]
    back = -unit[:, 1] + rng.normal(0, 0.03, len(unit)) - np.where(cortex, 0.0, 9.0)
    order = np.argsort(-back, kind="stable")
    visual, n_early = order[:nsdgeneral_voxels], round(RECIPE.early_fraction * nsdgeneral_voxels)
    labels = {name: np.zeros(len(ijk), dtype=np.int64) for name in ROI_NAMES}
    labels["nsdgeneral"][visual] = 1
    early, higher = visual[:n_early], visual[n_early:]
    labels["prf-visualrois"][early] = _area_bands(unit[early])
    labels["streams"][early] = np.where(labels["prf-visualrois"][early] == 7, 2, 1)
    labels["streams"][higher] = _streams(unit[higher], -back[higher])
    centre, sigma = _receptive_fields(unit, labels, rng)
    labels["prf-eccrois"][early] = _eccentricity_labels(centre[early], labels["prf-visualrois"][early])
    _place_patches(labels, ijk, unit, nsdgeneral_voxels, cortex, rng)
    semantic = np.choose(np.minimum(labels["streams"], 5), [1.0, 0.0, 0.6, 0.6, 0.6, 1.0])
    semantic[labels["prf-visualrois"] == 7] = 0.35
    return Brain(shape, ijk, cortex, unit[:, 0] < 0, labels, centre, sigma, semantic)


def _ellipsoid(shape: Shape, nsdgeneral_voxels: int) -> tuple[IntArray, FloatArray]:
    """Return the voxels of the brain mask and their positions in units of the half axes."""
    sides = np.array(shape)
    ijk = np.argwhere(np.ones(shape, dtype=bool))
    unit = (ijk - (sides - 1) / 2) / (sides / 2)
    radius = np.linalg.norm(unit, axis=1)
    count = min(len(radius), round(2.4 * nsdgeneral_voxels))
    inside = radius <= np.partition(radius, count - 1)[count - 1]
    return ijk[inside], unit[inside]


def _area_bands(unit: FloatArray) -> IntArray:
    """Label V1 to hV4 in bands going up and down from the calcarine plane."""
    labels = np.zeros(len(unit), dtype=np.int64)
    for part, bands in ((unit[:, 2] >= 0, _DORSAL), (unit[:, 2] < 0, _VENTRAL)):
        rank = np.empty(part.sum())
        rank[np.argsort(np.abs(unit[part, 2]), kind="stable")] = np.arange(part.sum()) / max(1, part.sum())
        edges = np.cumsum(list(bands.values()))[:-1]
        labels[part] = np.array(list(bands))[np.searchsorted(edges, rank, side="right")]
    return labels


def _streams(unit: FloatArray, front: FloatArray) -> IntArray:
    """Label higher voxels: the rear quarter is mid-level; low is ventral, high parietal, between lateral."""
    height = np.searchsorted(np.quantile(unit[:, 2], [0.4, 0.8]), unit[:, 2], side="right")
    middle = front < np.quantile(front, 0.25)
    labels: IntArray = np.where(middle, 2, 5) + height
    return labels


def _receptive_fields(
    unit: FloatArray, labels: dict[str, IntArray], rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return centres and widths: eccentricity grows to the front, the angle turns within each area."""
    n = len(unit)
    area = labels["prf-visualrois"]
    eccentricity, angle = 4.2 * rng.random(n), rng.uniform(-90, 90, n)
    slope = np.full(n, 0.6)
    for label, width in _RF_SLOPE.items():
        chosen = np.flatnonzero(area == label)
        if len(chosen) == 0:
            continue
        slope[chosen] = width
        front = np.argsort(np.argsort(unit[chosen, 1], kind="stable"), kind="stable") / len(chosen)
        turn = np.argsort(np.argsort(np.abs(unit[chosen, 2]), kind="stable"), kind="stable") / len(chosen)
        turn = 1 - turn if label in (3, 4) else turn  # the map of V2 is mirrored
        eccentricity[chosen] = 0.1 + 4.0 * front**1.5 + rng.normal(0, 0.1, len(chosen))
        degrees = 180 * turn - 90 if label == 7 else 90 * turn * (1 if label % 2 == 0 else -1)
        # Dorsal areas see the lower field, ventral ones the upper; picture rows grow downwards.
        angle[chosen] = degrees + rng.normal(0, 5, len(chosen))
    eccentricity = np.clip(eccentricity, 0.05, 4.2)
    side = np.where(unit[:, 0] < 0, 1.0, -1.0)  # the left hemisphere sees the right half of the field
    x = 0.5 + side * eccentricity * np.cos(np.deg2rad(angle)) / PICTURE_DEG
    y = 0.5 + eccentricity * np.sin(np.deg2rad(angle)) / PICTURE_DEG
    return np.stack([x, y], axis=1), (0.25 + slope * eccentricity) / PICTURE_DEG


def _eccentricity_labels(centre: FloatArray, area: IntArray) -> IntArray:
    degrees = np.linalg.norm(centre - 0.5, axis=1) * PICTURE_DEG
    return np.where(area == 7, 0, np.searchsorted([0.5, 1.0, 2.0, 4.0], degrees) + 1)


def _place_patches(
    labels: dict[str, IntArray],
    ijk: IntArray,
    unit: FloatArray,
    nsdgeneral_voxels: int,
    cortex: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> None:
    """Grow the category-selective regions round a random voxel of their stream in each hemisphere."""
    outside = np.where(cortex & (labels["nsdgeneral"] == 0), 99, labels["streams"])
    for name, label, stream, share in (*_PATCHES, ("floc-places", 3, 99, 0.02)):
        for left in (True, False):
            free = np.flatnonzero((outside == stream) & ((unit[:, 0] < 0) == left) & (labels[name] == 0))
            if len(free) == 0:
                continue
            distance = np.linalg.norm(ijk[free] - ijk[rng.choice(free)], axis=1)
            count = max(1, round(share * nsdgeneral_voxels / 2))
            labels[name][free[np.argsort(distance, kind="stable")[:count]]] = label
