"""The gallery as a reader uses it: presets, sorting, filters, search, columns, and the address that remembers them."""

import csv
from pathlib import Path

import pytest

from tests.report.browser.conftest import N_STIMULI, N_UNSCORED, score

pytestmark = pytest.mark.browser

BY_SCORE = sorted(range(N_STIMULI - N_UNSCORED), key=score, reverse=True)


def names(numbers):
    return [f"nsd{number}" for number in numbers]


def test_a_page_opens_on_a_random_choice_that_says_so(visit, large_page):
    here = visit(large_page)
    assert len(here.keys()) == 24
    assert here.keys() != names(BY_SCORE[:24])
    assert here.told() == "24 of 1000, drawn at random, nothing picked"
    again = visit(large_page)
    assert again.keys() == here.keys()


@pytest.mark.parametrize(
    ("preset", "expected", "said"),
    [
        ("best", BY_SCORE[:24], "picked by score, not typical"),
        ("worst", BY_SCORE[::-1][:24], "picked by score, not typical"),
        ("median", BY_SCORE[486:510], "the middle by"),
    ],
)
def test_presets_choose_by_score_and_say_so(visit, small_page, preset, expected, said):
    here = visit(small_page)
    here.page.click(f"[data-view={preset}]")
    assert here.keys() == names(expected)
    assert said in here.told()
    assert "mlp: two-way, judge layer 2" in here.told()


def test_lower_is_better_where_it_is(visit, small_page):
    here = visit(small_page)
    here.page.click("[data-view=best]")
    here.page.select_option("#measure", label="mlp: MSE")
    assert here.keys() == names(BY_SCORE[::-1][:24])


def test_all_can_be_sorted(visit, small_page):
    here = visit(small_page)
    here.page.click("[data-view=all]")
    here.page.select_option("#order", "worst")
    assert here.keys() == names(BY_SCORE[::-1][:60])
    here.page.select_option("#order", "id")
    assert here.keys() == names(range(60))
    here.page.select_option("#order", "worst")
    assert here.told() == "1000 of 1000, worst first by mlp: two-way, judge layer 2"


def test_cards_are_made_as_the_reader_comes_near(visit, small_page):
    here = visit(small_page)
    here.page.click("[data-view=all]")
    here.page.select_option("#order", "best")
    seen = here.keys()
    while len(seen) < N_STIMULI:
        here.page.evaluate("document.getElementById('more').scrollIntoView()")
        here.page.wait_for_function("n => document.querySelectorAll('.card').length > n", arg=len(seen))
        seen = here.keys()
    assert seen[: len(BY_SCORE)] == names(BY_SCORE)
    assert sorted(seen[len(BY_SCORE) :]) == names(range(N_STIMULI - N_UNSCORED, N_STIMULI))


def test_a_range_keeps_what_lies_in_it(visit, small_page):
    here = visit(small_page)
    here.page.click("[data-view=all]")
    here.page.fill("#least", "98.95")
    here.page.fill("#most", "99.45")
    kept = [number for number in BY_SCORE if 0.9895 <= score(number) <= 0.9945]
    assert sorted(here.keys()) == sorted(names(kept))
    assert len(kept) == 5
    assert "5 of 1000, in random order, 5 of 1000 pass the filter" in here.told()
    here.page.select_option("#measure", label="mlp: PixCorr")
    assert here.page.input_value("#least") == "", "a range of another measure means nothing"


def test_search_finds_ids_and_what_is_shown(visit, small_page):
    here = visit(small_page)
    here.page.click("[data-view=all]")
    here.page.fill("#find", "dog")
    assert sorted(here.keys()) == ["nsd40", "nsd42"]
    here.page.fill("#find", "nsd99")
    assert sorted(here.keys()) == sorted(names([99, *range(990, 1000)]))
    here.page.fill("#find", "no such thing")
    assert here.keys() == []
    here.page.click("#reset")
    assert len(here.keys()) == 24


