"""The same maps on flattened cortex, by NSD's own transforms from a subject's volumes to that subject's surface.

``transforms/{lh,rh}.func1pt8-to-layerB{1,2,3}.mgz`` holds, for every vertex of the subject's surface at three depths,
where it lies in the volume: matrix coordinates counted from 1, 9999 where it lies in none. A vertex takes the nearest
voxel at each depth, and the mean over the depths that have a value. Vertices are laid out by a flat patch of the
subject's own surface; where there is none, by that of fsaverage, whose vertices ``white-to-fsaverage.mgz`` finds in
the subject's surface (one number each, counted from 1). Without these files nothing is flattened.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.voxels.maps import NativeSpace

HEMISPHERES = ("lh", "rh")
LAYERS = ("layerB1", "layerB2", "layerB3")
OWN_PATCHES = ("full.flat.patch.3d", "gEVC.flat.patch.3d", "gVTC.flat.patch.3d")
STANDARD_PATCH = "full.flat.patch.3d"
NAME_IN_TRANSFORMS = {"func1pt8mm": "func1pt8", "func1mm": "func1pt0"}
NOWHERE = 9999.0
MM_PER_PX = 1.0
REACH_MM = 2.5
"""A pixel farther than this from every vertex shows nothing."""


@dataclass(frozen=True, eq=False)
class FlatCortex:
    """One hemisphere, flattened.

    Attributes:
        hemisphere: "lh" or "rh".
        layout: What laid it out, for the caption.
        place_mm: Position of each vertex in the plane, (n, 2).
        coordinates: Where each vertex lies in the volume at each depth, counted from 0; NaN for nowhere
            (depths, n, 3).
    """

    hemisphere: str
    layout: str
    place_mm: NDArray[np.float64]
    coordinates: NDArray[np.float64]

    def sample(self, volume: NDArray[np.floating]) -> NDArray[np.float64]:
        """Mean over depths of the nearest voxel's value, (n,); NaN where no depth has one."""
        values = np.full(self.coordinates.shape[:2], np.nan)
        nearest = np.floor(self.coordinates + 0.5)
        inside = np.isfinite(nearest).all(axis=2)
        inside &= (np.nan_to_num(nearest) >= 0).all(axis=2)
        inside &= (np.nan_to_num(nearest) < np.array(volume.shape)).all(axis=2)
        values[inside] = volume[tuple(nearest[inside].astype(np.int64).T)]
        known = np.isfinite(values)
        total = np.where(known, values, 0.0).sum(axis=0)
        mean = np.divide(total, known.sum(axis=0), out=np.full(len(total), np.nan), where=known.any(axis=0))
        return np.asarray(mean)

    def raster(self, values: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Draw values of the vertices (n,) on a grid of one millimetre, each pixel its nearest vertex.

        Returns:
            The values (rows, columns), first row on top, NaN where there is none; and where there is cortex at all.
        """
        from scipy.spatial import cKDTree

        low, high = self.place_mm.min(axis=0) - MM_PER_PX, self.place_mm.max(axis=0) + MM_PER_PX
        columns, rows = (np.ceil((high - low) / MM_PER_PX)).astype(int) + 1
        x, y = np.meshgrid(low[0] + MM_PER_PX * np.arange(columns), high[1] - MM_PER_PX * np.arange(rows))
        distance, vertex = cKDTree(self.place_mm).query(np.stack([x.ravel(), y.ravel()], axis=1))
        cortex = (distance <= REACH_MM).reshape(rows, columns)
        picture = np.where(cortex.ravel(), np.asarray(values)[vertex], np.nan).reshape(rows, columns)
        return picture.astype(np.float32), cortex


def flat_cortex(space: NativeSpace, root: Path) -> tuple[list[FlatCortex], str]:
    """Find what flattens a subject's cortex.

    Args:
        space: Volume of the maps.
        root: NSD tree.

    Returns:
        Both hemispheres and ""; or nothing and why.

    Raises:
        BadInputError: A file is damaged, or files do not belong to each other.
    """
    transforms = root / "nsddata" / "ppdata" / space.subject / "transforms"
    source = NAME_IN_TRANSFORMS.get(space.name)
    found = []
    for hemisphere in HEMISPHERES:
        layers = [transforms / f"{hemisphere}.{source}-to-{layer}.mgz" for layer in LAYERS]
        missing = [path.name for path in layers if not path.is_file()]
        if missing:
            return [], f"the NSD tree has no transforms/{missing[0]} of {space.subject}"
        coordinates = np.stack([_read_mgz(path, 3) for path in layers])
        coordinates[(coordinates == NOWHERE).any(axis=2)] = np.nan
        laid_out, why = _lay_out(root, space.subject, hemisphere, transforms, coordinates.shape[1])
        if laid_out is None:
            return [], why
        layout, vertices, place_mm = laid_out
        found.append(FlatCortex(hemisphere, layout, place_mm, coordinates[:, vertices] - 1.0))
    return found, ""


def _lay_out(
    root: Path, subject: str, hemisphere: str, transforms: Path, n_vertices: int
) -> tuple[tuple[str, NDArray[np.int64], NDArray[np.float64]] | None, str]:
    """Vertices of the subject's surface and their places in the plane."""
    surfaces = root / "nsddata" / "freesurfer"
    for name in OWN_PATCHES:
        path = surfaces / subject / "surf" / f"{hemisphere}.{name}"
        if path.is_file():
            vertices, place_mm = read_patch(path, n_vertices)
            return (f"{subject}'s own flat patch {name}", vertices, place_mm), ""
    standard = surfaces / "fsaverage" / "surf" / f"{hemisphere}.{STANDARD_PATCH}"
    crossing = transforms / f"{hemisphere}.white-to-fsaverage.mgz"
    if not standard.is_file() or not crossing.is_file():
        return None, (
            f"the NSD tree has no flat patch of {subject}'s cortex, nor fsaverage's {standard.name} together with "
            f"transforms/{crossing.name}"
        )
    own = _read_mgz(crossing, 1)[:, 0].round().astype(np.int64) - 1
    if own.min() < 0 or own.max() >= n_vertices:
        raise BadInputError(f"{crossing} names vertices beyond the {n_vertices} of {subject}; download it again")
    vertices, place_mm = read_patch(standard, len(own))
    return (f"fsaverage's flat patch, reached by NSD's transform {crossing.name}", own[vertices], place_mm), ""


def read_patch(path: Path, n_vertices: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Read a flat patch of FreeSurfer.

    Args:
        path: Big-endian: -1, the number of vertices, then a number and x, y, z of each. Numbers count from 1 and are
            negative at the border.
        n_vertices: Of the whole surface.

    Returns:
        Vertices counted from 0, in the file's order (n,), and their x and y in mm (n, 2).

    Raises:
        BadInputError: The file is damaged, or is of another surface.
    """
    content = path.read_bytes()
    head = np.frombuffer(content[:8].ljust(8, b"\0"), dtype=">i4")
    rows = np.frombuffer(content[8 : 8 + 16 * (len(content[8:]) // 16)], dtype=[("vertex", ">i4"), ("xyz", ">f4", 3)])
    if head[0] != -1 or head[1] != len(rows) or len(rows) == 0 or (rows["vertex"] == 0).any():
        raise BadInputError(f"{path} is no flat patch of FreeSurfer, or is cut off; download it again")
    vertices = np.abs(rows["vertex"].astype(np.int64)) - 1
    if vertices.max() >= n_vertices:
        raise BadInputError(f"{path} has vertex {vertices.max()}, its surface {n_vertices}; they are of two subjects")
    return vertices, rows["xyz"][:, :2].astype(np.float64)


def _read_mgz(path: Path, width: int) -> NDArray[np.float64]:
    """Numbers of every vertex, (n, width)."""
    import zlib

    import nibabel

    try:
        image: Any = nibabel.load(path)
        values = np.asarray(image.dataobj, dtype=np.float64)
    except (OSError, EOFError, ValueError, zlib.error, nibabel.filebasedimages.ImageFileError) as error:
        raise BadInputError(f"{path} cannot be read ({error}); download it again") from error
    if values.size != len(values) * width:
        raise BadInputError(f"{path} is {values.shape}, expected {width} numbers a vertex; download it again")
    return values.reshape(len(values), width)


def flatten(cortex: list[FlatCortex], volumes: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    """Draw maps on flattened cortex.

    Args:
        cortex: Hemispheres.
        volumes: Quantity to its volume (X, Y, Z).

    Returns:
        Arrays named "quantity.lh", and "cortex.lh" for where there is cortex; (rows, columns).
    """
    pictures: dict[str, NDArray[Any]] = {}
    for side in cortex:
        for name, volume in volumes.items():
            pictures[f"{name}.{side.hemisphere}"], inside = side.raster(side.sample(volume))
            pictures[f"cortex.{side.hemisphere}"] = inside
    return pictures
