"""Categories chosen and captions read and searched, by mouse and by keyboard."""

import json

import pytest

from fmri_lightning.report.command import report
from tests.report.browser.conftest import missing
from tests.report.conftest import write_run
from tests.report.test_captions import annotate, sentence

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory, stimuli_root):
    base = tmp_path_factory.mktemp("captions")
    annotate(base / "index")
    run = write_run(base / "mlp_diffusion", stimuli_root)
    file = run / "decode_summary.json"
    summary = json.loads(file.read_text())
    summary["provenance"]["index_root"] = str(base / "index")
    file.write_text(json.dumps(summary))
    report(run=[run], out=base / "page", grids=False)
    return base / "page/index.html"


def test_a_category_keeps_the_stimuli_that_show_it_and_is_remembered(visit, page):
    here = visit(page)
    assert len(here.keys()) == 4
    here.page.select_option("#shows", "cat")
    assert sorted(here.keys()) == ["nsd4", "nsd9"]
    assert "2 of 4 pass the filter" in here.told()
    there = visit(page, "#" + here.page.url.partition("#")[2])
    assert there.keys() == here.keys()
    assert there.page.input_value("#shows") == "cat"
    there.page.fill("#find", "again 9")
    assert there.keys() == ["nsd9"], "search and category hold together"
    there.page.click("#reset")
    assert (len(there.keys()), there.page.input_value("#shows")) == (4, "")
    assert here.complaints == there.complaints == []


def test_a_category_that_is_not_there_is_forgotten(visit, page):
    here = visit(page, "#shows=zebra")
    assert len(here.keys()) == 4
    assert here.page.input_value("#shows") == ""
    assert here.complaints == []


def test_captions_are_searched_and_shown_enlarged(visit, page):
    here = visit(page)
    here.page.fill("#find", "SENTENCE OF 12 ")
    assert here.keys() == ["nsd12"]
    here.page.click(".card .open")
    assert here.page.locator("#enlarged-captions li").all_inner_texts() == [sentence(12), "again 12"]
    here.page.keyboard.press("Escape")
    here.page.fill("#find", "")
    here.page.click(".card[data-key=nsd20] .open")
    assert here.page.locator("#enlarged-captions li").all_inner_texts() == [sentence(20), "again 20"]
    assert here.complaints == []


def test_the_keyboard_chooses_a_category(visit, page):
    here = visit(page)
    here.page.keyboard.press("c")
    assert here.page.evaluate("document.activeElement.id") == "shows"
    here.page.keyboard.press("ArrowDown")
    here.page.keyboard.press("ArrowDown")
    assert here.page.input_value("#shows") == "dog"
    assert sorted(here.keys()) == ["nsd20", "nsd9"]
    here.page.keyboard.press("Escape")
    here.page.keyboard.press("?")
    assert "choose what the stimulus shows" in here.page.inner_text("#help")


def test_readers_who_cannot_see_the_captions_can_use_them(visit, page):
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        missing("axe-playwright-python (pip install 'fmri-lightning[browser]')")
    here = visit(page, "#card=nsd4", bypass_csp=True)
    assert here.page.is_visible("#enlarged-captions li")
    violations = Axe().run(here.page).response["violations"]
    assert [one["id"] for one in violations if one["impact"] in ("serious", "critical")] == []
