"""Axes, and small SVG that takes its ink from the page, so that it is readable on light and dark."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#010203"
"""A colour no figure uses, exchanged for the page's own text colour."""
WIDTH_IN = 7.2
_KEPT_ID = re.compile(r'(?:url\(#|href="#)([^)"]+)')


def new_axes(height_in: float, n_panels: int = 1, width_in: float = WIDTH_IN) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels below one another that share their horizontal axis.

    Args:
        height_in: Height, in inches.
        n_panels: Number of panels.
        width_in: Width, in inches.

    Returns:
        The figure and its panels, from top to bottom.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    panels = list(figure.subplots(n_panels, 1, sharex=True, squeeze=False)[:, 0])
    for axes in panels:
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(INK)
        axes.tick_params(colors=INK, labelsize=8)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
    return figure, panels


def to_svg(figure: Figure, title: str) -> str:
    """Write a figure as an element for the page.

    Args:
        figure: From :func:`new_axes`.
        title: What a reader who cannot see the figure is told.

    Returns:
        An ``<svg>`` element, as wide as its place, the same bytes again for the same figure and title.
    """
    import matplotlib as mpl

    target = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(target, format="svg", transparent=True, metadata=nothing)
    text = _compact(target.getvalue())
    for attribute in (" width", " height", " xmlns:xlink", " version"):
        text = re.sub(rf'(<svg[^>]*?){attribute}="[^"]*"', r"\1", text, count=1)
    root = f'<svg role="img" aria-label="{escape(title)}" fill="currentColor" stroke-linejoin="round"'
    return text.replace("<svg", root, 1)


def _compact(svg: str) -> str:
    """Take out what a browser does not need: metadata, names of groups, digits below a hundredth of a point."""
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    # The white ground of figure and axes, which is not painted.
    text = re.sub(r'<g id="patch_\d+">\s*<path d="[^"]*" style="fill: none"/>\s*</g>', "", text)
    # Rules of a style element would reach beyond its own figure.
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    kept = set(_KEPT_ID.findall(text))
    # Words between the tags are other people's text and stay as they are.
    pieces = [_compact_tag(piece, kept) if piece.startswith("<") else piece for piece in re.split(r"(<[^>]*>)", text)]
    text = "".join(piece for piece in _without_bare_groups(pieces) if piece.strip(" \n\t"))
    for mark in re.findall(r'<path id="([^"]*)"[^>]*style="[^"]*stroke:', text):
        text = re.sub(rf'(<use href="#{mark}"[^>]*?) style="[^"]*"', r"\1", text)
    return text.replace("<defs></defs>", "")


def _compact_tag(tag: str, kept: set[str]) -> str:
    tag = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in kept else "", tag)
    tag = re.sub(r"font-family:[^;\"]*;? ?|; stroke-linecap: square|stroke-linejoin: miter;? ?", "", tag)
    tag = re.sub(r'font: ([\d.]+px)[^;"]*', r"font-size: \1", tag)
    tag = re.sub(r' transform="rotate\(-0 [^"]*"', "", tag)
    tag = re.sub(r"\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), tag)
    tag = re.sub(r"(?<=[;:\"]) +| +(?=\"/?>)", "", re.sub(r"\s+", " ", tag).replace('" ', '"\t')).replace("\t", " ")
    tag = tag.replace("xlink:href", "href").replace(INK, "currentColor")
    return tag.replace(";fill:currentColor", "").replace(' style=""', "") if tag.startswith("<text") else tag


def _without_bare_groups(pieces: list[str]) -> list[str]:
    """Take out groups that say nothing of what is in them."""
    kept: list[str] = []
    opened: list[bool] = []
    for piece in pieces:
        if piece == "</g>":
            if opened.pop():
                kept.append(piece)
            continue
        if piece == "<g>" or piece.startswith("<g "):
            opened.append(piece != "<g>")
        if piece != "<g>":
            kept.append(piece)
    return kept
