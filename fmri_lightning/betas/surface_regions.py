"""Regions on the average surface: masks by file or by the name of a label, and the vertices that they keep.

NSD's names of labels are public and few, so that they are written here: the challenge's files keep them in pickled
dictionaries, and unpickling runs code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError

HEMISPHERES = ("lh", "rh")
FSAVERAGE = "fsaverage"
FSAVERAGE_VERTICES = 163_842
"""Vertices of a hemisphere of FreeSurfer's average surface. A surface of another size is a miniature."""

LABEL_NAMES: dict[str, tuple[str, ...]] = {
    "nsdgeneral": ("nsdgeneral",),
    "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "prf-eccrois": ("ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"),
    "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    "floc-places": ("OPA", "PPA", "RSC"),
    "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    "streams": ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
}
"""Names of the labels 1, 2, ... of NSD's region files."""

Labels = dict[str, NDArray[np.int64]]
"""By hemisphere, (n_vertices,); above 0 a label."""


def region_mask(regions: Mapping[str, Labels], roi: str, where: str) -> dict[str, NDArray[np.bool_]]:
    """Say which vertices belong to a region file (any label above 0) or to one named label of it.

    Args:
        regions: Labels of each hemisphere by region file.
        roi: A region file such as "nsdgeneral", or a label such as "V1v".
        where: Subject and files, for the message.

    Returns:
        By hemisphere, (n_vertices,) bool.

    Raises:
        BadInputError: If the region is unknown or empty.
    """
    named = {label: (file, k) for file, labels in LABEL_NAMES.items() for k, label in enumerate(labels, 1)}
    file, label = (roi, None) if roi in regions else named.get(roi, ("", None))
    if file not in regions:
        raise BadInputError(f"no region {roi!r} in {where}; --roi takes {', '.join(regions)}, or a label such as V1v")
    masks = {h: (values > 0 if label is None else values == label) for h, values in regions[file].items()}
    if not any(mask.any() for mask in masks.values()):
        raise BadInputError(f"region {roi!r} of {where} is empty (no label above 0); choose another --roi")
    return masks


def check_labels(name: str, labels: NDArray[np.integer], where: object) -> None:
    """Refuse labels that NSD's region file of that name does not have.

    Args:
        name: Of the region file.
        labels: (n,), at most 0 where there is none.
        where: The file, for the message.

    Raises:
        BadInputError: If a label is too high.
    """
    known = LABEL_NAMES.get(name)
    if known is not None and len(labels) and labels.max() > len(known):
        raise BadInputError(
            f"{where} holds the label {int(labels.max())}, {name} has {len(known)} ({', '.join(known)}); it is another "
            "region's file"
        )


def vertex_columns(
    vertices: Mapping[str, NDArray[np.integer]], regions: Mapping[str, Labels]
) -> dict[str, NDArray[Any]]:
    """Describe the kept vertices, left hemisphere first: which they are, and their label in every region.

    Args:
        vertices: Kept vertices of each hemisphere, ascending, 0-based.
        regions: Labels of all vertices of each hemisphere, by region file.

    Returns:
        "hemisphere" (str), "vertex" (int32) and "roi.NAME" (int16), each (n,).
    """
    columns: dict[str, NDArray[Any]] = {
        "hemisphere": np.repeat(np.array(HEMISPHERES), [len(vertices[h]) for h in HEMISPHERES]),
        "vertex": np.concatenate([vertices[h] for h in HEMISPHERES]).astype(np.int32),
    }
    for name, labels in regions.items():
        columns[f"roi.{name}"] = np.concatenate([labels[h][vertices[h]] for h in HEMISPHERES]).astype(np.int16)
    return columns


def no_positions(n: int) -> NDArray[np.int32]:
    """Return the positions of n vertices in a volume: they have none, int32 (n, 3) of -1."""
    return np.full((n, 3), -1, dtype=np.int32)
