"""Captions in the form of COCO_73k_annots_curated.npy: a table of text, a row for each picture of the catalogue."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fmri_lightning.records import STIMULUS_CATEGORIES

CURATED = "COCO_73k_annots_curated.npy"
PER_PICTURE = 5
_FORMS = ("a picture of {}", "{} in a simulated scene", "this shows {}", "there is {} here", "a simulated view of {}")
# As in COCO, a few pictures have fewer than five.
_SHORT_ONE_IN = 7


def captions_of(root: Path, n_catalogue: int) -> npt.NDArray[np.str_]:
    """Make captions of the categories that the tree lists.

    Args:
        root: Root of the tree, which holds its table of categories.
        n_catalogue: Pictures of the catalogue.

    Returns:
        Fixed-width text (n_catalogue, 5), the row is the 0-based nsd_id; "" where a picture has fewer captions.
    """
    shown: list[list[str]] = [[] for _ in range(n_catalogue)]
    with open(root / STIMULUS_CATEGORIES, encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            shown[int(row["nsd_id"])].append(row["category"])
    things = [" and ".join(names) or "an empty place" for names in shown]
    rows = [[form.format(thing) for form in _FORMS] for thing in things]
    for number in range(0, n_catalogue, _SHORT_ONE_IN):
        rows[number][-1] = ""
    return np.array(rows)
