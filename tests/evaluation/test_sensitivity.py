"""The table of the guide says what this version computes."""

import re
from pathlib import Path

import pytest

from fmri_lightning.evaluation.networks.judge import judge_weights
from tests.benchmarks.sensitivity import (
    anchor_line,
    judge_lines,
    published_line,
    retrieval_lines,
    size_lines,
    ssim_lines,
    table,
)

GUIDE = Path(__file__).parents[2] / "fmri_lightning/evaluation/README.md"
COLUMNS = ("pixcorr", "ssim", "pixels", "judge2", "judge5")


def printed():
    """Choice to the numbers that the guide prints for it."""
    rows = {}
    for line in GUIDE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 2 + len(COLUMNS):
            numbers = [re.match(r"\d\.\d{3}", cell) for cell in cells[2:]]
            rows[cells[0]] = [None if number is None else float(number.group()) for number in numbers]
    return rows


def same(line):
    for name, number in zip(COLUMNS, printed()[line.choice], strict=True):
        value = getattr(line, name)
        assert (value is None) == (number is None), (line.choice, name)
        # The last printed digit; resizing differs by that much between processors.
        assert value is None or value == pytest.approx(number, abs=0.0015), (line.choice, name)


@pytest.mark.slow
def test_the_published_line_is_as_printed() -> None:
    line = published_line()
    same(line)
    assert table([line])[-1] in GUIDE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_lines_of_sizes_and_anchors_are_as_printed() -> None:
    for line in [*size_lines(), anchor_line()]:
        same(line)


@pytest.mark.slow
def test_lines_of_ssim_are_as_printed() -> None:
    for line in ssim_lines():
        same(line)


@pytest.mark.slow
def test_lines_of_the_judge_are_as_printed() -> None:
    if judge_weights() is None:
        pytest.skip("the judge's weights are not installed")
    for line in judge_lines():
        same(line)


@pytest.mark.slow
def test_directions_and_gallery_sizes_are_as_printed() -> None:
    text = GUIDE.read_text(encoding="utf-8").replace("\n", " ")
    shares = dict(retrieval_lines())
    for gallery, share in shares.items():
        assert f"{gallery}: {100 * share:.1f} %" in text
    assert shares["which picture, of 12"] - shares["which picture, of 48"] > 0.1
    assert shares["two-way, of 12"] == pytest.approx(shares["two-way, of 48"], abs=0.005)


@pytest.mark.slow
def test_every_line_of_the_table_has_a_test() -> None:
    named = {line.choice for line in [published_line(), *size_lines(), *ssim_lines(), anchor_line()]}
    judged = {choice for choice in printed() if "network" in choice or choice == "the same, anchored on the original"}
    assert set(printed()) - judged - {"choice", "---"} == named
