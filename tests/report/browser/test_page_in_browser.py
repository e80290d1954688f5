"""The page in a real browser: what it loads, keys, themes, print, and readers who cannot see it."""

import pytest

from tests.report.browser.conftest import N_STIMULI, N_UNSCORED, missing, score

pytestmark = pytest.mark.browser

COUNT = """() => ({ cards: document.querySelectorAll('.card').length,
  decoded: [...document.images].filter(image => image.complete && image.naturalWidth).length })"""


def test_a_page_asks_for_nothing_and_complains_of_nothing(visit, large_page):
    here = visit(large_page)
    here.settle()
    assert here.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in here.requests)
    outside = [url for url in here.requests if url.startswith("file:") and "/thumbs/" not in url]
    assert outside == [large_page.as_uri()]


def test_a_thousand_stimuli_open_with_few_cards_and_pictures(visit, large_page):
    here = visit(large_page)
    here.settle()
    opened = here.page.evaluate(COUNT)
    assert 0 < opened["decoded"] <= 150
    assert opened["cards"] <= 130
    here.page.click("[data-view=all]")
    here.settle()
    everything = here.page.evaluate(COUNT)
    assert everything["decoded"] <= 150
    assert everything["cards"] <= 130


def test_the_keyboard_does_what_the_list_of_keys_says(visit, small_page):
    here = visit(small_page)
    press, keys = here.page.keyboard.press, here.keys()
    press("j")
    assert here.focused() == keys[0]
    press("ArrowRight")
    assert here.focused() == keys[1]
    press("k")
    assert here.focused() == keys[0]
    press("Enter")
    assert here.page.is_visible("#enlarged")
    assert here.page.inner_text("#enlarged-title").startswith(keys[0])
    press("ArrowRight")
    assert here.page.inner_text("#enlarged-title").startswith(keys[1])
    press("Escape")
    assert not here.page.is_visible("#enlarged")
    assert here.focused() == keys[1], "the reader goes on where the enlarged picture was"
    for number, view in enumerate(("random", "best", "median", "worst", "all"), start=1):
        press(str(number))
        assert here.page.get_attribute(f"[data-view={view}]", "aria-pressed") == "true"
    press("s")
    assert here.page.evaluate("document.activeElement.id") == "measure"
    press("Escape")
    press("/")
    assert here.page.evaluate("document.activeElement.id") == "find"
    here.page.keyboard.type("j1?")
    assert here.page.input_value("#find") == "j1?", "letters typed into a field are no commands"
    press("Escape")
    press("?")
    assert here.page.is_visible("#help")
    press("Escape")
    assert not here.page.is_visible("#help")


def test_an_enlarged_stimulus_has_all_its_pictures_and_numbers(visit, small_page):
    here = visit(small_page, "#card=nsd40")
    assert here.page.inner_text("#enlarged-title") == "nsd40: dog"
    rows = here.page.eval_on_selector_all("#enlarged-numbers tbody tr", "rows => rows.map(row => row.innerText)")
    rank = 1 + sum(score(number) > score(40) for number in range(N_STIMULI - N_UNSCORED))
    assert rows[0].split("\t") == ["mlp: two-way, judge layer 2", "68.0 %", str(rank)]
    images = "images => images.map(image => [image.alt, image.complete])"
    alts = [alt for alt, _ in here.page.eval_on_selector_all("#enlarged-panels img", images)]
    assert "Reconstruction of stimulus 40 by mlp" in alts
    assert "Training stimulus 1, nearest to the embedding that mlp predicted for 40" in alts


def brightness(here):
    colour = here.page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) / 3


def test_dark_follows_the_system_and_the_button(visit, small_page):
    assert brightness(visit(small_page, color_scheme="light")) > 200
    here = visit(small_page, color_scheme="dark")
    assert brightness(here) < 60
    here.page.click("#theme")
    assert brightness(here) > 200
    here.page.click("#theme")
    assert brightness(here) < 60
    light = visit(small_page, color_scheme="light")
    light.page.click("#theme")
    light.page.click("#theme")
    assert brightness(light) < 60
    assert light.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("fragment", ["", "#card=nsd40"])
def test_readers_who_cannot_see_it_can_use_it(visit, small_page, scheme, fragment):
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        missing("axe-playwright-python (pip install 'fmri-lightning[browser]')")
    here = visit(small_page, fragment, color_scheme=scheme, bypass_csp=True)
    for details in here.page.query_selector_all("details"):
        details.evaluate("one => { one.open = true; }")
    here.settle()
    found = Axe().run(here.page).response["violations"]
    serious = [
        (one["id"], [n["html"][:120] for n in one["nodes"][:3]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_paper_has_pictures_and_no_tools(visit, small_page):
    here = visit(small_page)
    here.page.emulate_media(media="print")
    assert not here.page.is_visible("#tools")
    here.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    here.page.wait_for_function("() => [...document.querySelectorAll('.card img')].every(image => image.src)")
    assert here.page.is_visible(".card .panels")


def test_a_narrow_screen_needs_no_sideways_scrolling(visit, small_page):
    here = visit(small_page)
    here.page.set_viewport_size({"width": 390, "height": 800})
    here.settle()
    assert here.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_scripts_the_page_still_says_what_it_is(visit, small_page, chromium):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(small_page.as_uri())
    text = page.inner_text("body")
    context.close()
    assert "need JavaScript" in text
    assert "Pictures drawn from brain activity" in text


def test_inside_the_frame_of_a_notebook_it_works_too(chromium, large_run):
    from fmri_lightning import Report

    page = chromium.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_content(f"<!DOCTYPE html><title>notebook</title><body>{Report(large_run, limit=50)._repr_html_()}</body>")
    frame = page.frame_locator("iframe")
    frame.locator("[data-view=all]").click()
    assert frame.locator(".card").count() == 50
    frame.locator(".card .open").first.click()
    assert frame.locator("#enlarged").is_visible()
    page.close()
    assert complaints == []
