"""The table before it is written: every subject, the mean over subjects, and the rows beside a score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from fmri_lightning.evaluation.literature.literature import TAGS, PublishedCell, comparable_cells, load_literature
from fmri_lightning.evaluation.metric_table import METRICS, is_further
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.evaluation.tables.comparisons import Comparison, compare_runs
from fmri_lightning.evaluation.tables.resampling import StimulusBootstrap
from fmri_lightning.evaluation.tables.scored import ItemScores, ScoredRun

RUN = "run"
CHANCE, CEILING = "chance", "ceiling"
BESIDE = ("shuffled", "first_sample", "nearest_training", CEILING, CHANCE)
"""Rows beside a score, in the order of the table; the first three and the ceiling are scored pictures."""
NAMED_AT_MOST = 8


@dataclass(frozen=True)
class Cell:
    """One number of the table.

    Attributes:
        value: The score, shares as fractions; None where there is none.
        low: Lower end of its 95 % interval, None where it has none.
        high: Upper end.
        n: Items it was taken over, None where that does not apply.
        notes: What to know, beginning with the reason where there is no value.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class AggregateRow:
    """One row.

    Attributes:
        system: Encoder and decoder.
        subject: NSD subject, or "mean of 4 subjects".
        kind: ``run``, or which row beside the score.
        cells: Metric to number; without the metrics that the row has not and need not have.
    """

    system: str
    subject: str
    kind: str
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Column:
    """One metric.

    Attributes:
        metric: Its name.
        label: In words.
        higher_is_better: Direction.
        of_pictures: Scored on pictures rather than on embeddings.
        further: Kept out of the tables for reading.
        notes: What to know of all its numbers, for instance that they are circular.
        statistic: What is taken over the items.
    """

    metric: str
    label: str
    higher_is_better: bool
    of_pictures: bool
    further: bool = False
    notes: tuple[str, ...] = ()
    statistic: str = "mean"


@dataclass(frozen=True)
class AggregateTable:
    """Everything that the files of a table hold.

    Attributes:
        protocol: Bare name.
        titles: Qualified names of the protocol, as each run's evaluation gives it.
        test_set: Name of the test set, and its size where known.
        trial_mode: How repeats were combined.
        n: Pictures a run, smallest and largest.
        simulated: Whether the brain is simulated.
        columns: Metrics in the order of the protocol.
        rows: Rows, runs first.
        published: Numbers of the literature that may stand below.
        literature_note: One sentence on the literature: why there are no published numbers, or what tells those below.
        comparisons: Paired tests.
        remarks: Sentences on the whole table.
        missing: Subjects that should be in the table and are not, each with the reason.
    """

    protocol: str
    titles: tuple[str, ...]
    test_set: str
    trial_mode: str
    n: tuple[int, int]
    simulated: bool
    columns: list[Column]
    rows: list[AggregateRow]
    published: list[PublishedCell] = field(default_factory=list)
    literature_note: str = ""
    comparisons: list[Comparison] = field(default_factory=list)
    remarks: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


def aggregate(
    runs: list[ScoredRun], literature: bool, n_resamples: int, seed: int, missing: Mapping[str, str] | None = None
) -> AggregateTable:
    """Put evaluated runs into one table.

    Args:
        runs: From :func:`~fmri_lightning.evaluation.tables.scored.load_scored`.
        literature: Whether published numbers may be added where they are comparable.
        n_resamples: Bootstrap resamples of the means over subjects and of the paired differences.
        seed: Of bootstrap and sign flips.
        missing: Subjects that should be here and are not, each with the reason: they get a row without numbers, and
            no mean counts them. None where nobody is missing.

    Returns:
        The table; the same for any order of the runs.
    """
    columns = _columns(runs)
    bootstrap = StimulusBootstrap(n_resamples, seed)
    missing = dict(sorted((missing or {}).items()))
    rows = _rows(runs, columns, RUN, bootstrap, missing)
    for kind in BESIDE:
        rows += _rows(runs, columns, kind, bootstrap)
    published, note = _published(runs, literature)
    sizes = [int(run.summary["n"]) for run in runs]
    compared = [column.metric for column in columns if not column.further]
    return AggregateTable(
        protocol=runs[0].protocol,
        titles=tuple(sorted({run.title for run in runs})),
        test_set=_test_set(runs),
        trial_mode=str(runs[0].summary.get("trial_mode") or "unknown"),
        n=(min(sizes), max(sizes)),
        simulated=bool(runs[0].summary.get("simulated")),
        columns=columns,
        rows=rows,
        published=published,
        literature_note=note,
        comparisons=compare_runs(runs, compared, n_resamples, seed),
        remarks=_remarks(rows, sizes),
        missing=missing,
    )


