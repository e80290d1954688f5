"""Regions of visual cortex that voxel scores are shown for, from NSD's label volumes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WHOLE = "all voxels"
NAMED: dict[str, tuple[str, tuple[int, ...]]] = {
    "V1": ("prf-visualrois", (1, 2)),
    "V2": ("prf-visualrois", (3, 4)),
    "V3": ("prf-visualrois", (5, 6)),
    "hV4": ("prf-visualrois", (7,)),
    "early": ("streams", (1,)),
    "midventral": ("streams", (2,)),
    "midlateral": ("streams", (3,)),
    "midparietal": ("streams", (4,)),
    "ventral": ("streams", (5,)),
    "lateral": ("streams", (6,)),
    "parietal": ("streams", (7,)),
    "bodies": ("floc-bodies", (1, 2, 3, 4)),
    "faces": ("floc-faces", (1, 2, 3, 4, 5)),
    "places": ("floc-places", (1, 2, 3)),
    "words": ("floc-words", (1, 2, 3, 4, 5)),
}
"""Region to label volume and labels (NSD Data Manual; dorsal and ventral parts together)."""


def regions(
    roi_labels: dict[str, NDArray[np.int16]], usable: NDArray[np.bool_], min_voxels: int = 10
) -> dict[str, NDArray[np.bool_]]:
    """Voxels of every region that a beta store knows.

    Args:
        roi_labels: Label volume to labels (n_voxels,), as in a beta store.
        usable: Voxels that were measured (n_voxels,).
        min_voxels: Regions with fewer usable voxels are left out.

    Returns:
        Region to voxels (n_voxels,) bool; all usable ones first.
    """
    found = {WHOLE: usable}
    for name, (volume, labels) in NAMED.items():
        if volume in roi_labels:
            members = np.isin(roi_labels[volume], labels) & usable
            if members.sum() >= min_voxels:
                found[name] = members
    return found