def test_columns_can_be_put_away(visit, small_page):
    here = visit(small_page)
    headings = "cards => [...cards[0].querySelectorAll('.heading')].map(one => one.textContent)"
    whole = here.page.eval_on_selector_all(".card", headings)
    here.page.click("details.columns summary")
    here.page.uncheck("input[value=neighbour]")
    assert here.page.eval_on_selector_all(".card", headings) == [
        one for one in whole if one != "nearest training picture"
    ]
    assert "hide=neighbour" in here.page.url


def test_a_link_shows_the_same(visit, small_page):
    here = visit(small_page)
    here.page.click("[data-view=all]")
    here.page.select_option("#measure", label="mlp: PixCorr")
    here.page.select_option("#order", "best")
    here.page.fill("#least", "0.5")
    here.page.click(".card .open")
    fragment = here.page.url.partition("#")[2]
    there = visit(small_page, f"#{fragment}")
    assert there.keys() == here.keys()
    assert there.told() == here.told()
    assert there.page.inner_text("#enlarged-title") == here.page.inner_text("#enlarged-title")
    assert there.page.input_value("#least") == "0.5"


def test_a_made_up_address_opens_as_if_there_were_none(visit, small_page):
    here = visit(small_page, "#view=everything&by=nothing&evil=1")
    assert here.told() == "24 of 1000, drawn at random, nothing picked"
    assert here.complaints == []


def test_numbers_can_be_taken_away(visit, small_page):
    here = visit(small_page)
    with here.page.expect_download() as waiting:
        here.page.click("#download-numbers")
    lines = Path(waiting.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "key,nsd_id,shows,mlp/judge2_two_way,mlp/pixcorr,mlp/mse"
    assert len(lines) == N_STIMULI + 1
    assert f"nsd40,40,dog,{score(40)},{round(1 - score(40), 6)},{score(40)}" in lines
    assert "nsd999,999,,,," in lines


def test_pictures_belong_to_their_card(visit, large_page, large_run):
    """Seen by the browser: the picture of a card is the file of its stimulus, by colour of its middle."""
    import numpy as np
    from PIL import Image

    here = visit(large_page)
    here.page.click("[data-view=best]")
    here.settle()
    for number in BY_SCORE[:3]:
        card = f".card[data-key=nsd{number}]"
        here.page.locator(card).scroll_into_view_if_needed()
        here.page.wait_for_function("s => document.querySelector(s).naturalWidth > 0", arg=f"{card} .generated img")
        seen = here.page.evaluate(
            """async s => { const i = document.querySelector(s); await i.decode();
            const b = await createImageBitmap(i); const c = new OffscreenCanvas(32, 32).getContext('2d');
            c.drawImage(b, 0, 0);
            try { return [...c.getImageData(0, 0, 32, 32).data]; } catch (error) { return null; } }""",
            f"{card} .generated img",
        )
        if seen is None:
            # A browser gives no pixels of files back; then the address must be that of the stimulus.
            address = here.page.get_attribute(f"{card} .generated img", "src")
            assert address.endswith(f"_generated_nsd{number}.jpg")
            continue
        with Image.open(large_run / f"images/nsd{number}_generated.png") as file:
            wanted = np.asarray(file.convert("RGB")).astype(int)
        assert np.abs(np.array(seen).reshape(32, 32, 4)[..., :3] - wanted).mean() < 6


def test_a_table_can_be_taken_away_with_every_digit(visit, small_page):
    here = visit(small_page)
    with here.page.expect_download() as waiting:
        here.page.locator("#scores button.download").first.click()
    assert waiting.value.suggested_filename.endswith(".csv")
    lines = Path(waiting.value.path()).read_text(encoding="utf-8").splitlines()
    rows = list(csv.reader(lines))
    assert len({len(row) for row in rows}) == 1, "cells that span several columns or rows keep the others in place"
    (row,) = [row for row in rows if row[0].startswith("two-way, judge layer 2")]
    assert row[1] == "0.5"
    assert "0.4 to 0.6" in row