def _test_set(runs: list[ScoredRun]) -> str:
    name = str(runs[0].summary.get("test_set") or "unknown")
    sizes = sorted({int(run.summary["n_test_set"]) for run in runs if run.summary.get("n_test_set")})
    return f"{name} ({' or '.join(map(str, sizes))} items)" if sizes else name


def _remarks(rows: list[AggregateRow], sizes: list[int]) -> tuple[str, ...]:
    remarks = ["In brackets: 95 % percentile bootstrap interval over stimuli; repeats of a stimulus are one block."]
    if any(row.subject.startswith("mean of") for row in rows):
        remarks.append(
            "Mean of subjects: mean of the subjects' scores. Its interval draws stimuli again, the same ones in every "
            "subject who saw them, and keeps the subjects and the distractors fixed: it speaks of other stimuli, not "
            "of other subjects."
        )
    if min(sizes) < max(sizes):
        remarks.append(
            f"The runs hold {min(sizes)} to {max(sizes)} pictures: scores with distractors (two-way, retrieval) depend "
            "on that number."
        )
    return tuple(remarks)


def _columns(runs: list[ScoredRun]) -> list[Column]:
    protocol = PROTOCOLS.get(runs[0].protocol)
    of_name = protocol.picture_metrics if protocol is not None else ()
    known = list(METRICS)
    scored = {metric for run in runs for metric in run.summary["metrics"]}
    ordered = [*of_name, *(metric for metric in known if metric not in of_name and metric in scored)]
    ordered += sorted(scored - set(ordered))
    return [_column(metric, runs) for metric in ordered]


def _column(metric: str, runs: list[ScoredRun]) -> Column:
    entries = [entry for run in runs if (entry := run.entry(metric)) is not None]
    info = METRICS.get(metric)
    first: dict[str, Any] = entries[0] if entries else {}
    stand_in_for = info.stand_in_for if info is not None else first.get("stand_in_for")
    notes = []
    if any(entry.get("circular") for entry in entries):
        notes.append("circular: scored in the space that conditions the pictures or chooses among samples")
    if stand_in_for:
        notes.append(f"stands in for {stand_in_for}, not comparable with it")
    return Column(
        metric=metric,
        label=info.label if info is not None else str(first.get("label", metric)),
        higher_is_better=info.higher_is_better if info is not None else bool(first.get("higher_is_better", True)),
        of_pictures=(info.network if info is not None else first.get("network")) != "source",
        further=is_further(metric) if info is not None else False,
        notes=tuple(notes),
        statistic=str(first.get("statistic", info.statistic if info is not None else "mean")),
    )


def _rows(
    runs: list[ScoredRun],
    columns: list[Column],
    kind: str,
    bootstrap: StimulusBootstrap,
    missing: Mapping[str, str] | None = None,
) -> list[AggregateRow]:
    rows: list[AggregateRow] = []
    for system, group in groupby(runs, key=lambda run: run.system):
        of_system = list(group)
        made = []
        for run in of_system:
            cells = {column.metric: _cell(run, column.metric, kind) for column in columns}
            made.append(AggregateRow(system, run.subject, kind, {m: c for m, c in cells.items() if c is not None}))
        mean = [_mean_row(of_system, made, columns, kind, bootstrap)] if len(made) > 1 else []
        for subject, why in (missing or {}).items():
            if subject not in [run.subject for run in of_system]:
                empty = {column.metric: Cell(None, notes=(why,)) for column in columns}
                made.append(AggregateRow(system, subject, kind, empty))
        rows += [*sorted(made, key=lambda row: row.subject), *mean]
    if all(cell.value is None for row in rows for cell in row.cells.values()) and kind != RUN:
        return []
    return rows


def _cell(run: ScoredRun, metric: str, kind: str) -> Cell | None:
    """A number of a run, or of a row beside it; None where a row beside it has none and needs none."""
    entry = run.entry(metric)
    if kind == RUN:
        return Cell(None, notes=(run.reason(metric),)) if entry is None else _score(entry, _undefined(entry))
    if entry is None:
        return None
    if kind == CHANCE:
        return None if entry.get("chance") is None else Cell(float(entry["chance"]))
    if kind == CEILING:
        return _ceiling(entry)
    row = entry.get("rows", {}).get(kind)
    if row is None:
        why = run.summary.get("skipped", {}).get(f"controls/{kind}", run.summary.get("skipped", {}).get(kind))
        return None if why is None else Cell(None, notes=(str(why),))
    return _score(row, _borrowed(row))


def _score(entry: dict[str, Any], notes: tuple[str, ...]) -> Cell:
    if entry.get("value") is None:
        return Cell(None, n=0, notes=notes or ("undefined for every item",))
    return Cell(float(entry["value"]), entry.get("ci_low"), entry.get("ci_high"), entry.get("n"), notes)


