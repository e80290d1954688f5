"""Rows per category from the annotations of an index: which stimuli count, what goes before what, and the intervals."""

import json
import shutil

import numpy as np
import pytest

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.evaluation import groups as module
from fmri_lightning.evaluation.command import evaluate
from fmri_lightning.evaluation.groups import MIN_STIMULI, Grouping, categories_in, categories_of, groups_of
from fmri_lightning.evaluation.results import Evaluation, Row, summarise
from fmri_lightning.evaluation.runs import load_run
from fmri_lightning.index.annotation_table import Read, annotations_hash, write_annotations
from fmri_lightning.index.annotations import Annotations, ShownObject
from fmri_lightning.index.shown_objects import ShownBox
from fmri_lightning.manifest import read_manifest

from .conftest import ANCHORS, write_table


def thing(category, area, group="animal"):
    return ShownObject(category, group, ShownBox((0.0, 0.0, 1.0, 1.0), area, 1.0), False)


def annotations(objects, captions=None):
    return Annotations(np.array(sorted(objects), np.int32), captions, [objects[i] for i in sorted(objects)])


def test_a_stimulus_counts_in_each_category_that_covers_enough_of_it():
    found = annotations(
        {
            0: [thing("cat", 0.5), thing("dog", 0.3), thing("cup", 0.01, "kitchen")],
            1: [thing("sheep", 0.008)] * 3,
            2: [thing("cup", 0.0199, "kitchen")],
            3: [],
            4: [thing("cup", 0.02, "kitchen")],
        }
    )
    assert categories_in(found, 0.02) == {0: {"cat", "dog"}, 1: {"sheep"}, 4: {"cup"}}
    assert categories_in(found, 0) == {0: {"cat", "dog", "cup"}, 1: {"sheep"}, 2: {"cup"}, 4: {"cup"}}
    assert categories_in(found, 0.02, supercategories=True) == {
        0: {"cat", "dog", "any animal"},
        1: {"sheep", "any animal"},
        4: {"cup", "any kitchen"},
    }


def test_a_group_covers_what_its_categories_cover_together():
    found = annotations({0: [thing("cat", 0.015), thing("dog", 0.015)]})
    assert categories_in(found, 0.02, supercategories=True) == {0: {"any animal"}}


@pytest.fixture
def annotated(world, tmp_path):
    """A run whose index says: even stimuli show a cat, those that 3 divides a dog, all something small."""
    shutil.copytree(world.base / "index", tmp_path / "index")
    objects = {
        i: [thing("cat", 0.4)] * (i % 2 == 0) + [thing("dog", 0.2)] * (i % 3 == 0) + [thing("pin", 0.001, "tool")]
        for i in ANCHORS.tolist()
    }
    write_annotations(tmp_path / "index", "subj01", Read(annotations(objects), {}, {}))
    run = world.write_run(tmp_path / "run")
    name_index(run, tmp_path / "index")
    return run


def name_index(run, folder, **more):
    file = run / "decode_summary.json"
    summary = json.loads(file.read_text())
    summary["provenance"] |= {"index_root": str(folder), **more}
    file.write_text(json.dumps(summary))


def test_annotations_of_the_index_give_the_rows(annotated):
    assert {frozenset(names) for names in categories_of(load_run(annotated)).categories.values()} == {
        frozenset({"cat"}), frozenset({"dog"}), frozenset({"cat", "dog"})
    }  # fmt: skip
    evaluate(run=[annotated], resamples=100, category_area=0.001, supercategories=True)
    folder = annotated / "evaluation/demo"
    summary = json.loads((folder / "summary.json").read_text())
    drawn = load_run(annotated).ids
    groups = summary["metrics"]["pixcorr"]["groups"]
    assert {name: entry["n"] for name, entry in groups.items()} == {
        "any animal": int(((drawn % 2 == 0) | (drawn % 3 == 0)).sum()),
        "any tool": len(drawn),
        "cat": int((drawn % 2 == 0).sum()),
        "dog": int((drawn % 3 == 0).sum()),
        "pin": len(drawn),
    }
    manifest = read_manifest(folder, "evaluation")
    assert manifest.config["categories"] == {"min_area": 0.001, "supercategories": True}
    assert len(manifest.inputs["annotations"]) == 64


def test_what_was_named_goes_first_then_annotations_then_the_table_beside_the_stimuli(annotated, tmp_path):
    root = tmp_path / "nsd"
    root.mkdir()
    (root / "stimulus_categories.csv").write_text("nsd_id,category\n20,table beside\n")
    (tmp_path / "named.csv").write_text("nsd_id,category\n20,named\n")
    name_index(annotated, tmp_path / "index", root=str(root))
    run = load_run(annotated)
    assert categories_of(run, Grouping(tmp_path / "named.csv")).categories == {20: {"named"}}
    found = categories_of(run)
    assert found.categories[24] == {"cat", "dog"}
    assert list(found.inputs) == ["annotations"]
    shutil.rmtree(tmp_path / "index/subject=subj01/annotations")
    assert categories_of(run).categories == {20: {"table beside"}}
    with pytest.raises(BadInputError, match="--supercategories are COCO's"):
        categories_of(run, Grouping(supercategories=True))
    (root / "stimulus_categories.csv").unlink()
    assert categories_of(run).categories == {}


def test_captions_alone_are_no_categories(annotated, tmp_path):
    ids = np.array([20, 21], np.int32)
    alone = Annotations(ids, [["a"], ["b"]], None)
    write_annotations(tmp_path / "index", "subj01", Read(alone, {}, {}))
    found = categories_of(load_run(annotated))
    assert (found.categories, found.inputs) == ({}, {})
    assert len(annotations_hash(alone)) == 64


