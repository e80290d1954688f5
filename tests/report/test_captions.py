"""What the cards say of a stimulus: captions and categories of its own index, and none of the captions when shared."""

import json
import shutil

import numpy as np
import pytest

from fmri_lightning.index.annotation_table import Read, annotations_folder, write_annotations
from fmri_lightning.index.annotations import Annotations, ShownObject
from fmri_lightning.index.shown_objects import ShownBox
from tests.evaluation.conftest import write_table
from tests.report.conftest import IDS, write_run
from tests.report.reading import write_page

SHOWS = {4: [("cat", 0.5), ("cup", 0.001)], 9: [("dog", 0.2), ("cat", 0.1)], 12: [], 20: [("dog", 0.3)]}


def sentence(nsd_id):
    return f"a sentence of {nsd_id} </script> & more"


def annotate(index, captions=True):
    write_table(index)
    things = [
        [ShownObject(name, "animal", ShownBox((0.0, 0.0, 1.0, 1.0), area, 1.0), False) for name, area in SHOWS[i]]
        for i in IDS
    ]
    words = [[sentence(i), f"again {i}"] for i in IDS] if captions else None
    write_annotations(index, "subj01", Read(Annotations(np.array(IDS, np.int32), words, things), {}, {}))


@pytest.fixture
def run(tmp_path, stimuli_root):
    annotate(tmp_path / "index")
    folder = write_run(tmp_path / "mlp_diffusion", stimuli_root)
    file = folder / "decode_summary.json"
    summary = json.loads(file.read_text())
    summary["provenance"]["index_root"] = str(tmp_path / "index")
    file.write_text(json.dumps(summary))
    return folder


def options(page):
    import re

    choice = re.search(r'<select id="shows">(.*?)</select>', page.html, re.DOTALL)
    return None if choice is None else re.findall(r'<option value="([^"]*)">([^<]*)</option>', choice.group(1))


def test_cards_carry_captions_and_categories_of_their_own_stimulus(run, tmp_path):
    page = write_page([run], tmp_path / "page")
    for nsd_id in IDS:
        card = page.card(f"nsd{nsd_id}")
        assert card["captions"] == [sentence(nsd_id), f"again {nsd_id}"]
        assert card["shows"] == sorted(name for name, area in SHOWS[nsd_id] if area >= 0.02)
        assert card["words"] == ", ".join(card["shows"])
    assert options(page) == [("", "anything"), ("cat", "cat (2)"), ("dog", "dog (2)")]
    assert len(page.scripts) == 2, "a caption cannot end the script that carries it"
    assert "CC BY 4.0" in page.text
    assert "choose what the stimulus shows" in page.text


def test_annotations_go_before_the_table_of_the_data_root(run, tmp_path, stimuli_root):
    root = tmp_path / "root"
    shutil.copytree(stimuli_root, root)
    (root / "stimulus_categories.csv").write_text("nsd_id,category\n4,of the table\n")
    assert write_page([run], tmp_path / "page", root=root).card("nsd4")["shows"] == ["cat"]
    shutil.rmtree(annotations_folder(tmp_path / "index", "subj01"))
    page = write_page([run], tmp_path / "page", root=root)
    assert page.card("nsd4")["shows"] == ["of the table"]
    assert page.card("nsd4")["captions"] == []
    assert "CC BY" not in page.text


def test_a_page_to_share_has_no_caption(run, tmp_path):
    page = write_page([run], tmp_path / "page", share=True)
    for text in [page.html, *(file.read_text() for file in (tmp_path / "page").glob("*.csv"))]:
        assert "a sentence of" not in text
        assert "again 4" not in text
    assert page.card("nsd4")["captions"] == []
    assert page.card("nsd4")["shows"] == ["cat"]
    assert "stimuli, their captions and folder names are left out" in page.text
    assert "a sentence of" in write_page([run], tmp_path / "open").html, "the check can fail"


def test_without_annotations_there_is_nothing_to_choose(tmp_path, stimuli_root):
    run = write_run(tmp_path / "mlp_diffusion", stimuli_root)
    page = write_page([run], tmp_path / "page")
    assert options(page) is None
    assert "choose what the stimulus shows" not in page.text
    assert page.card("nsd4")["captions"] == page.card("nsd4")["shows"] == []


def test_annotations_of_another_index_are_said_to_be_missing(run, tmp_path):
    manifest = tmp_path / "index/subject=subj01/manifest.json"
    manifest.write_text(manifest.read_text().replace('"content_hash": "', '"content_hash": "0'))
    page = write_page([run], tmp_path / "page")
    assert "No captions and categories: " in page.text
    assert "was made for another index of subj01" in page.text
    assert str(tmp_path) not in page.text
    assert page.card("nsd4")["captions"] == []
    assert "was made for another index" not in write_page([run], tmp_path / "shared", share=True).text


def test_objects_without_captions_are_categories(run, tmp_path):
    annotate(tmp_path / "index", captions=False)
    page = write_page([run], tmp_path / "page")
    assert page.card("nsd9")["shows"] == ["cat", "dog"]
    assert page.card("nsd9")["captions"] == []
    assert "id or what it shows" in page.html
