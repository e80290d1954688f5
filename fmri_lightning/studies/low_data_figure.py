"""The figure of a low-data study: scores over sessions on a logarithmic axis, a line an encoder, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmri_lightning.manifest import atomic_path
from fmri_lightning.studies.low_data_scores import SHARES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = ("centred_cosine", "two_way", "top_1")
"""The plain cosine stands in the table: most of it is the mean embedding."""
COLOURS = ("#3b82d6", "#d9772b", "#2f9e6e", "#a45bc4", "#a8841a", "#2a9aa8")
MARKERS = ("o", "s", "^", "D", "v", "P")
DODGE = 0.03
"""Encoders stand side by side at an amount, so that their intervals do not cover each other: shares of its place."""


def write_figures(folder: Path, result: dict[str, Any]) -> None:
    """Write low_data.svg, the same bytes for the same result, and low_data.png.

    Args:
        folder: Folder of the subject.
        result: From :func:`fmri_lightning.studies.low_data_results.summarise`.
    """
    import matplotlib as mpl

    figure = draw(result)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "low-data"}):
        for name, settings in (
            ("svg", {"metadata": {"Date": None}}),
            ("png", {"dpi": 200, "metadata": {"Software": None}}),
        ):
            with atomic_path(folder / f"low_data.{name}") as temporary:
                figure.savefig(temporary, format=name, **settings)


def draw(result: dict[str, Any]) -> Figure:
    """Draw a panel a metric.

    Args:
        result: From :func:`fmri_lightning.studies.low_data_results.summarise`.

    Returns:
        The figure; the group of a line is named ``METRIC.ENCODER``, that of its intervals ``METRIC.ENCODER.interval``.
    """
    from matplotlib.figure import Figure

    facts = result["facts"]
    figure = Figure(figsize=(4.9, 7.4), layout="constrained")
    panels = figure.subplots(len(PANELS), 1, sharex=True)
    for axes, metric in zip(panels, PANELS, strict=True):
        _panel(axes, result, metric)
    sessions = [amount["n_sessions"] for amount in result["amounts"]]
    panels[-1].set_xscale("log")
    panels[-1].set_xlim(sessions[0] / 1.25, sessions[-1] * 1.25)
    panels[-1].set_xticks(sessions, [str(n) for n in sessions])
    panels[-1].set_xticks([], minor=True)
    # A session of NSD is an hour in the scanner.
    unit = "sessions (about an hour each)" if facts["source"] in ("nsd", "mindeye2") else "sessions"
    panels[-1].set_xlabel(f"{unit} the encoder was fitted on")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8
    )
    simulated = ", simulated" if facts["simulated"] else ""
    panels[0].set_title(f"{facts['subject']}{simulated}: {facts['n_test_stimuli']} test pictures", parse_math=False)
    return figure


def _panel(axes: Axes, result: dict[str, Any], metric: str) -> None:
    factor = 100 if metric in SHARES else 1
    names = result["facts"]["encoders"]
    for number, name in enumerate(names):
        points = [point for point in result["points"] if point["encoder"] == name]
        shift = (1 + DODGE) ** (number - (len(names) - 1) / 2)
        x = [point["n_sessions"] * shift for point in points]
        value, low, high = (
            [factor * point["scores"][metric][bound] for point in points] for bound in ("value", "low", "high")
        )
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        lines = axes.plot(x, value, color=colour, marker=marker, markersize=5, linewidth=1.4, label=name)
        lines[0].set_gid(f"{metric}.{name}")
        axes.vlines(x, low, high, color=colour, linewidth=1.6).set_gid(f"{metric}.{name}.interval")
    chance = factor * result["metrics"][metric]["chance"]
    axes.axhline(chance, color="0.4", linewidth=1, linestyle=":").set_gid(f"{metric}.chance")
    axes.annotate(
        "chance", (1, chance), xycoords=("axes fraction", "data"), fontsize=8, color="0.4", ha="right", va="bottom"
    )
    axes.set_ylabel(result["metrics"][metric]["label"])
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
