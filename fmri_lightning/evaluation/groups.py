"""Groups of stimuli that scores are shown for apart: categories, where they are known."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.runs import Run
from fmri_lightning.index.table import read_index, subject_folder
from fmri_lightning.manifest import read_json
from fmri_lightning.records import STIMULUS_CATEGORIES

MIN_STIMULI = 5
"""Fewer stimuli than this give no interval worth showing."""


def categories_of(run: Run, named: Path | None = None) -> dict[int, set[str]]:
    """Find out what the stimuli of a run show.

    Args:
        run: The run.
        named: A table that the user named; else the one beside the run's index, or else beside its stimuli, if there is
            one.

    Returns:
        nsd_id to its categories; empty where nothing is known.

    Raises:
        BadInputError: The table is missing or unreadable.
    """
    provenance = run.summary.get("provenance", {})
    beside = Path(provenance["root"]) / STIMULUS_CATEGORIES if provenance.get("root") else None
    if provenance.get("index_root"):
        of_index = subject_folder(provenance["index_root"], str(run.summary["subject"])) / STIMULUS_CATEGORIES
        beside = of_index if of_index.is_file() else beside
    path = named if named is not None else beside
    if path is None or (named is None and not path.is_file()):
        return {}
    coco_ids: dict[int, int] = {}
    if path.suffix.lower() == ".json" and provenance.get("index_root"):
        table = read_index(provenance["index_root"], str(run.summary["subject"]))
        coco_ids = dict(zip(table.nsd_id.tolist(), table.coco_id.tolist(), strict=True))
    return read_categories(path, coco_ids)


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
    content = read_json(path)
    try:
        names = {int(category["id"]): str(category["name"]) for category in content["categories"]}
        shown: dict[int, set[str]] = {}
        for annotation in content["annotations"]:
            shown.setdefault(int(annotation["image_id"]), set()).add(names[int(annotation["category_id"])])
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{path} is not COCO's instances file ({error!r})") from error
    if not coco_ids:
        raise BadInputError(f"{path} speaks of COCO ids, and the run names no index that gives them to stimuli")
    return {nsd_id: shown[coco_id] for nsd_id, coco_id in coco_ids.items() if coco_id in shown}
