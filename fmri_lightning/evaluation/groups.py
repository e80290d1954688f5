"""Groups of stimuli that scores are shown for apart: categories, where they are known."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.runs import Run
from fmri_lightning.index.annotation_table import annotations_folder, annotations_hash, read_annotations
from fmri_lightning.index.annotations import Annotations
from fmri_lightning.index.coco_stimuli import COCO_SPLITS
from fmri_lightning.index.json_stream import JsonStream
from fmri_lightning.index.table import read_index, subject_folder
from fmri_lightning.records import STIMULUS_CATEGORIES

MIN_STIMULI = 5
"""Fewer stimuli than this give no interval worth showing."""
MIN_AREA = 0.02
"""A box of 60 x 60 pixels of NSD's 425 x 425: 1.2 of 8.4 degrees of visual angle."""


@dataclass(frozen=True)
class Grouping:
    """What is asked of the rows per category.

    Attributes:
        table: A table that the user named; it goes before everything else.
        min_area: Share of the picture, 0 to 1, that the boxes of a category must cover together; annotations only.
        supercategories: Whether COCO's groups of categories get rows too; annotations only.
    """

    table: Path | None = None
    min_area: float = MIN_AREA
    supercategories: bool = False


@dataclass(frozen=True)
class Known:
    """What the stimuli of a run show, and how that is known.

    Attributes:
        categories: nsd_id to its categories; empty where nothing is known.
        source: File that says so, "" where there is none.
        inputs: Content hash of the annotations, for the manifest.
        config: Settings that decided the categories, for the manifest.
    """

    categories: dict[int, set[str]] = field(default_factory=dict)
    source: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


def categories_of(run: Run, grouping: Grouping = Grouping()) -> Known:
    """Find out what the stimuli of a run show.

    The table that the user named, else the annotations beside the run's index, else stimulus_categories.csv beside the
    index or, last, in the data root.

    Args:
        run: The run.
        grouping: What is asked.

    Returns:
        The categories.

    Raises:
        BadInputError: A table or the annotations are unreadable, or supercategories are asked of something else than
            annotations.
    """
    found = _known(run, grouping)
    if grouping.supercategories and not found.inputs:
        raise BadInputError(
            f"--supercategories are COCO's: they need annotations beside the index of {run.folder}, not "
            f"{found.source or 'nothing'}; run again: fmri-lightning index --annotations DIR"
        )
    return found


def _known(run: Run, grouping: Grouping) -> Known:
    provenance, subject = run.summary.get("provenance", {}), str(run.summary.get("subject", ""))
    index_root = provenance.get("index_root")
    if grouping.table is not None:
        return Known(_of_table(grouping.table, index_root, subject), grouping.table.as_posix())
    if index_root:
        annotations = read_annotations(index_root, subject)
        if annotations is not None and annotations.objects is not None:
            shown = categories_in(annotations, grouping.min_area, grouping.supercategories)
            asked = {"min_area": grouping.min_area, "supercategories": grouping.supercategories}
            place = annotations_folder(index_root, subject)
            return Known(shown, place.as_posix(), {"annotations": annotations_hash(annotations)}, {"categories": asked})
        of_index = subject_folder(index_root, subject) / STIMULUS_CATEGORIES
        if of_index.is_file():
            return Known(read_categories(of_index), of_index.as_posix())
    beside = Path(provenance["root"]) / STIMULUS_CATEGORIES if provenance.get("root") else None
    return Known() if beside is None or not beside.is_file() else Known(read_categories(beside), beside.as_posix())


def _of_table(path: Path, index_root: str | None, subject: str) -> dict[int, set[str]]:
    if path.suffix.lower() != ".json" or not index_root:
        return read_categories(path)
    table = read_index(index_root, subject)
    # The number of a photograph in train2017 may be that of another one in val2017.
    named = [split for split in COCO_SPLITS if split in path.name]
    rows = table.where(np.isin(table.coco_split, named)) if named else table
    coco_ids = dict(zip(rows.nsd_id.tolist(), rows.coco_id.tolist(), strict=True))
    return read_categories(path, coco_ids) if coco_ids else {}


