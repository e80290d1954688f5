"""COCO's files of a simulated tree: what is planted in them, and that a reader gets the scenes back."""

import ast
import csv
import json
from collections import defaultdict

import numpy as np
import pytest

from fmri_lightning.errors import UsageError
from fmri_lightning.index.annotation_table import read_annotations
from fmri_lightning.index.annotations import read_coco
from fmri_lightning.index.command import index
from fmri_lightning.simulate.coco_files import FOLDER, WITHOUT_OBJECTS
from fmri_lightning.simulate.command import simulate
from fmri_lightning.simulate.scenes import describe_scene

SMALL = {"subjects": "1", "shared": 24, "unique": 96, "sessions": 6, "missing_sessions": 1, "nsdgeneral_voxels": 100}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("coco") / "nsd"
    simulate(out, **SMALL, size_px=32, also="coco")
    return out


@pytest.fixture(scope="module")
def catalogue(root):
    with open(root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv", newline="") as handle:
        return list(csv.DictReader(handle))


def content(root, kind, split):
    return json.loads((root / FOLDER / f"{kind}_{split}.json").read_text())


def test_only_the_annotations_are_added_to_the_tree(root, tmp_path):
    simulate(tmp_path / "plain", **SMALL, size_px=32)
    files = {
        place: {path.relative_to(place): path for path in place.rglob("*") if path.is_file()}
        for place in (root, tmp_path / "plain")
    }
    mine, plain = files.values()
    assert {path.name for path in mine.keys() - plain.keys()} == {
        f"{kind}_{split}.json" for kind in ("captions", "instances") for split in ("train2017", "val2017")
    }
    same = [name for name in plain if name.name != "SIMULATED.json"]
    assert all(mine[name].read_bytes() == plain[name].read_bytes() for name in same)


def test_every_nuisance_is_there(root, catalogue):
    own = {(row["cocoSplit"], int(row["cocoId"])): row for row in catalogue}
    files = {split: content(root, "instances", split) for split in ("train2017", "val2017")}
    ids = {split: [image["id"] for image in file["images"]] for split, file in files.items()}
    assert len(set(ids["train2017"]) & set(ids["val2017"])) > 10, "numbers that are in both splits"
    things = [thing for file in files.values() for thing in file["annotations"]]
    assert {type(thing["segmentation"]) for thing in things if thing["iscrowd"]} == {dict}
    assert {type(thing["segmentation"]) for thing in things if not thing["iscrowd"]} == {list}
    numbers = [category["id"] for category in files["val2017"]["categories"]]
    assert numbers != list(range(1, len(numbers) + 1)), "numbers of categories have gaps"
    outside = across = 0
    with_objects = set()
    for split, file in files.items():
        assert [thing["image_id"] for thing in file["annotations"]] != sorted(
            t["image_id"] for t in file["annotations"]
        )
        size = {image["id"]: (image["height"], image["width"]) for image in file["images"]}
        for thing in file["annotations"]:
            row = own.get((split, thing["image_id"]))
            if row is None:
                continue
            with_objects.add(int(row["nsdId"]))
            height, width = size[thing["image_id"]]
            assert max(height, width) == 640
            top, bottom, left, right = ast.literal_eval(row["cropBox"])
            x, y, w, h = thing["bbox"]
            assert 0 <= x < x + w <= width + 0.01
            assert 0 <= y < y + h <= height + 0.01
            beside_x = (x + w <= left * width) or (x >= width - right * width)
            beside_y = (y + h <= top * height) or (y >= height - bottom * height)
            cut_x = x < left * width < x + w or x < width - right * width < x + w
            cut_y = y < top * height < y + h or y < height - bottom * height < y + h
            outside += beside_x or beside_y
            across += (cut_x or cut_y) and not (beside_x or beside_y)
    assert outside > 50
    assert across > 20
    absent = set(range(len(catalogue))) - with_objects
    assert absent == {i for i in range(len(catalogue)) if i % WITHOUT_OBJECTS == WITHOUT_OBJECTS - 1}


def test_the_reader_finds_the_things_of_the_scenes_and_nothing_else(root, catalogue, tmp_path):
    shown = defaultdict(set)
    with open(root / "stimulus_categories.csv", newline="") as handle:
        for row in csv.DictReader(handle):
            shown[int(row["nsd_id"])].add(row["category"])
    found, _, size_px = read_coco(root, root / FOLDER, np.arange(len(catalogue)))
    assert size_px == 32
    for nsd_id, objects in found.objects_of().items():
        wanted = set() if nsd_id % WITHOUT_OBJECTS == WITHOUT_OBJECTS - 1 else shown[nsd_id]
        assert {one.category for one in objects} == wanted
    for nsd_id, captions in found.captions_of().items():
        assert len(captions) == 5
        assert all(any(f"a {name}" in text for text in captions) for name in shown[nsd_id])
        assert not any("\n" in text or "not in the catalogue" in text for text in captions)


def test_boxes_come_back_to_where_the_scene_has_its_things(root, catalogue):
    found, _, size_px = read_coco(root, root / FOLDER, np.arange(len(catalogue)))
    compared = 0
    for nsd_id, objects in found.objects_of().items():
        main = describe_scene("stimuli", nsd_id, 0).objects[0]
        left, right = main.x - main.size / 2, main.x + main.size / 2
        top, bottom = main.y - main.size, main.y
        if not objects or min(left, top) < 0 or max(right, bottom) > 1:
            continue
        compared += 1
        box = next(one.box for one in objects if one.category == main.category)
        expected = (left, top, main.size, main.size)
        assert np.array(box.bbox_px) / size_px == pytest.approx(expected, abs=2 / 480), nsd_id
        assert box.left_share == pytest.approx(1, abs=0.02)
    assert compared > 50


def test_an_index_of_the_tree_is_annotated_without_a_flag(root, tmp_path):
    index(root, out=tmp_path)
    found = read_annotations(tmp_path, "subj01")
    assert len(found.nsd_ids) == 120
    assert sum(map(len, found.captions)) == 600


def test_photographs_bring_the_name_of_their_class(tmp_path):
    from PIL import Image

    from fmri_lightning.simulate.plan import Plan

    rng = np.random.default_rng(0)
    for k in range(40):
        path = tmp_path / "photos" / ("cat" if k % 2 else "boat") / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    root = tmp_path / "nsd"
    few = {"shared": 8, "unique": 16, "sessions": 6, "missing_sessions": 1, "nsdgeneral_voxels": 60, "size_px": 16}
    simulate(root, subjects="1", images=tmp_path / "photos", also="coco", **few)
    n = Plan("nsd", "1", 0, nifti=None, repeats=3, **few).n_catalogue
    found, _, _ = read_coco(root, root / FOLDER, np.arange(n))
    shown = defaultdict(set)
    with open(root / "stimulus_categories.csv", newline="") as handle:
        for row in csv.DictReader(handle):
            shown[int(row["nsd_id"])].add(row["category"])
    for nsd_id, objects in found.objects_of().items():
        assert {one.category for one in objects} in (set(), shown[nsd_id])
    assert {one.category for objects in found.objects for one in objects} == {"boat", "cat"}


def test_the_same_arguments_give_the_same_files_and_mindeye2_has_none(root, tmp_path):
    simulate(tmp_path / "again", **SMALL, size_px=32, also="coco")
    for path in (root / FOLDER).iterdir():
        assert path.read_bytes() == (tmp_path / "again" / FOLDER / path.name).read_bytes()
    with pytest.raises(UsageError, match="goes with --layout nsd"):
        simulate(tmp_path / "other", **SMALL, layout="mindeye2", also="coco")
