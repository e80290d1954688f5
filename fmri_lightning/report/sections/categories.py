"""Scores by what the stimuli show."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from fmri_lightning.evaluation.metric_table import is_share
from fmri_lightning.report.figures import RUN_COLOURS, Dot, Scale, dots
from fmri_lightning.report.runs import Evaluation, Interval, ReportRun, read_interval
from fmri_lightning.report.sections.section import Material, Section
from fmri_lightning.report.verdict import chance
from fmri_lightning.report.wording import NOTHING, Number, arrow, interval_of, metric_info, number, value_of

DRAWN_AT_MOST = 40
"""Categories in the figure: as many of the best as of the worst where there are more."""


@dataclass(frozen=True)
class CategoryRow:
    """One category of a run, or all its stimuli.

    Attributes:
        name: The category.
        n: Stimuli, or pictures, in it.
        values: Value and interval by column.
        is_all: Whether this is the overall score.
    """

    name: str
    n: str
    values: list[tuple[Number, Number]]
    is_all: bool = False


@dataclass(frozen=True)
class CategoryTable:
    """Categories of a run by metrics."""

    run: str
    rows: list[CategoryRow]


@dataclass(frozen=True)
class CategoriesSection(Section):
    """A figure of the headline metric and a table a run.

    Attributes:
        svg: The figure.
        metric: What it shows, in words.
        left_out: How many categories it leaves out.
        columns: Metrics of the tables.
        tables: One a run.
    """

    anchor = "categories"
    title = "By category"
    template = "sections/categories.html.j2"
    svg: str
    metric: str
    left_out: int
    columns: list[str]
    tables: list[CategoryTable]


def build(material: Material) -> CategoriesSection | None:
    """Build figure and tables; None where no run has groups of stimuli."""
    scored = [(run, one) for run, one in material.scored() if _names(one)]
    metrics = [name for name in material.metrics() if any(_groups(one, name) for _, one in scored)]
    if not scored or not metrics:
        return None
    svg, left_out = _figure(scored, metrics[0])
    tables = [CategoryTable(run.label, _rows(one, metrics)) for run, one in scored]
    columns = [f"{metric_info(metric).label} {arrow(metric)}" for metric in metrics]
    return CategoriesSection(svg, metric_info(metrics[0]).label, left_out, columns, tables)


def _groups(evaluation: Evaluation, metric: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = evaluation.summary["metrics"].get(metric, {}).get("groups") or {}
    return found


def _names(evaluation: Evaluation) -> list[str]:
    return list(dict.fromkeys(name for metric in evaluation.summary["metrics"] for name in _groups(evaluation, metric)))


def _rows(evaluation: Evaluation, metrics: list[str]) -> list[CategoryRow]:
    overall = [(value_of(metric, score := evaluation.score(metric)), interval_of(metric, score)) for metric in metrics]
    rows = [CategoryRow("all", str(evaluation.summary.get("n", "–")), overall, is_all=True)]
    for name in _names(evaluation):
        entries = [_groups(evaluation, metric).get(name, {}) for metric in metrics]
        n = next((str(entry["n"]) for entry in entries if entry.get("n")), "–")
        scores = [read_interval(entry) for entry in entries]
        values = [
            (value_of(metric, one), interval_of(metric, one)) for metric, one in zip(metrics, scores, strict=True)
        ]
        rows.append(CategoryRow(name, n, values))
    return rows


def _figure(scored: list[tuple[ReportRun, Evaluation]], metric: str) -> tuple[str, int]:
    by_run = {run.label: _scores(one, metric) for run, one in scored}
    first = next(iter(by_run.values()))
    info, upwards = metric_info(metric), metric_info(metric).higher_is_better
    everything = list(dict.fromkeys(name for found in by_run.values() for name in found))
    order = sorted(everything, key=lambda name: _height(first.get(name), upwards), reverse=True)
    half = DRAWN_AT_MOST // 2
    names = order if len(order) <= DRAWN_AT_MOST else order[:half] + order[-half:]
    counts = {name: entry.get("n") for _, one in scored for name, entry in _groups(one, metric).items()}
    found = []
    spread = [0.0] if len(by_run) == 1 else [0.36 * (i / (len(by_run) - 1) - 0.5) for i in range(len(by_run))]
    for (label, scores), colour, shift in zip(by_run.items(), itertools.cycle(RUN_COLOURS), spread):
        named = label if len(by_run) > 1 else ""
        found += [Dot(row, scores[name], colour, named, shift) for row, name in enumerate(names) if name in scores]
    overall = scored[0][1].score(metric) if len(by_run) == 1 else None
    line = None if overall is None else (overall.value, "all")
    scale = Scale(info.label, is_share(metric), chance(scored[0][1], metric) if overall is None else None)
    said = "; ".join(f"{name} {number(metric, first[name].value) if name in first else NOTHING}" for name in names)
    rows = [f"{name} ({counts[name]})" for name in names]
    return dots(rows, found, scale, f"{info.label} by category. {said}", line), len(order) - len(names)


def _scores(evaluation: Evaluation, metric: str) -> dict[str, Interval]:
    found = {name: read_interval(entry) for name, entry in _groups(evaluation, metric).items()}
    return {name: score for name, score in found.items() if score is not None}


def _height(score: Interval | None, upwards: bool) -> float:
    if score is None:
        return float("-inf")
    return score.value if upwards else -score.value
