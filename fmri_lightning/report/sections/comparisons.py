"""Runs against each other: paired tests within a subject, and means over subjects."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.metric_table import is_share
from fmri_lightning.evaluation.tables.aggregate import RUN, AggregateRow, AggregateTable, aggregate
from fmri_lightning.evaluation.tables.comparisons import METHOD, Comparison
from fmri_lightning.evaluation.tables.scored import ScoredRun, load_scored
from fmri_lightning.report.runs import Interval, read_optional
from fmri_lightning.report.sections.section import Material, Section
from fmri_lightning.report.wording import (
    NOTHING,
    Number,
    arrow,
    format_number,
    format_range,
    interval_of,
    metric_info,
    number,
)

N_RESAMPLES, SEED = 2000, 0
"""As evaluate has them by default; those of the evaluation are taken where it says them."""
OPEN_PAIRS = 2


@dataclass(frozen=True)
class Difference:
    """One metric of a pair of runs.

    Attributes:
        label: The metric, with its direction.
        difference: First minus second.
        interval: Its 95 % interval.
        better: Which run is better, where the interval is on one side of 0.
        p: Sign-flip p.
        p_holm: The same, corrected for the metrics of the pair.
        n: Stimuli compared.
        n_undefined: Common stimuli left out.
    """

    label: str
    difference: Number
    interval: Number
    better: str
    p: Number
    p_holm: Number
    n: int
    n_undefined: int


@dataclass(frozen=True)
class Pair:
    """Two runs of a subject."""

    first: str
    second: str
    subject: str
    rows: list[Difference]


@dataclass(frozen=True)
class MeanRow:
    """A run, or the mean of a system's runs over subjects."""

    system: str
    subject: str
    is_mean: bool
    values: list[tuple[Number, Number]]


@dataclass(frozen=True)
class ProtocolComparison:
    """Everything compared by one protocol.

    Attributes:
        protocol: Its name.
        pairs: Paired tests.
        columns: Metrics of the means.
        means: Every subject, and the means; empty where there is one subject.
        remarks: Sentences on the means.
        refused: Why nothing is compared, or "".
    """

    protocol: str
    pairs: list[Pair]
    columns: list[str]
    means: list[MeanRow]
    remarks: tuple[str, ...]
    refused: str = ""


@dataclass(frozen=True)
class ComparisonsSection(Section):
    """Comparisons by every protocol that scored more than one run."""

    anchor = "comparisons"
    title = "Runs against each other"
    template = "sections/comparisons.html.j2"
    protocols: list[ProtocolComparison]
    method: str
    open_pairs: int


def build(material: Material) -> ComparisonsSection | None:
    """Compare runs; None for one run, or where there is nothing that two runs share."""
    found = []
    for protocol in sorted({name for run in material.runs for name in run.evaluations}):
        one = _compare(material, protocol)
        if one is not None:
            found.append(one)
    return ComparisonsSection(found, METHOD, OPEN_PAIRS) if found else None


def _compare(material: Material, protocol: str) -> ProtocolComparison | None:
    folders = {run.folder / "evaluation" / protocol: run.label for run in material.runs if protocol in run.evaluations}
    if len(folders) < 2:
        return None
    try:
        scored = load_scored(list(folders))
    except BadInputError as error:
        why = str(error)
        for folder, label in folders.items():
            why = why.replace(str(folder), label)
        return ProtocolComparison(protocol, [], [], [], (), material.plain(why))
    settings = (read_optional(scored[0].folder / "manifest.json") or {}).get("config", {})
    n_resamples, seed = int(settings.get("resamples", N_RESAMPLES)), int(settings.get("seed", SEED))
    table = aggregate(scored, literature=False, n_resamples=n_resamples, seed=seed)
    names = {(run.system, run.subject): folders[run.folder] for run in scored}
    pairs = [
        Pair(names[first, subject], names[second, subject], subject, [_row(one, names) for one in of_pair])
        for (first, second, subject), of_pair in groupby(
            table.comparisons, key=lambda one: (one.first, one.second, one.subject)
        )
    ]
    columns, means = _means(table, scored)
    if not pairs and not means:
        return None
    # The page has intervals in small print, not in brackets.
    remarks = tuple(remark for remark in table.remarks if not remark.startswith("In brackets"))
    return ProtocolComparison(protocol, pairs, columns, means, remarks if means else ())


def _row(one: Comparison, names: dict[tuple[str, str], str]) -> Difference:
    metric = one.metric
    ends = None if one.ci_low is None or one.ci_high is None else (one.ci_low, one.ci_high)
    interval = Number("") if ends is None else Number(format_range(metric, *ends), f"{ends[0]!r} to {ends[1]!r}")
    return Difference(
        label=f"{metric_info(metric).label} {arrow(metric)}",
        difference=_difference(metric, one.difference),
        interval=interval,
        better=_better(one, names, ends),
        p=_p(one.p),
        p_holm=_p(one.p_holm),
        n=one.n,
        n_undefined=one.n_undefined,
    )


def _difference(metric: str, value: float | None) -> Number:
    if value is None:
        return NOTHING
    unit = " points" if is_share(metric) else ""
    return Number(f"{'+' if value > 0 else ''}{format_number(metric, value).removesuffix(' %')}{unit}", repr(value))


def _better(one: Comparison, names: dict[tuple[str, str], str], ends: tuple[float, float] | None) -> str:
    if ends is None or ends[0] <= 0 <= ends[1]:
        return "not told apart"
    first_is_better = (ends[0] > 0) == metric_info(one.metric).higher_is_better
    return names[one.first if first_is_better else one.second, one.subject]


def _p(value: float | None) -> Number:
    return NOTHING if value is None else Number(f"{value:.4f}", repr(value))


def _means(table: AggregateTable, scored: list[ScoredRun]) -> tuple[list[str], list[MeanRow]]:
    rows = [row for row in table.rows if row.kind == RUN]
    if len({run.subject for run in scored}) < 2 or not any(_is_mean(row) for row in rows):
        return [], []
    metrics = [column.metric for column in table.columns if not column.further and _has_values(column.metric, rows)]
    columns = [f"{metric_info(metric).label} {arrow(metric)}" for metric in metrics]
    return columns, [MeanRow(row.system, row.subject, _is_mean(row), _values(row, metrics)) for row in rows]


def _is_mean(row: AggregateRow) -> bool:
    return row.subject.startswith("mean of")


def _has_values(metric: str, rows: list[AggregateRow]) -> bool:
    return any((cell := row.cells.get(metric)) is not None and cell.value is not None for row in rows)


def _values(row: AggregateRow, metrics: list[str]) -> list[tuple[Number, Number]]:
    found = []
    for metric in metrics:
        cell = row.cells.get(metric)
        if cell is None or cell.value is None:
            found.append((NOTHING, Number("")))
        else:
            found.append((number(metric, cell.value), interval_of(metric, Interval(cell.value, cell.low, cell.high))))
    return found
