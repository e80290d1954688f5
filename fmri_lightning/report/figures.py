"""The figures of the page: dots with intervals, histograms, reliability."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from fmri_lightning.report.canvas import INK, new_axes, to_svg
from fmri_lightning.report.runs import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "true_target": "#2f9e6e",
    "true_picture": "#78859a",
    "true_source": "#2a9aa8",
    "predicted": "#3b82d6",
    "shuffled_as_drawn": "#a8841a",
    "nearest_training": "#a45bc4",
    "shuffled": "#d9772b",
}
"""Conditions that are told apart by colour; any other takes the ink of the page."""
LABELS = {
    "true_target": "real embedding",
    "true_source": "real source embedding",
    "true_picture": "true pictures",
    "predicted": "from the brain",
    "shuffled_as_drawn": "shuffled, against its source",
    "nearest_training": "nearest training picture",
    "first_sample": "first sample",
    "mean": "mean embedding",
    "unconditional": "no embedding",
}
RUN_COLOURS = ("#3b82d6", "#d9772b", "#2f9e6e", "#a45bc4", "#a8841a", "#2a9aa8")
"""Runs, where colour tells runs apart instead of conditions."""
N_BINS = 20
NBSP = "\u00a0"
"""SVG drops a space at the start of a text."""


@dataclass(frozen=True)
class Dot:
    """One score in a row of dots.

    Attributes:
        row: Number of its row, from the top.
        score: Value and interval.
        colour: Of dot and line.
        name: What it is, for the legend; "" for none.
        shift: Up or down within the row, in rows.
    """

    row: int
    score: Interval
    colour: str = INK
    name: str = ""
    shift: float = 0.0


@dataclass(frozen=True)
class Scale:
    """What a figure's horizontal axis shows.

    Attributes:
        label: Name of the metric.
        percent: Whether scores are shares, shown in per cent.
        chance: Where a dashed line goes, or None.
    """

    label: str
    percent: bool = False
    chance: float | None = None

    @property
    def factor(self) -> int:
        """What scores are multiplied with."""
        return 100 if self.percent else 1

    @property
    def title(self) -> str:
        """Name with unit."""
        return f"{self.label}, %" if self.percent else self.label


def condition_label(condition: str) -> str:
    """A condition of the ladder in words."""
    return LABELS.get(condition, condition.replace("_", " "))


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
        An ``<svg>`` element.
    """
    found = [Dot(row, score, COLOURS.get(condition, INK)) for row, (_, condition, score) in enumerate(rungs)]
    rows = [f"{run}: {condition_label(condition)}" for run, condition, _ in rungs]
    return dots(rows, found, Scale(axis_label, percent, chance), title)


def dots(
    rows: Sequence[str],
    found: Sequence[Dot],
    scale: Scale,
    title: str,
    line: tuple[float, str] | None = None,
    row_in: float = 0.27,
) -> str:
    """Draw scores as dots with their intervals, a row each.

    Args:
        rows: Labels, from the top.
        found: The scores.
        scale: Of the horizontal axis.
        title: What a reader who cannot see the figure is told.
        line: Where a thin line goes, and what it says.
        row_in: Height of a row, in inches.

    Returns:
        An ``<svg>`` element.
    """
    factor, named = scale.factor, list(dict.fromkeys((dot.name, dot.colour) for dot in found if dot.name))
    figure, (axes,) = new_axes(0.75 + row_in * len(rows) + (0.25 if named else 0))
    for colour in dict.fromkeys(dot.colour for dot in found):
        own = [dot for dot in found if dot.colour == colour]
        rows_y = [dot.row + dot.shift for dot in own]
        bounds = [(dot.score, y) for dot, y in zip(own, rows_y, strict=True)]
        ends = [(x, y) for score, y in bounds for x in (score.low, score.high, None)]
        # One line with gaps is a fraction of the size of a line an interval.
        xs = [math.nan if x is None else x * factor for x, _ in ends]
        axes.plot(xs, [y for _, y in ends], color=colour, linewidth=1.6, clip_on=False)
        values = [dot.score.value * factor for dot in own]
        axes.plot(values, rows_y, "o", color=colour, markersize=5, markeredgewidth=0, clip_on=False)
    if line is not None:
        axes.axvline(line[0] * factor, color=INK, linewidth=0.8, alpha=0.7)
        axes.text(line[0] * factor, -0.75, f"{NBSP}{line[1]}", color=INK, fontsize=8, va="center")
    _chance_line(axes, scale, -0.75)
    # Names of stimuli's categories are other people's text: a dollar sign must not start a formula.
    axes.set_yticks(range(len(rows)), list(rows), parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -1.05)
    axes.set_xlabel(scale.title, fontsize=9)
    if named:
        for name, colour in named:
            axes.plot([], [], "o", color=colour, markersize=5, markeredgewidth=0, label=name)
        _legend(axes, len(named))
    return to_svg(figure, title)


