"""COCO's annotation files for a simulated catalogue, as if each picture were cut from a larger photograph.

What a reader must get right is planted: boxes in pixels of the uncut photograph, things that lie wholly or partly in
what was cut off, sentences that mention them, groups whose outline is run lengths, photographs without any object,
entries in no order, and in each split photographs of no interest whose number is that of a stimulus of the other.
"""

from __future__ import annotations

import ast
import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fmri_lightning.simulate.nsd_tree import STIM_INFO
from fmri_lightning.simulate.pictures import PictureSource
from fmri_lightning.simulate.scenes import THINGS, describe_scene
from fmri_lightning.simulate.subject import Subject

FOLDER = Path("nsddata_stimuli/stimuli/nsd/annotations")
SPLITS = ("train2017", "val2017")
LONGER_SIDE_PX = 640
"""Of the invented photographs; the crops of the simulated catalogue are whole 640ths of it."""
WITHOUT_OBJECTS = 11
"""One photograph in so many has no objects."""
CROWDED = 7
"""One in so many has a group."""
STRADDLING = 5
"""One in so many has a thing across the edge of the crop."""
STRANGERS = 13
"""One photograph in so many of train2017, and each of val2017, has a namesake in the other split."""
_MARGIN_PX = 12
_KINDS = ("living", "made", "food", "furniture")
_BLOCK = 256


@dataclass(frozen=True)
class _Part:
    """A thing that a picture shows: left, top, width and height as fractions of the shown square."""

    category: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class _Photograph:
    """The photograph that a picture was cut from; cuts and sides in pixels."""

    nsd_id: int
    split: str
    coco_id: int
    height: int
    width: int
    cuts: tuple[int, int, int, int]


@dataclass
class _Split:
    """The contents of the two files of a split."""

    images: list[dict[str, Any]] = field(default_factory=list)
    captions: list[tuple[int, str]] = field(default_factory=list)
    instances: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class CocoFiles:
    """Writer of captions_*2017.json and instances_*2017.json.

    Attributes:
        root: Root of the tree, whose catalogue is already there.
        n_catalogue: Pictures in the catalogue.
        seed: Seed of the simulation.
    """

    root: Path
    n_catalogue: int
    seed: int

    def write_design(self, source: PictureSource) -> None:
        """Write the four files; ``source`` is the catalogue of pictures."""
        shown = self._shown(source)
        names = sorted(THINGS) if source.name == "scenes" else sorted({p.category for parts, _ in shown for p in parts})
        numbers = {name: 1 + 2 * place for place, name in enumerate(names)}
        splits = {split: _Split() for split in SPLITS}
        photographs = self._photographs()
        for photograph, (parts, sentences) in zip(photographs, shown, strict=True):
            _add(splits[photograph.split], photograph, parts, sentences, numbers)
        known = {(photograph.split, photograph.coco_id) for photograph in photographs}
        for photograph in photographs:
            other = SPLITS[1 - SPLITS.index(photograph.split)]
            seldom = photograph.split == "val2017" or photograph.nsd_id % STRANGERS == 0
            if seldom and (other, photograph.coco_id) not in known:
                _add_stranger(splits[other], photograph, numbers)
        folder = self.root / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for place, (split, content) in enumerate(splits.items()):
            rng = np.random.default_rng([self.seed, 410, place])
            _write(folder / f"captions_{split}.json", content.images, _numbered_captions(content), None, rng)
            _write(folder / f"instances_{split}.json", content.images, content.instances, numbers, rng)

    def write_subject(self, subject: Subject) -> None:
        """Leave the tree as it is: the pictures belong to all subjects."""

    def _photographs(self) -> list[_Photograph]:
        found = []
        with open(self.root / STIM_INFO, newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle):
                box = ast.literal_eval(row["cropBox"])
                shorter = LONGER_SIDE_PX - round(sum(box) * LONGER_SIDE_PX)
                tall = box[0] + box[1] > 0
                height, width = (LONGER_SIDE_PX, shorter) if tall else (shorter, LONGER_SIDE_PX)
                sides = (height, height, width, width)
                top, bottom, left, right = (round(share * side) for share, side in zip(box, sides, strict=True))
                cuts = (top, bottom, left, right)
                found.append(_Photograph(int(row["nsdId"]), row["cocoSplit"], int(row["cocoId"]), height, width, cuts))
        return found

    def _shown(self, source: PictureSource) -> list[tuple[list[_Part], list[str]]]:
        """Return parts and sentences of every picture of the catalogue."""
        found = []
        for start in range(0, self.n_catalogue, _BLOCK):
            numbers = range(start, min(start + _BLOCK, self.n_catalogue))
            if source.name == "scenes":
                found += [self._of_scene(number) for number in numbers]
                continue
            _, meaning = source.read(np.arange(numbers.start, numbers.stop))
            for names in meaning.categories:
                parts = [_Part(name, (0.1, 0.1, 0.8, 0.8)) for name in names]
                found.append((parts, _sentences(list(names), "somewhere")))
        return found

    def _of_scene(self, number: int) -> tuple[list[_Part], list[str]]:
        scene = describe_scene("stimuli", number, self.seed)
        parts = [
            _Part(one.category, (one.x - one.size / 2, one.y - one.size, one.size, one.size)) for one in scene.objects
        ]
        return parts, [*_sentences([one.category for one in scene.objects], scene.place), scene.caption()]


