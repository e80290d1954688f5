"""COCO's annotation files for the photographs of tiny_coco, and what is right about them in whole pixels.

Written without the package; the crops are those of ``Photo.cuts_px``, which nobody rounds.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

from tests.index.tiny_coco import PHOTOS, Photo

CATEGORIES = {1: ("person", "person"), 17: ("cat", "animal"), 18: ("dog", "animal"), 90: ("toothbrush", "indoor")}
WITHOUT_OBJECTS = 6


@dataclass
class Entry:
    """A photograph in a file, with boxes as (category, left, top, width, height, iscrowd)."""

    split: str
    coco_id: int
    height: int
    width: int
    captions: list[str] = field(default_factory=list)
    boxes: list[tuple[int, float, float, float, float, int]] = field(default_factory=list)


def write_files(folder: Path, entries: list[Entry], kinds: tuple[str, ...] = ("captions", "instances")) -> None:
    """Write files of both splits, their entries shuffled."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train2017", "val2017"):
        here = [entry for entry in entries if entry.split == split]
        images = [
            {"id": e.coco_id, "height": e.height, "width": e.width, "file_name": f"{e.coco_id:012d}.jpg"} for e in here
        ]
        captions = [(e.coco_id, text) for e in here for text in e.captions]
        instances = [(e.coco_id, box) for e in here for box in e.boxes]
        content = {
            "captions": [{"image_id": i, "id": 10 + k, "caption": text} for k, (i, text) in enumerate(captions)],
            "instances": [_instance(i, 10 + k, box) for k, (i, box) in enumerate(instances)],
        }
        for kind in kinds:
            rng = random.Random(split + kind)
            annotations = content[kind]
            rng.shuffle(images)
            rng.shuffle(annotations)
            file = {"info": {"year": 2017}, "licenses": [], "images": images, "annotations": annotations}
            if kind == "instances":
                file["categories"] = [
                    {"id": number, "name": name, "supercategory": group} for number, (name, group) in CATEGORIES.items()
                ]
            (folder / f"{kind}_{split}.json").write_text(json.dumps(file), encoding="utf-8")


def _instance(image: int, number: int, box: tuple[int, float, float, float, float, int]) -> dict:
    category, x, y, width, height, crowd = box
    outline = {"counts": [5, 7], "size": [3, 4]} if crowd else [[x, y, x + width, y, x + width, y + height]]
    return {
        "image_id": image,
        "id": number,
        "category_id": category,
        "bbox": [x, y, width, height],
        "iscrowd": crowd,
        "area": width * height / 2,
        "segmentation": outline,
    }


def boxes_of(number: int, photo: Photo) -> list[tuple[int, float, float, float, float, int]]:
    """One thing inside the crop, a group across each edge of it, and one in each strip that was cut off."""
    if number == WITHOUT_OBJECTS:
        return []
    top, bottom, left, right = photo.cuts_px
    width, height = photo.width, photo.height
    found = [(17, left + 40.0, top + 60.0 + number, 120.0, 90.0, 0)]
    found.append((1, left - min(10, left), top - min(10, top), 100.0, 100.0, 1))
    if right:
        found.append((18, width - right - 30.0, top + 5.0, 60.0 if right >= 30 else 30.0 + right, 50.0, 0))
        found.append((90, width - right, 0.0, right, height, 0))
    if left:
        found.append((90, 0.0, 5.0, left, 30.0, 0))
    if top:
        found.append((90, 3.0, 0.0, 40.0, top, 0))
    if bottom:
        found.append((90, 3.0, height - bottom, 40.0, bottom, 0))
    return found


def captions_of(number: int) -> list[str]:
    return [f"picture {number}, sentence {k}" for k in range(5 + number % 2)]


def entries() -> list[Entry]:
    """All photographs, and for each a namesake of the same size in the other split where the number is free."""
    found = [
        Entry(photo.split, photo.coco_id, photo.height, photo.width, captions_of(i), boxes_of(i, photo))
        for i, photo in enumerate(PHOTOS)
    ]
    taken = {(photo.split, photo.coco_id) for photo in PHOTOS}
    for photo in PHOTOS:
        other = "val2017" if photo.split == "train2017" else "train2017"
        if (other, photo.coco_id) not in taken:
            whole = (90, 0.0, 0.0, float(photo.width), float(photo.height), 0)
            found.append(Entry(other, photo.coco_id, photo.height, photo.width, ["a namesake"], [whole]))
    return found


def expected_objects(number: int, size_px: int) -> list[tuple[str, tuple[float, ...], float, float]]:
    """Name, box in the shown square, share of the square, share that is left, by the cuts in whole pixels."""
    photo = PHOTOS[number]
    top, bottom, left, right = photo.cuts_px
    rows, columns = photo.height - top - bottom, photo.width - left - right
    found = []
    for category, x, y, width, height, _ in boxes_of(number, photo):
        inside_x = [column for column in range(columns) if x <= column + left < x + width]
        inside_y = [row for row in range(rows) if y <= row + top < y + height]
        if not inside_x or not inside_y:
            continue
        scale_x, scale_y = size_px / columns, size_px / rows
        box = (
            inside_x[0] * scale_x,
            inside_y[0] * scale_y,
            len(inside_x) * scale_x,
            len(inside_y) * scale_y,
        )
        area = len(inside_x) * len(inside_y)
        found.append((CATEGORIES[category][0], box, area / (rows * columns), area / (width * height)))
    return found
