"""Maps as NIfTI volumes in the subject's own space, and never in another.

A voxel of one brain is no place in another one: no map is written without the volume that the store's voxels were
cut from, whose shape and affine it takes. A standard brain needs a transform, which is not applied here.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.roi import read_volume, roi_folder
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import atomic_path, write_json

NEVER = "Never lay it on a standard brain (MNI, fsaverage) or on another subject's: it is in neither space."
UNDERLAY = "underlay"
"""1 inside the brain mask, 2 where the store has a voxel, 0 elsewhere."""


@dataclass(frozen=True, eq=False)
class NativeSpace:
    """The volume that a store's voxels were cut from.

    Attributes:
        name: For instance "func1pt8mm".
        subject: Whose.
        shape: (X, Y, Z).
        affine: Voxel to mm, (4, 4).
        ijk: Position of each voxel of the store (n_voxels, 3).
        brain: Brain mask (X, Y, Z) bool; None where the tree has none.
    """

    name: str
    subject: str
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    ijk: NDArray[np.int32]
    brain: NDArray[np.bool_] | None

    def volume(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Put one value a voxel of the store (n_voxels,) into the box, float32 (X, Y, Z), NaN elsewhere."""
        box = np.full(self.shape, np.nan, dtype=np.float32)
        box[tuple(self.ijk.T)] = values
        return box

    def underlay(self) -> NDArray[np.uint8]:
        """Brain mask and voxels of the store, uint8 (X, Y, Z)."""
        box = np.zeros(self.shape, dtype=np.uint8) if self.brain is None else self.brain.astype(np.uint8)
        box[tuple(self.ijk.T)] = 2
        return box


def native_space(store: BetaStore, root: Path | None = None) -> tuple[NativeSpace | None, str]:
    """Find the volume that a store's voxels belong to.

    Args:
        store: The store.
        root: Another place of the NSD tree that it was read from.

    Returns:
        The space and ""; or None and why there is none.

    Raises:
        BadInputError: The tree's region is another one than that of the store.
    """
    config, ijk = store.manifest.config, store.ijk
    subject, space, roi = (str(config.get(key, "")) for key in ("subject", "space", "roi"))
    if (ijk < 0).any() or "volume_shape" not in config:
        return None, (
            f"the beta store of {subject} has no voxel positions in a native volume "
            f"(source {config.get('source', '?')}); tables and bars are written, maps are not"
        )
    place = root if root is not None else Path(str(config.get("root", "")))
    path = roi_folder(place, subject, space) / f"{roi}.nii.gz"
    if not path.is_file():
        if root is not None:
            raise BadInputError(f"{path} is missing; --root is the NSD tree that the betas were read from")
        return None, (
            f"the region volume {roi} of {subject} in {space} is not on this machine; name its NSD tree with --root "
            "DIR for maps"
        )
    import nibabel

    region, image = read_volume(path), nibabel.load(path)
    if list(region.shape) != list(config["volume_shape"]) or not np.array_equal(np.argwhere(region > 0), ijk):
        raise BadInputError(f"{path} is not the region that the beta store of {subject} was cut from; name its tree")
    affine: Any = image.affine  # type: ignore[attr-defined]
    mask = roi_folder(place, subject, space).parent / "brainmask.nii.gz"
    brain = read_volume(mask) > 0 if mask.is_file() else None
    if brain is not None and brain.shape != region.shape:
        raise BadInputError(f"{mask} is {brain.shape}, the region is {region.shape}; they are not of one space")
    x, y, z = region.shape
    return NativeSpace(space, subject, (x, y, z), np.asarray(affine, dtype=np.float64), ijk, brain), ""


def write_map(
    folder: Path, name: str, volume: NDArray[np.generic], space: NativeSpace, about: dict[str, Any]
) -> list[Path]:
    """Write a volume with a description beside it; equal contents give equal bytes.

    Args:
        folder: Where.
        name: Of the files, ``{name}.nii.gz`` and ``{name}.json``.
        volume: (X, Y, Z).
        space: Of the volume.
        about: Description and unit.

    Returns:
        Both files.
    """
    import nibabel

    image = nibabel.Nifti1Image(volume, space.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = f"native {space.name} of {space.subject}, no standard brain".encode()[:79]
    path, beside = folder / f"{name}.nii.gz", folder / f"{name}.json"
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), 6, mtime=0))
    write_json(
        beside,
        about
        | {
            "space": f"native {space.name} of {space.subject}",
            "outside": "NaN: not a voxel of the beta store, or without a value" if volume.dtype.kind == "f" else "0",
            "warning": NEVER,
        },
    )
    return [path, beside]