def test_stale_annotations_end_the_command_before_anything_is_scored(annotated, tmp_path):
    manifest = tmp_path / "index/subject=subj01/manifest.json"
    manifest.write_text(manifest.read_text().replace('"content_hash": "', '"content_hash": "0'))
    with pytest.raises(BadInputError, match="was made for another index"):
        evaluate(run=[annotated], resamples=100)
    assert not (annotated / "evaluation").exists()


def test_a_share_is_a_share(annotated):
    with pytest.raises(UsageError, match=r"--category_area 2\.0 is a share"):
        evaluate(run=[annotated], category_area=2.0)


def test_cocos_own_file_speaks_of_its_own_split_only(world, tmp_path):
    """write_table puts coco_id 0 everywhere and train2017: the file of val2017 says nothing of it."""
    write_table(tmp_path / "index")
    run = world.write_run(tmp_path / "run")
    name_index(run, tmp_path / "index")
    content = {"categories": [{"id": 3, "name": "cat"}], "annotations": [{"image_id": 0, "category_id": 3}]}
    for split in ("train2017", "val2017"):
        (tmp_path / f"instances_{split}.json").write_text(json.dumps(content))
    loaded = load_run(run)
    found = categories_of(loaded, Grouping(tmp_path / "instances_train2017.json"))
    assert set(found.categories) >= set(loaded.ids.tolist())
    assert categories_of(loaded, Grouping(tmp_path / "instances_val2017.json")).categories == {}


def entry_of(scores, ids, members, metric="pixcorr", resamples=2000):
    evaluation = Evaluation(Row(ids, {metric: scores}), np.zeros(len(ids), np.int16))
    evaluation.groups = {"some": members}
    return summarise(evaluation, resamples, 0)["metrics"][metric]["groups"]["some"]


def test_the_interval_of_a_category_is_that_of_its_stimuli_alone():
    rng = np.random.default_rng(1)
    ids = np.arange(300, dtype=np.int32)
    members = ids % 4 == 0
    scores = np.where(members, rng.normal(0.3, 0.1, 300), rng.normal(0.9, 0.01, 300))
    entry = entry_of(scores, ids, members)
    own = scores[members]
    assert entry["n"] == 75
    assert entry["value"] == pytest.approx(own.mean())
    # An independent one: normal theory for the mean of 75 scores.
    half = 1.96 * own.std(ddof=1) / np.sqrt(75)
    assert (entry["ci_low"], entry["ci_high"]) == (
        pytest.approx(own.mean() - half, abs=0.15 * half),
        pytest.approx(own.mean() + half, abs=0.15 * half),
    )
    changed = np.where(members, scores, 0.0)
    assert entry_of(changed, ids, members) == entry, "other stimuli have no say"


def test_repeats_of_a_stimulus_make_no_interval_narrower():
    rng = np.random.default_rng(2)
    ids = np.arange(40, dtype=np.int32)
    scores = rng.normal(0.5, 0.1, 40)
    once = entry_of(scores, ids, ids < 20)
    thrice = entry_of(np.repeat(scores, 3), np.repeat(ids, 3), np.repeat(ids, 3) < 20)
    assert thrice["n"] == 3 * once["n"]
    assert thrice["ci_high"] - thrice["ci_low"] == pytest.approx(once["ci_high"] - once["ci_low"], rel=0.1)
    blind = entry_of(np.repeat(scores, 3), np.arange(120, dtype=np.int32), np.repeat(ids, 3) < 20)
    assert blind["ci_high"] - blind["ci_low"] < 0.7 * (once["ci_high"] - once["ci_low"]), "the comparison can fail"


def test_95_of_100_intervals_hold_the_mean_of_the_category():
    rng = np.random.default_rng(3)
    ids = np.arange(120, dtype=np.int32)
    members = ids % 3 == 0
    held = 0
    for _ in range(200):
        entry = entry_of(rng.normal(0.5, 0.2, 120), ids, members, resamples=300)
        held += entry["ci_low"] <= 0.5 <= entry["ci_high"]
    assert 0.89 <= held / 200 <= 0.99


def test_too_few_defined_scores_give_no_number():
    ids = np.arange(12, dtype=np.int32)
    scores = np.linspace(0, 1, 12)
    scores[3:] = np.nan
    members = ids < 6
    assert members.sum() >= MIN_STIMULI
    entry = entry_of(scores, ids, members)
    assert entry == {"value": None, "ci_low": None, "ci_high": None, "n": 3, "n_undefined": 3}
    scores[:MIN_STIMULI] = 0.5
    assert entry_of(scores, ids, members)["value"] == 0.5


def test_minimum_counts_stimuli():
    shown = {i: {"cat"} for i in range(MIN_STIMULI)}
    assert list(groups_of(np.arange(MIN_STIMULI, dtype=np.int32), shown)) == ["cat"]
    assert groups_of(np.repeat(np.arange(MIN_STIMULI - 1, dtype=np.int32), 3), shown) == {}


def test_objects_of_the_neighbour_are_noticed(annotated, monkeypatch):
    real = module.read_annotations

    def shifted(*where):
        found = real(*where)
        return Annotations(found.nsd_ids, found.captions, found.objects[1:] + found.objects[:1])

    monkeypatch.setattr(module, "read_annotations", shifted)
    assert categories_of(load_run(annotated)).categories.get(24) != {"cat", "dog"}
