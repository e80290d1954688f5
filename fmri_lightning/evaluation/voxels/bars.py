"""Bars by region as one SVG file: what the maps say, for who opens no page."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from fmri_lightning.evaluation.voxels.words import QUANTITIES
from fmri_lightning.manifest import atomic_path

Rows = dict[str, tuple[dict[str, Any], list[float] | None]]
"""Region to value with interval, and values of its random sets."""


def write_bars(
    path: Path, quantities: dict[str, dict[str, dict[str, Any]]], ablation: dict[str, Any] | None, title: str
) -> list[Path]:
    """Draw a panel a quantity, a bar a region, with 95 % intervals over stimuli.

    Panels of the ablation also show the range of the random sets of the same size, as a grey line, and their mean.

    Args:
        path: SVG file.
        quantities: Quantity to region to its numbers.
        ablation: What was left out, or None.
        title: Above everything.

    Returns:
        The file, in a list; none where there is nothing to draw.
    """
    panels: list[tuple[str, Rows]] = [
        (QUANTITIES[name].label, {region: (entry, None) for region, entry in regions.items() if entry["n_voxels"]})
        for name, regions in quantities.items()
    ]
    if ablation is not None:
        panels.append(("change of the centred cosine without the region", _sets(ablation, "drop")))
        panels.append(("centred cosine of the region alone", _sets(ablation, "keep")))
    panels = [(label, rows) for label, rows in panels if rows]
    if not panels:
        return []
    import matplotlib as mpl
    from matplotlib.figure import Figure

    heights = [0.6 + 0.2 * len(rows) for _, rows in panels]
    figure = Figure(figsize=(6.5, 0.5 + sum(heights)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for place, (label, rows) in zip(axes, panels, strict=True):
        _draw(place, label, rows)
    figure.suptitle(title, fontsize=9)
    target = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bars"}):
        figure.savefig(target, format="svg", metadata=dict.fromkeys(("Date", "Creator")))
    with atomic_path(path) as temporary:
        temporary.write_text(target.getvalue(), encoding="utf-8")
    return [path]


def _sets(ablation: dict[str, Any], kind: str) -> Rows:
    found: Rows = {}
    for region, entry in ablation["regions"].items():
        if kind in entry:
            one = entry[kind]["centred_cosine"]
            found[region] = (one["difference"] if kind == "drop" else one, one["controls"])
    return found


def _draw(axes: Any, label: str, rows: Rows) -> None:
    for y, (entry, controls) in enumerate(rows.values()):
        value = entry["value"]
        reach = [[max(value - entry["ci_low"], 0.0)], [max(entry["ci_high"] - value, 0.0)]]
        axes.barh(y, value, height=0.6, color="#8fb8e8", xerr=reach, error_kw={"elinewidth": 1, "ecolor": "#23456b"})
        if controls:
            axes.plot([min(controls), max(controls)], [y, y], color="#777777", linewidth=3, alpha=0.6)
            axes.plot(sum(controls) / len(controls), y, "|", color="#222222", markersize=9)
    axes.set_yticks(range(len(rows)), list(rows), parse_math=False, fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.axvline(0, color="#444444", linewidth=0.7)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel(label, fontsize=8)
