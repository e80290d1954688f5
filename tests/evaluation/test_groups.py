"""Rows per category: read from a table of our own or from COCO's, and shown where there is something to show."""

import json

import numpy as np
import pytest

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.groups import groups_of, read_categories


def test_a_table_gives_a_stimulus_several_categories(tmp_path) -> None:
    file = tmp_path / "categories.csv"
    file.write_text("nsd_id,category\n4,cat\n4,sofa\n9,dog\n")
    assert read_categories(file) == {4: {"cat", "sofa"}, 9: {"dog"}}


def test_coco_speaks_of_its_own_ids(tmp_path) -> None:
    file = tmp_path / "instances_train2017.json"
    file.write_text(
        json.dumps(
            {
                "categories": [{"id": 17, "name": "cat"}, {"id": 63, "name": "couch"}],
                "annotations": [
                    {"image_id": 900, "category_id": 17},
                    {"image_id": 900, "category_id": 63},
                    {"image_id": 901, "category_id": 17},
                ],
            }
        )
    )
    assert read_categories(file, {3: 901, 5: 900, 8: 77}) == {3: {"cat"}, 5: {"cat", "couch"}}
    with pytest.raises(BadInputError, match="names no index"):
        read_categories(file)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.csv", "id,what\n3,cat\n", "columns nsd_id and category"),
        ("a.csv", "nsd_id,category\nthree,cat\n", "columns nsd_id and category"),
        ("a.json", '{"images": []}', "is not COCO's instances file"),
    ],
)
def test_other_files_are_refused(tmp_path, name, text, complaint) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInputError, match=complaint):
        read_categories(tmp_path / name, {1: 2})
    with pytest.raises(BadInputError, match="no file"):
        read_categories(tmp_path / "absent.csv")


def test_rare_categories_are_left_out_and_repeats_do_not_make_one_frequent() -> None:
    ids = np.array([0, 1, 1, 1, 2, 3], np.int32)
    shown = {0: {"cat"}, 1: {"cat", "dog"}, 2: {"cat"}, 3: {"bird"}}
    found = groups_of(ids, shown, min_stimuli=3)
    assert list(found) == ["cat"]
    assert found["cat"].tolist() == [True] * 5 + [False]
    assert list(groups_of(ids, shown, min_stimuli=1)) == ["bird", "cat", "dog"]
    assert groups_of(ids, {}) == {}
