"""Figures as inline SVG that takes its ink from the page, so that it is readable on light and dark."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from fmri_lightning.report.runs import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A colour no figure uses, exchanged for the page's own text colour.
_INK = "#010203"
COLOURS = {
    "true_target": "#2f9e6e",
    "true_source": "#2a9aa8",
    "predicted": "#3b82d6",
    "shuffled_as_drawn": "#c9a227",
    "shuffled": "#d9772b",
}
_LABELS = {
    "true_target": "real embedding",
    "true_source": "real source embedding",
    "predicted": "from the brain",
    "shuffled_as_drawn": "shuffled, against its source",
    "mean": "mean embedding",
    "unconditional": "no embedding",
}


def ladder(
    rungs: Sequence[tuple[str, str, Interval]], chance: float | None, axis_label: str, percent: bool, title: str
) -> str:
    """Draw the causal ladder: real embedding above prediction above shuffled, which sits at chance.

    Args:
        rungs: Run label, condition and score, from top to bottom.
        chance: Where a dashed line goes, or None.
        axis_label: Name of the metric.
        percent: Whether scores are shares.
        title: What a reader who cannot see the figure is told.

    Returns:
        An `<svg>` element.
    """
    factor = 100 if percent else 1
    figure, axes = _figure(height_in=0.7 + 0.3 * len(rungs))
    for row, (_, condition, score) in enumerate(rungs):
        colour = COLOURS.get(condition, _INK)
        if score.low is not None and score.high is not None:
            axes.plot([score.low * factor, score.high * factor], [row, row], color=colour, linewidth=2)
        axes.plot(score.value * factor, row, "o", color=colour, markersize=6)
    if chance is not None:
        axes.axvline(chance * factor, color=_INK, linewidth=1, linestyle="--")
        axes.text(chance * factor, -0.65, " chance", color=_INK, fontsize=8, va="center")
    axes.set_yticks(range(len(rungs)), [f"{run}: {_LABELS.get(condition, condition)}" for run, condition, _ in rungs])
    axes.set_ylim(len(rungs) - 0.4, -0.95)
    axes.set_xlabel(f"{axis_label}, %" if percent else axis_label)
    return _svg(figure, title)


def distributions(
    values: Sequence[tuple[str, str, Sequence[float]]], chance: float | None, axis_label: str, percent: bool, title: str
) -> str:
    """Draw one histogram a condition over the stimuli, with medians.

    Args:
        values: Run label, condition and per-stimulus scores.
        chance: Where a dashed line goes, or None.
        axis_label: Name of the metric.
        percent: Whether scores are shares.
        title: What a reader who cannot see the figure is told.

    Returns:
        An `<svg>` element.
    """
    factor = 100 if percent else 1
    pooled = [value * factor for _, _, scores in values for value in scores]
    low, high = min(pooled), max(pooled)
    span = (low, high) if high > low else (low - 0.5, high + 0.5)
    figure, axes = _figure(height_in=2.4)
    runs = dict.fromkeys(run for run, _, _ in values)
    styles = dict(zip(runs, itertools.cycle(("-", "--", ":", "-."))))
    for run, condition, scores in values:
        scaled = sorted(value * factor for value in scores)
        colour = COLOURS.get(condition, _INK)
        style = styles[run]
        label = f"{run}: {_LABELS.get(condition, condition)}"
        axes.hist(
            scaled, bins=20, range=span, histtype="step", color=colour, linestyle=style, label=label, linewidth=1.4
        )
        axes.axvline(scaled[len(scaled) // 2], color=colour, linestyle=style, linewidth=0.8, alpha=0.7)
    if chance is not None:
        axes.axvline(chance * factor, color=_INK, linewidth=1, linestyle="--")
    axes.set_xlabel(f"{axis_label}, %" if percent else axis_label)
    axes.set_ylabel("stimuli")
    axes.legend(fontsize=7, frameon=False, labelcolor=_INK)
    return _svg(figure, title)


def _figure(height_in: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, height_in), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=8)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    return figure, axes


def _svg(figure: Figure, title: str) -> str:
    import matplotlib as mpl

    target = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(target, format="svg", transparent=True, metadata=nothing)
    text = target.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = text.replace(_INK, "currentColor")
    # The figure scales with the page and has a name for those who hear it.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
