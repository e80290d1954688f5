"""COCO's annotation files: sentences and objects of the photographs that are asked for, and of no others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.json_stream import JsonStream

CAPTIONS = "captions"
INSTANCES = "instances"
Photograph = tuple[str, int]
"""Split and id of a photograph: the same number may be another photograph in the other split."""


@dataclass(frozen=True)
class CocoObject:
    """One annotated object of a photograph.

    Attributes:
        category_id: COCO's number.
        bbox: Left, top, width and height in pixels of the whole photograph.
        is_crowd: Whether the box is around a group.
    """

    category_id: int
    bbox: tuple[float, float, float, float]
    is_crowd: bool


@dataclass
class CocoFile:
    """What one file says of the photographs that were asked for.

    Attributes:
        path: The file.
        sha256: Of the file.
        sizes: Height and width in pixels by id.
        captions: Sentences by id, in the order of their own numbers; files of captions only.
        objects: By id, in the order of their own numbers; files of instances only.
        categories: Name and supercategory by number; files of instances only.
    """

    path: Path
    sha256: str = ""
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    captions: dict[int, list[str]] = field(default_factory=dict)
    objects: dict[int, list[CocoObject]] = field(default_factory=dict)
    categories: dict[int, tuple[str, str]] = field(default_factory=dict)


def annotation_file(folder: Path, kind: str, split: str) -> Path:
    """Name a file of COCO's.

    Args:
        folder: Where the files lie.
        kind: :data:`CAPTIONS` or :data:`INSTANCES`.
        split: "train2017" or "val2017".
    """
    return folder / f"{kind}_{split}.json"


def read_coco_file(path: Path, kind: str, wanted: Iterable[int]) -> CocoFile:
    """Read one annotation file, entry by entry.

    Args:
        path: The file.
        kind: :data:`CAPTIONS` or :data:`INSTANCES`.
        wanted: Ids of photographs of this file's split.

    Returns:
        What it says of them; a photograph without annotations has none.

    Raises:
        BadInputError: If the file is missing, damaged or another one, or does not list a photograph.
    """
    if not path.is_file():
        raise BadInputError(
            f"{path} is missing; it comes with annotations_trainval2017.zip of COCO, of which both splits are needed"
        )
    ids = set(wanted)
    found, stream = CocoFile(path), JsonStream(path)
    numbered: list[tuple[int, int, Any]] = []
    place = "it"
    try:
        for name, entry in stream.entries():
            place = f"an entry of {name}"
            if name == "images" and int(entry["id"]) in ids:
                found.sizes[int(entry["id"])] = (int(entry["height"]), int(entry["width"]))
            elif name == "categories":
                found.categories[int(entry["id"])] = (str(entry["name"]), str(entry.get("supercategory", "")))
            elif name == "annotations" and int(entry["image_id"]) in ids:
                numbered.append((int(entry["image_id"]), int(entry["id"]), _content(kind, entry)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInputError(f"{path}: {place} is not as in COCO's {kind} files ({error!r})") from error
    found.sha256 = stream.sha256
    _require_listed(found, ids)
    for photograph, _, content in sorted(numbered, key=lambda one: one[:2]):
        if kind == CAPTIONS:
            found.captions.setdefault(photograph, []).append(content)
        elif content.category_id not in found.categories:
            raise BadInputError(f"{path}: category {content.category_id} of image {photograph} is not in its list")
        else:
            found.objects.setdefault(photograph, []).append(content)
    return found


def _content(kind: str, entry: dict[str, Any]) -> str | CocoObject:
    if kind == CAPTIONS:
        # Some of COCO's sentences end in a line break.
        return " ".join(str(entry["caption"]).split())
    x, y, width, height = (float(number) for number in entry["bbox"])
    return CocoObject(int(entry["category_id"]), (x, y, width, height), bool(entry.get("iscrowd", 0)))


def _require_listed(found: CocoFile, ids: set[int]) -> None:
    absent = sorted(ids - found.sizes.keys())
    if absent:
        raise BadInputError(
            f"{found.path} does not list {len(absent)} of {len(ids)} photographs of its split, image {absent[0]} "
            "first; it is not the file of COCO 2017, or of the other split"
        )
