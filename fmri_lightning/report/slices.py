"""Native maps as small pictures: axial slices inside the subject's own brain, and flattened cortex."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.report.canvas import INK, to_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_SLICES = 10
PER_ROW = 5
WIDTH_PX = 800
"""About how wide the picture of all slices is."""
GAP = 2
"""Empty voxels between slices."""
BRAIN_RGBA = (0.5, 0.5, 0.5, 0.28)
STORE_RGBA = (0.5, 0.5, 0.5, 0.55)
COLOUR_MAP = "viridis"


def read_native(path: Path) -> NDArray[Any]:
    """Read a volume of the run's brain folder.

    Args:
        path: A .nii.gz file.

    Returns:
        (X, Y, Z), x growing to the subject's right, y to the front, z upwards.

    Raises:
        BadInputError: The file is missing or damaged.
    """
    import nibabel

    try:
        image: Any = nibabel.as_closest_canonical(nibabel.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes())))
        return np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise BadInputError(f"{path} cannot be read ({error}); run fmri-lightning brain again") from error


def chosen_slices(underlay: NDArray[Any], n: int = N_SLICES) -> list[int]:
    """Choose axial slices, evenly over those that hold a voxel of the store, from below.

    Args:
        underlay: 2 where the store has a voxel (X, Y, Z).
        n: At most so many.
    """
    inside = np.flatnonzero((underlay == 2).any(axis=(0, 1)))
    if len(inside) <= n:
        return [int(k) for k in inside]
    return [int(k) for k in inside[np.linspace(0, len(inside) - 1, n).round().astype(int)]]


def mosaic(
    values: NDArray[Any], underlay: NDArray[Any], slices: list[int], top: float
) -> tuple[NDArray[np.float64], list[tuple[int, int]]]:
    """Lay slices side by side: the subject's left on the left, the front upwards.

    Args:
        values: Map (X, Y, Z), NaN where there is none; 0 is the darkest colour.
        underlay: 1 inside the brain, 2 where the store has a voxel (X, Y, Z).
        slices: Axial positions.
        top: Value of the brightest colour.

    Returns:
        RGBA (rows, columns, 4), the first row on top, and the left upper corner (column, row) of each slice.
    """
    import matplotlib as mpl

    x, y = values.shape[:2]
    n_rows = -(-len(slices) // PER_ROW)
    n_columns = min(PER_ROW, len(slices))
    picture = np.zeros((n_rows * (y + GAP), n_columns * (x + GAP), 4))
    corners = []
    colours = mpl.colormaps[COLOUR_MAP]
    for number, k in enumerate(slices):
        row, column = (number // PER_ROW) * (y + GAP), (number % PER_ROW) * (x + GAP)
        flat, ground = values[:, :, k].T[::-1], underlay[:, :, k].T[::-1]
        tile = np.zeros((y, x, 4))
        tile[ground == 1], tile[ground == 2] = BRAIN_RGBA, STORE_RGBA
        known = np.isfinite(flat)
        tile[known] = colours(np.clip(flat[known] / top, 0.0, 1.0))
        picture[row : row + y, column : column + x] = tile
        corners.append((column, row))
    return picture, corners


def draw_slices(values: NDArray[Any], underlay: NDArray[Any], label: str, title: str) -> str:
    """Draw a map.

    Args:
        values: (X, Y, Z), NaN where there is none.
        underlay: 1 inside the brain, 2 where the store has a voxel (X, Y, Z).
        label: What the colours are, with its unit.
        title: What a reader who cannot see the figure is told.

    Returns:
        An ``<svg>`` element; "" where the map has no value at all.
    """
    known = values[np.isfinite(values)]
    slices = chosen_slices(underlay)
    if not known.size or not slices:
        return ""
    top = max(float(np.quantile(known, 0.99)), 1e-6)
    picture, corners = mosaic(values, underlay, slices, top)
    figure = _figure(picture, corners, slices, values.shape[0])
    _colour_bar(figure, top, label)
    return _without_space(to_svg(figure, title))


def draw_flat(path: Path, quantity: str, label: str, title: str) -> str:
    """Draw a map on flattened cortex, left hemisphere on the left.

    Args:
        path: ``flat.npz`` of the run's brain folder.
        quantity: Which map.
        label: What the colours are, with its unit.
        title: What a reader who cannot see the figure is told.

    Returns:
        An ``<svg>`` element; "" where the map has no value at all.

    Raises:
        BadInputError: The file is missing or damaged.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            sides = [(arrays[f"{quantity}.{side}"], arrays[f"cortex.{side}"]) for side in ("lh", "rh")]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BadInputError(f"{path} cannot be read ({error}); run fmri-lightning brain again") from error
    known = np.concatenate([values[np.isfinite(values)] for values, _ in sides])
    if not known.size:
        return ""
    top = max(float(np.quantile(known, 0.99)), 1e-6)
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    for axes, (values, cortex), name in zip(figure.subplots(1, 2), sides, ("left", "right"), strict=True):
        picture = np.zeros((*values.shape, 4))
        picture[cortex] = BRAIN_RGBA
        drawn = np.isfinite(values)
        picture[drawn] = mpl.colormaps[COLOUR_MAP](np.clip(values[drawn] / top, 0.0, 1.0))
        axes.imshow(picture, interpolation="none", aspect="equal")
        axes.set_axis_off()
        axes.set_title(f"{name} hemisphere", fontsize=8, color=INK)
    _colour_bar(figure, top, label)
    return _without_space(to_svg(figure, title))


def _without_space(svg: str) -> str:
    """The line break that matplotlib puts into an address has become a space."""
    return svg.replace(";base64, ", ";base64,")


def _figure(picture: NDArray[np.float64], corners: list[tuple[int, int]], slices: list[int], width: int) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 0.7 + 7.2 * picture.shape[0] / picture.shape[1]), layout="constrained")
    axes = figure.subplots(1, 1)
    # A browser would blur voxels when it enlarges the picture: they are enlarged here, and pack as well as before.
    factor = max(1, WIDTH_PX // picture.shape[1])
    extent = (-0.5, picture.shape[1] - 0.5, picture.shape[0] - 0.5, -0.5)
    axes.imshow(picture.repeat(factor, 0).repeat(factor, 1), interpolation="none", aspect="equal", extent=extent)
    axes.set_axis_off()
    for (column, row), k in zip(corners, slices, strict=True):
        axes.text(column, row + 1, f"L  z {k}", color=INK, fontsize=6, va="top", ha="left")
        axes.text(column + width - 1, row + 1, "R", color=INK, fontsize=6, va="top", ha="right")
    return figure


def _colour_bar(figure: Figure, top: float, label: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure.colorbar(
        ScalarMappable(Normalize(0, top), COLOUR_MAP), ax=figure.axes, location="bottom", shrink=0.5, aspect=40
    )
    bar.set_label(label, fontsize=8, color=INK)
    bar.ax.tick_params(colors=INK, labelsize=7)
    bar.outline.set_visible(False)
