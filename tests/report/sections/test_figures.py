"""Figures take their ink from the page, are small, say what they show, and leave other people's words alone."""

import re

import pytest

from fmri_lightning.report.canvas import INK, new_axes, to_svg
from fmri_lightning.report.figures import Dot, Scale, distributions, dots, reliability
from fmri_lightning.report.runs import Interval

SCORE = Interval(0.6, 0.5, 0.7)


def figures():
    values = [
        (run, kind, [i / 50 for i in range(50)]) for run in ("mlp", "ridge") for kind in ("predicted", "shuffled")
    ]
    rows = [f"kind{i} (12)" for i in range(40)]
    curve = [i / 10 for i in range(10)]
    yield dots(rows, [Dot(i, SCORE, "#3b82d6") for i in range(40)], Scale("two-way", True, 0.5), "forty")
    yield distributions(values, 0.5, "two-way", True, "histogram")
    yield reliability([("mlp", curve, curve, [5] * 10)], "reliability")


@pytest.fixture(scope="module")
def drawn():
    return list(figures())


def test_figures_are_named_small_and_of_the_ink_of_the_page(drawn):
    for svg, name in zip(drawn, ("forty", "histogram", "reliability"), strict=True):
        assert svg.startswith(f'<svg role="img" aria-label="{name}"')
        assert "currentColor" in svg
        assert INK not in svg
        assert len(svg) < 15_000
        assert not re.search(r"<style|font-family|<metadata|<!--|(src|href)=\"(?!#)", svg)


def test_ids_are_used_and_differ_between_figures(drawn):
    ids = [found for svg in drawn for found in re.findall(r' id="([^"]*)"', svg)]
    assert len(set(ids)) == len(ids)
    for svg in drawn:
        for found in re.findall(r' id="([^"]*)"', svg):
            assert f"#{found}" in svg


def test_the_same_figure_is_the_same_bytes(drawn):
    assert next(figures()) == drawn[0]


def test_words_in_a_figure_stay_as_they_are():
    svg = dots(["a: $x$ 0.123456", '<b>&"'], [Dot(0, SCORE)], Scale("y"), '<i>"')
    assert ">a: $x$ 0.123456<" in svg
    assert "&lt;b&gt;&amp;" in svg
    assert 'aria-label="&lt;i&gt;&quot;"' in svg


def test_dots_stand_where_the_axis_says():
    svg = dots(["one"], [Dot(0, Interval(0.25, 0.0, 0.5), "#123456")], Scale("x", chance=0.0), "where")
    (dot,) = re.findall(r'<use href="#\w+" x="([\d.]+)"[^>]*#123456', svg)
    (low, high) = re.findall(r'd="M ([\d.]+) [\d.]+ L ([\d.]+) [^"]*"[^>]*stroke:#123456', svg)[0]
    assert float(dot) == pytest.approx((float(low) + float(high)) / 2, abs=0.02)


def test_an_empty_figure_has_no_ground():
    figure, (axes,) = new_axes(1.0)
    axes.set_axis_off()
    assert "<path" not in to_svg(figure, "empty")