def distributions(
    values: Sequence[tuple[str, str, Sequence[float]]], chance: float | None, axis_label: str, percent: bool, title: str
) -> str:
    """Draw histograms over the stimuli with their medians, a panel a run and a line a condition.

    Args:
        values: Run label, condition and per-stimulus scores.
        chance: Where a dashed line goes, or None.
        axis_label: Name of the metric.
        percent: Whether scores are shares.
        title: What a reader who cannot see the figure is told.

    Returns:
        An ``<svg>`` element.
    """
    scale = Scale(axis_label, percent, chance)
    pooled = [value * scale.factor for _, _, scores in values for value in scores]
    low, high = min(pooled), max(pooled)
    span = (low, high) if high > low else (low - 0.5, high + 0.5)
    runs = list(dict.fromkeys(run for run, _, _ in values))
    figure, panels = new_axes(0.7 + 1.35 * len(runs), len(runs))
    for run, axes in zip(runs, panels, strict=True):
        for condition, scores in ((condition, scores) for name, condition, scores in values if name == run):
            scaled = [value * scale.factor for value in scores]
            colour = COLOURS.get(condition, INK)
            axes.hist(scaled, bins=N_BINS, range=span, histtype="step", color=colour, linewidth=1.4)
            axes.axvline(median(scaled), color=colour, linewidth=0.8, linestyle=(0, (4, 2)))
        if chance is not None:
            axes.axvline(chance * scale.factor, color=INK, linewidth=1, linestyle=":")
        axes.locator_params(axis="y", integer=True, nbins=4)
        axes.set_ylabel("stimuli", fontsize=8)
        if len(runs) > 1:
            axes.set_title(run, fontsize=8, color=INK, loc="right", parse_math=False)
    conditions = list(dict.fromkeys(condition for _, condition, _ in values))
    for condition in conditions:
        panels[0].plot([], [], color=COLOURS.get(condition, INK), label=condition_label(condition))
    _legend(panels[0], len(conditions))
    panels[-1].set_xlabel(scale.title, fontsize=9)
    return to_svg(figure, title)


def reliability(curves: Sequence[tuple[str, Sequence[float], Sequence[float], Sequence[int]]], title: str) -> str:
    """Draw how often guesses of a stated probability are right, beside the line of honest probabilities.

    Args:
        curves: Run label, mean stated probability, share of right guesses (both 0..1) and number of guesses a bin.
        title: What a reader who cannot see the figure is told.

    Returns:
        An ``<svg>`` element.
    """
    figure, (axes,) = new_axes(3.4, width_in=4.6)
    axes.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle="--")
    for (label, stated, right, _), colour in zip(curves, itertools.cycle(RUN_COLOURS)):
        axes.plot(
            [100 * x for x in stated],
            [100 * y for y in right],
            "o-",
            color=colour,
            linewidth=1.2,
            markersize=4,
            markeredgewidth=0,
            label=label,
        )
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_xlabel("stated probability, %", fontsize=9)
    axes.set_ylabel("right guesses, %", fontsize=9)
    if len(curves) > 1:
        _legend(axes, len(curves))
    return to_svg(figure, title)


def _chance_line(axes: Axes, scale: Scale, y: float) -> None:
    if scale.chance is not None:
        axes.axvline(scale.chance * scale.factor, color=INK, linewidth=1, linestyle=":")
        axes.text(scale.chance * scale.factor, y, f"{NBSP}chance", color=INK, fontsize=8, va="center")


def _legend(axes: Axes, n_columns: int) -> None:
    axes.legend(
        fontsize=8,
        frameon=False,
        labelcolor=INK,
        ncols=min(n_columns, 4),
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        borderpad=0,
        handlelength=1.4,
    )
