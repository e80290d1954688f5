"""Regions of a beta store among the voxels that an encoder reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import UsageError
from fmri_lightning.evaluation.brain.regions import NAMED, WHOLE
from fmri_lightning.usage import closest

EVERY = "all"


@dataclass(frozen=True, eq=False)
class Rois:
    """Regions.

    Attributes:
        members: Region to its voxels of the store (n_voxels,) bool; all voxels that are read come first, as WHOLE.
        skipped: Regions that are left out, and why.
    """

    members: dict[str, NDArray[np.bool_]]
    skipped: dict[str, str]

    def regions(self) -> dict[str, NDArray[np.bool_]]:
        """The regions without the whole."""
        return {name: mask for name, mask in self.members.items() if name != WHOLE}


def find_rois(
    roi_labels: dict[str, NDArray[np.int16]],
    read: NDArray[np.int64],
    n_voxels: int,
    wanted: list[str] | None = None,
    min_voxels: int = 10,
) -> Rois:
    """Find the regions of a store.

    Args:
        roi_labels: Label volume to labels (n_voxels,), as in a beta store.
        read: Voxels that the encoder reads (v,).
        n_voxels: Voxels of the store.
        wanted: Label volumes whose every label is a region, or "all" for every volume of both hemispheres together.
            None for the named regions: V1 to hV4, the streams, and areas for bodies, faces, places and words.
        min_voxels: Regions with fewer voxels among those read are left out.

    Returns:
        The regions, in the order of the volumes and labels.

    Raises:
        UsageError: A volume is not in the store.
    """
    is_read = np.zeros(n_voxels, dtype=bool)
    is_read[read] = True
    found, skipped = {WHOLE: is_read}, {}
    for name, mask in _masks(roi_labels, wanted):
        members = mask & is_read
        n = int(members.sum())
        if n < min_voxels:
            skipped[name] = f"{n} voxels that the encoder reads, fewer than {min_voxels}"
        else:
            found[name] = members
    return Rois(found, skipped)


def _masks(roi_labels: dict[str, NDArray[np.int16]], wanted: list[str] | None) -> list[tuple[str, NDArray[np.bool_]]]:
    if wanted is None:
        known = [(name, *entry) for name, entry in NAMED.items() if entry[0] in roi_labels]
        return [(name, np.isin(roi_labels[volume], labels)) for name, volume, labels in known]
    both = [name for name in roi_labels if not name.startswith(("lh.", "rh."))]
    masks = []
    for volume in both if wanted == [EVERY] else wanted:
        if volume not in roi_labels:
            raise UsageError(
                f"--rois {volume}: the beta store has no such region volume"
                f"{closest(volume, roi_labels) or '; it has ' + (', '.join(both) or 'none')}"
            )
        labels = roi_labels[volume]
        masks += [(f"{volume} {label}", labels == label) for label in np.unique(labels[labels > 0]).tolist()]
    return masks