def categories_in(annotations: Annotations, min_area: float, supercategories: bool = False) -> dict[int, set[str]]:
    """Say which categories each stimulus shows, by its annotations.

    Args:
        annotations: With objects.
        min_area: Share of the picture, 0 to 1, that the boxes of a category must cover together; where boxes overlap,
            the area counts twice.
        supercategories: Whether COCO's groups of categories are named too, as "any animal".

    Returns:
        nsd_id to its categories; a stimulus that shows none is left out.
    """
    found = {}
    for nsd_id, objects in annotations.objects_of().items():
        covered: dict[str, float] = {}
        for one in objects:
            names = [one.category, f"any {one.supercategory}"] if supercategories else [one.category]
            for name in names:
                covered[name] = covered.get(name, 0.0) + one.box.area_share
        large = {name for name, share in covered.items() if share >= min_area}
        if large:
            found[nsd_id] = large
    return found


def groups_of(
    ids: NDArray[np.int32], categories: dict[int, set[str]], min_stimuli: int = MIN_STIMULI
) -> dict[str, NDArray[np.bool_]]:
    """Sort items into categories; an item may belong to several.

    Args:
        ids: Stimulus of each item (n,).
        categories: nsd_id to its categories.
        min_stimuli: Categories with fewer different stimuli are left out.

    Returns:
        Category, in alphabetical order, to the items that belong to it (n,) bool.
    """
    names = sorted({name for nsd_id in ids.tolist() for name in categories.get(nsd_id, ())})
    groups = {name: np.array([name in categories.get(i, ()) for i in ids.tolist()]) for name in names}
    return {name: members for name, members in groups.items() if len(np.unique(ids[members])) >= min_stimuli}


def read_categories(path: Path, coco_ids: dict[int, int] | None = None) -> dict[int, set[str]]:
    """Read which categories stimuli show.

    Args:
        path: A CSV table with the columns ``nsd_id`` and ``category``, a row per category of a stimulus; or COCO's
            ``instances_*.json``, whose pictures are found by their COCO ids.
        coco_ids: nsd_id to COCO id, for COCO's file.

    Returns:
        nsd_id to its categories.

    Raises:
        BadInputError: The file is missing or is neither.
    """
    if not path.is_file():
        raise BadInputError(f"no file {path}; --categories takes a CSV with nsd_id and category, or COCO's instances")
    if path.suffix.lower() == ".json":
        return _from_coco(path, coco_ids or {})
    found: dict[int, set[str]] = {}
    try:
        with open(path, newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle):
                found.setdefault(int(row["nsd_id"]), set()).add(row["category"].strip())
    except (KeyError, ValueError, AttributeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is no table with the columns nsd_id and category ({error!r})") from error
    return found


def _from_coco(path: Path, coco_ids: dict[int, int]) -> dict[int, set[str]]:
    if not coco_ids:
        raise BadInputError(f"{path} speaks of COCO ids, and the run names no index that gives them to stimuli")
    wanted = set(coco_ids.values())
    names: dict[int, str] = {}
    shown: dict[int, set[int]] = {}
    seen: set[str] = set()
    try:
        for kind, entry in JsonStream(path).entries():
            seen.add(kind)
            if kind == "categories":
                names[int(entry["id"])] = str(entry["name"])
            elif kind == "annotations" and int(entry["image_id"]) in wanted:
                shown.setdefault(int(entry["image_id"]), set()).add(int(entry["category_id"]))
        if not {"categories", "annotations"} <= seen:
            raise KeyError("annotations, categories")
        named = {image: {names[number] for number in numbers} for image, numbers in shown.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{path} is not COCO's instances file ({error!r})") from error
    return {nsd_id: named[coco_id] for nsd_id, coco_id in coco_ids.items() if coco_id in named}
