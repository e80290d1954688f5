"""A page to pass on shows no stimulus, by any way that one could get onto it."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.report.conftest import IDS, NEIGHBOURS, scene, write_evaluation, write_run
from tests.report.reading import decode, like, write_page

STIMULI = [scene(i) for i in (*IDS, *NEIGHBOURS.values())]


def pictures_of(page):
    found = [decode(address, page.folder) for address in page.gallery["addresses"].values()]
    return found + [decode(image["src"], page.folder) for image in page.images]


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_no_picture_of_a_shared_page_is_a_stimulus(scored_run, tmp_path, layout):
    open_page = write_page([scored_run], tmp_path / "open", layout=layout)
    shared = write_page([scored_run], tmp_path / "shared", layout=layout, share=True)
    assert sum(like(picture, one) for picture in pictures_of(open_page) for one in STIMULI) > 0
    assert pictures_of(shared)
    assert not any(like(picture, one) for picture in pictures_of(shared) for one in STIMULI)
    assert "The stimuli themselves are left out" in shared.text


def test_a_folder_that_showed_stimuli_keeps_none(scored_run, tmp_path):
    write_page([scored_run], tmp_path / "page", layout="folder")
    write_page([scored_run], tmp_path / "page", layout="folder", share=True)
    for path in (tmp_path / "page").rglob("*.jpg"):
        assert not any(like(decode(path.name, path.parent), one) for one in STIMULI), path


def test_the_strip_of_a_shared_page_has_no_row_of_stimuli(scored_run, tmp_path):
    write_page([scored_run], tmp_path / "open")
    write_page([scored_run], tmp_path / "shared", share=True)
    with Image.open(tmp_path / "open/strip.png") as whole, Image.open(tmp_path / "shared/strip.png") as shared:
        assert (whole.height, shared.height) == (4 * 98, 3 * 98)
        np.testing.assert_array_equal(np.asarray(whole)[98:], np.asarray(shared))


def test_pictures_that_were_looked_up_are_stimuli_too(scored_run, tmp_path, stimuli_root):
    provenance = {"root": str(stimuli_root), "decoder": {"family": "nearest_neighbour"}, "spaces": {}}
    found = write_run(tmp_path / "found", stimuli_root, encoder="found", provenance=provenance)
    write_evaluation(found)
    page = write_page([scored_run, found], tmp_path / "page", share=True)
    assert [c["name"] for c in page.gallery["columns"]] == ["mlp/generated", "mlp/true_target", "mlp/shuffled"]
    assert "The pictures of found are training stimuli, which a page to share leaves out." in page.text
    assert page.values("nsd4")["found/judge2_two_way"] == 0.25


def test_a_shared_page_names_no_folder(scored_run, tmp_path):
    summary = json.loads((scored_run / "decode_summary.json").read_text())
    summary["checkpoint"] = "/data/somebody/secret/runs/mlp.ckpt"
    (scored_run / "decode_summary.json").write_text(json.dumps(summary))
    page = write_page([scored_run], tmp_path / "page", share=True)
    for word in ("somebody", "secret", str(tmp_path)):
        assert word not in page.html
        assert word not in (tmp_path / "page/data.csv").read_text()
