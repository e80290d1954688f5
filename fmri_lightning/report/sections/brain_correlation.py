"""Do the pictures evoke, in a voxel model, the responses that were measured?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fmri_lightning.report.canvas import INK
from fmri_lightning.report.figures import COLOURS, Dot, Scale, condition_label, dots
from fmri_lightning.report.runs import Interval, read_interval
from fmri_lightning.report.sections.section import Material, Section
from fmri_lightning.report.wording import Number, interval_of, value_of

METRIC = "brain_correlation"
SHOWN = ("true_picture", "true_target", "predicted", "shuffled")
"""Pictures in the figure, from what the voxel model can reach down to the null; the table has the same."""


@dataclass(frozen=True)
class RegionRow:
    """One region: name, number of voxels, value and interval by kind of picture."""

    region: str
    n_voxels: int
    values: list[tuple[Number, Number]]


@dataclass(frozen=True)
class BrainOfRun:
    """Brain correlation of a run.

    Attributes:
        run: Its label.
        sentence: How the voxel model was made.
        svg: The figure.
        kinds: Kinds of pictures, in words.
        rows: Regions.
    """

    run: str
    sentence: str
    svg: str
    kinds: list[str]
    rows: list[RegionRow]


@dataclass(frozen=True)
class BrainCorrelationSection(Section):
    """Brain correlation of every run that has it, by one protocol."""

    anchor = "brain-correlation"
    title = "Brain correlation"
    template = "sections/brain_correlation.html.j2"
    runs: list[BrainOfRun]


def build(material: Material) -> BrainCorrelationSection | None:
    """Draw regions; None where evaluate was not asked for them."""
    runs = [_of_run(run.label, one) for run, one in material.found(METRIC) if one.get("regions")]
    return BrainCorrelationSection(runs) if runs else None


def _of_run(label: str, found: dict[str, Any]) -> BrainOfRun:
    regions: dict[str, dict[str, Any]] = found["regions"]
    kinds = [kind for kind in SHOWN if any(_score(entry, kind) is not None for entry in regions.values())]
    shown = [
        Dot(row, score, COLOURS.get(kind, INK), condition_label(kind), 0.11 * (i - (len(kinds) - 1) / 2))
        for row, entry in enumerate(regions.values())
        for i, kind in enumerate(kinds)
        if (score := _score(entry, kind)) is not None
    ]
    said = "; ".join(f"{name} {value_of(METRIC, _score(entry, 'predicted'))}" for name, entry in regions.items())
    rows = [
        RegionRow(
            name,
            int(entry.get("n_voxels") or 0),
            [(value_of(METRIC, one := _score(entry, kind)), interval_of(METRIC, one)) for kind in kinds],
        )
        for name, entry in regions.items()
    ]
    network, n_train = found.get("network", "?"), found.get("n_train", "?")
    return BrainOfRun(
        run=label,
        sentence=f"The voxel model sees pictures through {network} and was fitted on {n_train} training stimuli.",
        svg=dots(
            [f"{row.region} ({row.n_voxels})" for row in rows],
            shown,
            Scale("correlation over stimuli, mean over voxels", chance=0.0),
            f"Brain correlation of {label} by region. {said}",
            row_in=0.36,
        ),
        kinds=[condition_label(kind) for kind in kinds],
        rows=rows,
    )


def _score(entry: dict[str, Any], kind: str) -> Interval | None:
    return read_interval(entry if kind == "predicted" else (entry.get("rows") or {}).get(kind) or {})