def _undefined(entry: dict[str, Any]) -> tuple[str, ...]:
    ids = entry.get("undefined") or []
    if not ids:
        return ()
    named = ", ".join(f"nsd{i}" for i in ids[:NAMED_AT_MOST])
    more = f" and {len(ids) - NAMED_AT_MOST} more" if len(ids) > NAMED_AT_MOST else ""
    return (f"undefined for {len(ids)} of {len(ids) + int(entry.get('n') or 0)} items, left out: {named}{more}",)


def _borrowed(row: dict[str, Any]) -> tuple[str, ...]:
    return (f"pictures borrowed from {row['from']}",) if row.get("from") else ()


def _ceiling(entry: dict[str, Any]) -> Cell | None:
    if entry.get("ceiling") is None:
        return None
    row = entry.get("rows", {}).get("true_target")
    kind = entry.get("ceiling_kind") or "true_target"
    if kind == "true_target" and row is not None:
        return _score(row, _borrowed(row))
    low, high = entry.get("ceiling_ci") or (None, None)
    notes = ("repeat reliability instead of pictures of the true embedding",) if kind != "true_target" else ()
    return Cell(float(entry["ceiling"]), low, high, None, notes)


def _mean_row(
    runs: list[ScoredRun], rows: list[AggregateRow], columns: list[Column], kind: str, bootstrap: StimulusBootstrap
) -> AggregateRow:
    cells = {}
    for column in columns:
        found = [row.cells.get(column.metric) for row in rows]
        if all(cell is None for cell in found):
            continue
        values = [cell.value for cell in found if cell is not None and cell.value is not None]
        if len(values) < len(rows):
            lacking = [row.subject for row, cell in zip(rows, found, strict=True) if cell is None or cell.value is None]
            cells[column.metric] = Cell(None, notes=(f"no mean over subjects: none for {', '.join(lacking)}",))
            continue
        counts = [cell.n for cell in found if cell is not None and cell.n is not None]
        scores = _item_scores(runs, column.metric, kind)
        interval = None if scores is None else bootstrap.interval_of_mean(scores, column.statistic)
        low, high = interval if interval is not None else (None, None)
        n = sum(counts) if len(counts) == len(rows) else None
        cells[column.metric] = Cell(sum(values) / len(values), low, high, n)
    return AggregateRow(rows[0].system, f"mean of {len(rows)} subjects", kind, cells)


def _item_scores(runs: list[ScoredRun], metric: str, kind: str) -> list[ItemScores] | None:
    if kind == CHANCE:
        return None
    if kind == CEILING:
        kinds = {(run.entry(metric) or {}).get("ceiling_kind") or "true_target" for run in runs}
        if kinds != {"true_target"}:
            return None
    prefix = {RUN: "", CEILING: "true_target/"}.get(kind, f"{kind}/")
    found = [run.scores.get(prefix + metric) for run in runs]
    scores = [one for one in found if one is not None]
    return scores if len(scores) == len(runs) else None


def _published(runs: list[ScoredRun], literature: bool) -> tuple[list[PublishedCell], str]:
    """Published numbers that may stand below the runs, and a sentence on them."""
    cells = load_literature()
    why = _not_comparable(runs, cells)
    if why:
        return [], f"not comparable with published numbers: {', '.join(sorted(set(why)))}"
    if not literature:
        return [], "Published numbers are left out, as asked."
    found = comparable_cells(cells, runs[0].protocol, int(runs[0].summary["n"]))
    tags = "; ".join(f"[{tag}] {words}" for tag, words in TAGS.items())
    return found, f"Published numbers, below the rule, were read and not scored here: {tags}."


def _not_comparable(runs: list[ScoredRun], cells: tuple[PublishedCell, ...]) -> list[str]:
    """Reasons why published numbers may not stand beside the runs; nothing where they may."""
    why = []
    for run in runs:
        if not run.summary.get("comparable"):
            said = run.summary.get("not_comparable_because") or []
            why += [str(reason) for reason in said if reason != "not comparable"]
        if run.summary.get("simulated"):
            why.append("simulated brain")
    name, sizes = runs[0].protocol, sorted({int(run.summary["n"]) for run in runs})
    if not any(cell.protocol == name for cell in cells):
        return [*why, f"nothing is published by protocol {name}"]
    if len(sizes) > 1:
        return [*why, "the runs hold different numbers of pictures"]
    if not why and not all(run.summary.get("comparable") for run in runs):
        return ["the evaluation does not say that these are the protocol's full test set and a real brain"]
    if not why and not comparable_cells(cells, name, sizes[0]):
        return [f"nothing is published by protocol {name} on {sizes[0]} pictures"]
    return why
