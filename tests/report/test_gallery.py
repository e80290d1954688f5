"""Which picture stands where in the gallery, with which number."""

import csv
import io
import json

import pytest
from PIL import Image

from fmri_lightning.errors import UsageError
from fmri_lightning.report.gallery.cards import build_gallery
from fmri_lightning.report.gallery.thumbnails import Thumbnails
from fmri_lightning.report.runs import read_runs
from fmri_lightning.report.truth import Truth
from tests.report.conftest import IDS, NEIGHBOURS, scene, write_evaluation, write_run
from tests.report.reading import like, write_page


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_pictures_are_the_files_and_the_stimuli(scored_run, tmp_path, layout):
    page = write_page([scored_run], tmp_path / "page", layout=layout)
    assert sorted(page.keys) == sorted(f"nsd{i}" for i in IDS)
    for nsd_id in IDS:
        key = f"nsd{nsd_id}"
        assert like(page.pixels(key, "shown"), scene(nsd_id))
        assert like(page.pixels(key, "mlp/generated"), scene(100 + nsd_id, 64))
        assert like(page.pixels(key, "mlp/neighbour"), scene(NEIGHBOURS[nsd_id]))
        assert page.shot(key, "mlp/neighbour")[2] == NEIGHBOURS[nsd_id]
        assert like(page.pixels(key, "mlp/true_target"), scene(200 + nsd_id, 64))
        assert like(page.pixels(key, "mlp/shuffled"), scene(300 + nsd_id, 64))
    inside = [address for address in page.gallery["addresses"].values() if address.startswith("data:")]
    assert len(inside) == (0 if layout == "folder" else len(page.gallery["addresses"]))
    assert (tmp_path / "page/thumbs").is_dir() == (layout == "folder")


def test_a_page_that_becomes_a_file_leaves_no_folder_behind(scored_run, tmp_path):
    write_page([scored_run], tmp_path / "page", layout="folder")
    write_page([scored_run], tmp_path / "page")
    assert sorted(path.name for path in (tmp_path / "page").iterdir()) == ["data.csv", "index.html", "strip.png"]


def test_pages_too_large_to_mail_become_folders(monkeypatch):
    thumbnails = Thumbnails()
    thumbnails.files = {"a.jpg": bytes(22_500_000)}
    assert thumbnails.inside("auto")
    thumbnails.files["b.jpg"] = bytes(3)
    assert not thumbnails.inside("auto")
    with pytest.raises(UsageError, match="one file of 30 MB"):
        thumbnails.inside("file")


def test_large_pictures_are_shrunk_and_small_ones_are_not():
    thumbnails = Thumbnails(side_px=40)
    for name, size in (("wide", (80, 60)), ("small", (30, 20))):
        thumbnails.add(name, Image.new("RGB", size))
    sizes = {name: Image.open(io.BytesIO(content)).size for name, content in thumbnails.files.items()}
    assert sizes == {"wide.jpg": (40, 30), "small.jpg": (30, 20)}


def test_shuffled_pictures_name_whose_embedding_drew_them(scored_run, tmp_path):
    page = write_page([scored_run], tmp_path / "page")
    assert page.shot("nsd4", "mlp/shuffled")[1:] == ["embedding of nsd9", 9]
    assert page.shot("nsd4", "mlp/generated")[1:] == ["cosine 0.500", None]


def test_order_is_random_and_repeatable(scored_run, tmp_path):
    page = write_page([scored_run], tmp_path / "page", seed=3)
    runs = read_runs([scored_run])
    orders = [
        tuple(card.key for card in build_gallery(runs, Truth({}), None, 4, seed, Thumbnails()).cards)
        for seed in range(6)
    ]
    assert tuple(page.keys) == orders[3]
    assert len(set(orders)) > 1
    assert {frozenset(order) for order in orders} == {frozenset(f"nsd{i}" for i in IDS)}


def test_limit_is_said_and_is_the_start_of_the_random_order(scored_run, tmp_path):
    whole = write_page([scored_run], tmp_path / "whole")
    page = write_page([scored_run], tmp_path / "page", limit=2)
    assert "The page holds 2 of 4 stimuli, drawn at random" in page.text
    assert page.keys == whole.keys[:2]


def test_scores_are_those_of_their_stimulus_and_cannot_end_their_script(scored_run, tmp_path):
    summary = json.loads((scored_run / "decode_summary.json").read_text())
    summary["encoder"] = "</script><script>alert(1)"
    (scored_run / "decode_summary.json").write_text(json.dumps(summary))
    page = write_page([scored_run], tmp_path / "page")
    assert "<script>alert" not in page.html
    assert len(page.scripts) == 2
    label = summary["encoder"]
    assert page.values("nsd12") == {f"{label}/judge2_two_way": 0.75, f"{label}/embedding_cosine": 0.7}


def test_a_second_run_adds_its_columns_and_the_difference(scored_run, tmp_path, stimuli_root):
    ridge = write_run(tmp_path / "ridge_diffusion", stimuli_root, encoder="ridge")
    write_evaluation(ridge)
    page = write_page([ridge, scored_run], tmp_path / "page")
    names = [column["name"] for column in page.gallery["columns"]]
    assert names == [
        "shown", "ridge/generated", "ridge/neighbour",
        "mlp/generated", "mlp/neighbour", "mlp/true_target", "mlp/shuffled",
    ]  # fmt: skip
    values = page.values("nsd9")
    assert values["mlp-ridge/judge2_two_way"] == values["mlp/judge2_two_way"] - values["ridge/judge2_two_way"] == 0


def test_what_one_run_did_not_draw_is_an_empty_place(scored_run, tmp_path, stimuli_root):
    ridge = write_run(tmp_path / "ridge_diffusion", stimuli_root, encoder="ridge")
    summary = json.loads((ridge / "decode_summary.json").read_text())
    summary["results"] = [result for result in summary["results"] if result["nsdId"] != 9]
    (ridge / "decode_summary.json").write_text(json.dumps(summary))
    page = write_page([scored_run, ridge], tmp_path / "page")
    assert page.shot("nsd9", "ridge/generated") is None
    assert like(page.pixels("nsd12", "ridge/generated"), scene(112, 64))


def test_samples_stand_behind_the_chosen_picture(tmp_path, stimuli_root):
    run = write_run(tmp_path / "run", stimuli_root, n_samples=3)
    (run / "samples").mkdir()
    for number in range(3):
        Image.fromarray(scene(500 + number, 64)).save(run / f"samples/nsd4_k{number}.png")
    page = write_page([run], tmp_path / "page", samples=2)
    assert like(page.pixels("nsd4", "mlp/sample1"), scene(501, 64))
    assert "mlp/sample2" not in [column["name"] for column in page.gallery["columns"]]
    assert page.shot("nsd9", "mlp/sample0") is None


def test_words_of_the_stimuli_can_be_searched(tmp_path, stimuli_root):
    run = write_run(tmp_path / "run", stimuli_root)
    (tmp_path / "copy").mkdir()
    for path in stimuli_root.iterdir():
        (tmp_path / "copy" / path.name).symlink_to(path)
    with open(tmp_path / "copy/stimulus_categories.csv", "w", newline="") as handle:
        csv.writer(handle).writerows([("nsd_id", "category"), (4, "dog"), (4, "car"), (9, "<b>cat")])
    page = write_page([run], tmp_path / "page", root=tmp_path / "copy")
    assert {card["key"]: card["words"] for card in page.gallery["cards"]} == {
        "nsd4": "car, dog", "nsd9": "<b>cat", "nsd12": "", "nsd20": "",
    }  # fmt: skip
    assert "<b>cat" not in page.html