def _sentences(names: list[str], place: str) -> list[str]:
    things = " and ".join(f"a {name}" for name in names)
    return [f"{things}, {place}", f"a picture of {things}", f"{place}: {things} can be seen\n", f"there is {things}"]


def _add(
    split: _Split, photograph: _Photograph, parts: list[_Part], sentences: list[str], numbers: dict[str, int]
) -> None:
    top, bottom, left, right = photograph.cuts
    side = (photograph.height - top - bottom, photograph.width - left - right)
    _add_image(split, photograph)
    strange = next((name for name in numbers if name not in {part.category for part in parts}), None)
    margin = _margin(photograph)
    if margin is not None and strange is not None:
        sentences = [*sentences[:-1], f"{sentences[-1]}, with a {strange} at the edge"]
    split.captions += [(photograph.coco_id, sentence) for sentence in sentences]
    if photograph.nsd_id % WITHOUT_OBJECTS == WITHOUT_OBJECTS - 1:
        return
    for part in parts:
        x, y, width, height = part.box
        box = (left + x * side[1], top + y * side[0], width * side[1], height * side[0])
        _add_object(split, photograph, numbers[part.category], box)
    if margin is not None and strange is not None:
        _add_object(split, photograph, numbers[strange], margin)
    main = numbers[parts[0].category]
    if margin is not None and photograph.nsd_id % STRADDLING == 0:
        x, y, width, height = margin
        _add_object(split, photograph, main, (x - width, y - height, 3 * width, 3 * height))
    if photograph.nsd_id % CROWDED == 0:
        _add_object(split, photograph, main, (left + 1, top + 1, side[1] - 2, side[0] - 2), crowd=True)


def _margin(photograph: _Photograph) -> tuple[float, float, float, float] | None:
    """Return a box that lies in what was cut off, one pixel clear of the crop; None where too little was."""
    top, bottom, left, right = photograph.cuts
    height, width = photograph.height, photograph.width
    strips = {
        top: (width / 3, 1, width / 4, top - 2),
        bottom: (width / 3, height - bottom + 1, width / 4, bottom - 2),
        left: (1, height / 3, left - 2, height / 4),
        right: (width - right + 1, height / 3, right - 2, height / 4),
    }
    widest = max(strips)
    return strips[widest] if widest >= _MARGIN_PX else None


def _add_image(split: _Split, photograph: _Photograph) -> None:
    name = f"{photograph.coco_id:012d}.jpg"
    split.images.append(
        {
            "license": 1,
            "file_name": name,
            "coco_url": f"http://invented.invalid/{name}",
            "height": photograph.height,
            "width": photograph.width,
            "date_captured": "2013-11-14 00:00:00",
            "flickr_url": f"http://invented.invalid/{name}",
            "id": photograph.coco_id,
        }
    )


def _add_object(
    split: _Split,
    photograph: _Photograph,
    category: int,
    box: tuple[float, float, float, float],
    crowd: bool = False,
) -> None:
    """Add what of a box lies in the photograph, with two decimals as COCO has them."""
    x, y, width, height = box
    x0, y0 = round(max(0.0, x), 2), round(max(0.0, y), 2)
    x1, y1 = round(min(photograph.width, x + width), 2), round(min(photograph.height, y + height), 2)
    if x1 <= x0 or y1 <= y0:
        return
    outline: Any = [[x0, y0, x1, y0, x1, y1, x0, y1]]
    if crowd:
        outline = {"counts": [photograph.height * photograph.width], "size": [photograph.height, photograph.width]}
    split.instances.append(
        {
            "segmentation": outline,
            "area": round((x1 - x0) * (y1 - y0) * 0.7, 4),
            "iscrowd": int(crowd),
            "image_id": photograph.coco_id,
            "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
            "category_id": category,
            "id": len(split.instances) + 1,
        }
    )


def _add_stranger(split: _Split, photograph: _Photograph, numbers: dict[str, int]) -> None:
    """Add a photograph that nobody was shown, with the number and the sides of one in the other split."""
    _add_image(split, photograph)
    split.captions.append((photograph.coco_id, "a photograph that is not in the catalogue"))
    for category in numbers.values():
        _add_object(split, photograph, category, (0, 0, photograph.width, photograph.height))


def _numbered_captions(split: _Split) -> list[dict[str, Any]]:
    return [
        {"image_id": image, "id": number, "caption": text} for number, (image, text) in enumerate(split.captions, 1)
    ]


def _write(
    path: Path,
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    numbers: dict[str, int] | None,
    rng: np.random.Generator,
) -> None:
    content: dict[str, Any] = {
        "info": {"description": "invented annotations of a simulated catalogue", "year": 2017},
        "licenses": [{"url": "http://invented.invalid", "id": 1, "name": "none"}],
        "images": [images[place] for place in rng.permutation(len(images)).tolist()],
        "annotations": [annotations[place] for place in rng.permutation(len(annotations)).tolist()],
    }
    if numbers is not None:
        content["categories"] = [
            {"supercategory": _supercategory(name), "id": number, "name": name} for name, number in numbers.items()
        ]
    path.write_text(json.dumps(content), encoding="utf-8")


def _supercategory(name: str) -> str:
    if name not in THINGS:
        return "photograph"
    meaning = THINGS[name].meaning
    return _KINDS[meaning.index(max(meaning))]
