"""Regions of interest and noise ceilings as voxel columns.

NSD codes a region volume as -1 outside the cortical ribbon, 0 cortex without a label, 1 and up the labels.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError


def roi_folder(root: Path, subject: str, space: str) -> Path:
    """Name the folder of a subject's region volumes."""
    return root / "nsddata" / "ppdata" / subject / space / "roi"


def roi_names(root: Path, subject: str, space: str) -> list[str]:
    """List the region volumes of a subject, sorted; hemispheres carry "lh." or "rh." in front."""
    return sorted(path.name.removesuffix(".nii.gz") for path in roi_folder(root, subject, space).glob("*.nii.gz"))


def read_volume(path: Path) -> NDArray[Any]:
    """Read a three-dimensional NIfTI volume.

    Args:
        path: A .nii or .nii.gz file.

    Returns:
        (X, Y, Z), in the type it is stored in.

    Raises:
        BadInputError: If it is missing, damaged or not three-dimensional.
    """
    import nibabel

    if not path.is_file():
        raise BadInputError(f"{path} is missing; it comes with the NSD download")
    try:
        image: Any = nibabel.load(path)
        volume: NDArray[Any] = np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, zlib.error, nibabel.filebasedimages.ImageFileError) as error:
        raise BadInputError(f"{path} cannot be read ({error}); download it again") from error
    if volume.ndim != 3:
        raise BadInputError(f"{path} has {volume.ndim} axes, expected (x, y, z)")
    return volume


def mask_voxels(root: Path, subject: str, space: str, roi: str) -> tuple[NDArray[np.int32], tuple[int, ...]]:
    """List the voxels of a region, any label above 0.

    Args:
        root: Folder that contains ``nsddata/``.
        subject: For instance "subj01".
        space: "func1pt8mm" or "func1mm".
        roi: Name of a region volume, for instance "nsdgeneral".

    Returns:
        Positions (x, y, z) counted from 0, int32 (n_voxels, 3), z fastest (the order of MindEye's vectors),
        and the shape of the volume.

    Raises:
        BadInputError: If the region is unknown or empty.
    """
    names = roi_names(root, subject, space)
    if roi not in names:
        present = ", ".join(names) or "none"
        raise BadInputError(f"no region {roi!r} in {roi_folder(root, subject, space)}; present: {present}")
    volume = read_volume(roi_folder(root, subject, space) / f"{roi}.nii.gz")
    ijk = np.argwhere(volume > 0).astype(np.int32)
    if not len(ijk):
        raise BadInputError(f"region {roi!r} of {subject} is empty (no label above 0); choose another --roi")
    return ijk, volume.shape


def labels_at(
    root: Path, subject: str, space: str, ijk: NDArray[np.int32], shape: tuple[int, ...]
) -> dict[str, NDArray[np.int16]]:
    """Look up every region volume at some voxels.

    Args:
        root: Folder that contains ``nsddata/``.
        subject: For instance "subj01".
        space: "func1pt8mm" or "func1mm".
        ijk: Voxel positions, (n_voxels, 3).
        shape: Shape that every volume must have.

    Returns:
        Labels per region, int16 (n_voxels,).

    Raises:
        BadInputError: If a volume is damaged or of another shape.
    """
    labels = {}
    for name in roi_names(root, subject, space):
        path = roi_folder(root, subject, space) / f"{name}.nii.gz"
        labels[name] = _same_shape(read_volume(path), shape, path)[tuple(ijk.T)].astype(np.int16)
    return labels


def published_ncsnr(beta_folder: Path, ijk: NDArray[np.int32], shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Look up NSD's noise-ceiling signal-to-noise ratio at some voxels.

    Args:
        beta_folder: Folder of the betas; each betas version has its own map.
        ijk: Voxel positions, (n_voxels, 3).
        shape: Shape that the map must have.

    Returns:
        float32 (n_voxels,), NaN outside the brain; None where the tree has no map.

    Raises:
        BadInputError: If the map is damaged or of another shape.
    """
    path = beta_folder / "ncsnr.nii.gz"
    if not path.is_file():
        return None
    ncsnr: NDArray[np.float32] = _same_shape(read_volume(path), shape, path)[tuple(ijk.T)].astype(np.float32)
    return ncsnr


def _same_shape(volume: NDArray[Any], shape: tuple[int, ...], path: Path) -> NDArray[Any]:
    if volume.shape != tuple(shape):
        raise BadInputError(f"{path} is {volume.shape}, the mask is {tuple(shape)}; they are not of one space")
    return volume
