"""Published numbers beside ours: in the open only where they are comparable, else folded away with the reason."""

from __future__ import annotations

from dataclasses import dataclass

from fmri_lightning.evaluation.literature.literature import TAGS, PublishedCell, load_literature
from fmri_lightning.evaluation.metric_table import METRICS
from fmri_lightning.evaluation.tables.layout import REPEATS
from fmri_lightning.report.runs import Evaluation, ReportRun
from fmri_lightning.report.sections.scores import not_comparable_because
from fmri_lightning.report.sections.section import Material, Section
from fmri_lightning.report.verdict import is_comparable, published_beside
from fmri_lightning.report.wording import NOTHING, Number, arrow, interval_of, metric_info, number, value_of

FOLDED = "Published numbers, for orientation only"


@dataclass(frozen=True)
class PublishedRow:
    """A system, ours or a published one.

    Attributes:
        system: Its name, with variant and year.
        own: Whether it is a run of this page.
        subjects: Whose brains.
        test_set: On how many pictures, and how repeats were combined.
        values: Value and interval by column.
        protocol: Family of scoring code.
        comparable: "yes", or why not.
        caveat: Where it was read and what to know.
    """

    system: str
    own: bool
    subjects: str
    test_set: str
    values: list[tuple[Number, Number]]
    protocol: str
    comparable: str
    caveat: str


@dataclass(frozen=True)
class PublishedTable:
    """Rows that stand together.

    Attributes:
        protocol: Of our scores.
        columns: Metrics that both sides have, in words, with their direction.
        rows: Ours first.
        folded: What the closed table is called; "" for a table in the open.
        name: Of its download.
    """

    protocol: str
    columns: list[str]
    rows: list[PublishedRow]
    folded: str
    name: str


@dataclass(frozen=True)
class PublishedSection(Section):
    """Tables of published numbers.

    Attributes:
        tables: In the open and folded.
        tags: How numbers were read, in words.
    """

    anchor = "published"
    title = "Beside published numbers"
    template = "sections/published.html.j2"
    tables: list[PublishedTable]
    tags: dict[str, str]


Scored = list[tuple[ReportRun, Evaluation]]


def build(material: Material) -> PublishedSection | None:
    """Build the tables; None where no metric of the runs was ever published."""
    tables: list[PublishedTable] = []
    for protocol in sorted({name for run in material.runs for name in run.evaluations}):
        scored = [(run, run.evaluations[protocol]) for run in material.runs if protocol in run.evaluations]
        fit = [(run, one) for run, one in scored if is_comparable(run, one) and published_beside(one)]
        for n in sorted({int(one.summary["n"]) for _, one in fit}):
            tables += _open_and_rest(protocol, [pair for pair in fit if int(pair[1].summary["n"]) == n], n)
        tables += _folded(protocol, [pair for pair in scored if pair not in fit], bool(fit))
    return PublishedSection(tables, {str(tag): words for tag, words in TAGS.items()}) if tables else None


def _open_and_rest(protocol: str, scored: Scored, n: int) -> list[PublishedTable]:
    """A table of numbers that match, and a closed one of those that do not."""
    beside = published_beside(scored[0][1])
    rest = [cell for cell in load_literature() if cell not in beside]
    tables = [_table(protocol, scored, beside, "", f"published-{protocol}-{n}")]
    folded = f"{FOLDED}: these differ from our {n} pictures by protocol {protocol}, row by row as said"
    tables.append(_table(protocol, scored, rest, folded, f"published-{protocol}-{n}-rest"))
    return [table for table in tables if table is not None]


def _folded(protocol: str, scored: Scored, is_rest: bool) -> list[PublishedTable]:
    if not scored:
        return []
    reasons = dict.fromkeys(why for run, one in scored for why in _why_not(run, one))
    whose = ", ".join(run.label for run, _ in scored) if is_rest or len(scored) > 1 else "this run"
    verb = "are" if len(scored) > 1 else "is"
    folded = f"{FOLDED}: {whose} {verb} not comparable because: {', '.join(reasons)}"
    table = _table(protocol, scored, list(load_literature()), folded, f"published-{protocol}-orientation")
    return [] if table is None else [table]


def _why_not(run: ReportRun, evaluation: Evaluation) -> list[str]:
    n = evaluation.summary.get("n")
    nothing = [f"nothing is published by protocol {evaluation.protocol} on {n} pictures"]
    return not_comparable_because(run, evaluation) or nothing


def _table(protocol: str, scored: Scored, cells: list[PublishedCell], folded: str, name: str) -> PublishedTable | None:
    """Rows of ours and of the literature in the metrics that both have; None where there is no such metric."""
    of_ours = {name for _, one in scored for name in one.summary["metrics"] if one.score(name)}
    metrics = [name for name in METRICS if name in of_ours and any(cell.metric == name for cell in cells)]
    cells = [cell for cell in cells if cell.metric in metrics and _concerns(cell, scored)]
    metrics = [name for name in metrics if any(cell.metric == name for cell in cells)]
    if not metrics:
        return None
    grouped: dict[tuple[object, ...], list[PublishedCell]] = {}
    for cell in cells:
        key = (cell.title, cell.subjects, cell.test_set, cell.trial_mode, cell.protocol, cell.tag)
        grouped.setdefault(key, []).append(cell)
    rows = [_own_row(run, one, metrics, folded) for run, one in scored]
    rows += [_published_row(group, metrics, scored, folded) for group in grouped.values()]
    columns = [f"{metric_info(metric).label} {arrow(metric)}" for metric in metrics]
    return PublishedTable(protocol, columns, rows, folded, name)


def _concerns(cell: PublishedCell, scored: Scored) -> bool:
    """Keep means over subjects, and numbers of single subjects that the page is about."""
    ours = {str(run.summary.get("subject")) for run, _ in scored}
    return len(cell.subjects) > 1 or cell.subjects[0] in ours


def _own_row(run: ReportRun, evaluation: Evaluation, metrics: list[str], folded: str) -> PublishedRow:
    scores = [(metric, evaluation.score(metric)) for metric in metrics]
    summary = evaluation.summary
    mode = summary.get("trial_mode") or run.summary.get("trial_mode")
    return PublishedRow(
        system=f"{run.label} (this page)",
        own=True,
        subjects=str(run.summary.get("subject") or "unknown"),
        test_set=f"{summary.get('n', '?')} of {summary.get('test_set', '?')}; {REPEATS.get(mode, str(mode))}",
        values=[(value_of(metric, score), interval_of(metric, score)) for metric, score in scores],
        protocol=evaluation.protocol,
        comparable="yes" if is_comparable(run, evaluation) and not folded else ", ".join(_why_not(run, evaluation)),
        caveat="",
    )


def _published_row(cells: list[PublishedCell], metrics: list[str], scored: Scored, folded: str) -> PublishedRow:
    first, by_metric = cells[0], {cell.metric: cell for cell in cells}
    values = [
        (number(metric, by_metric[metric].value) if metric in by_metric else NOTHING, Number("")) for metric in metrics
    ]
    n = "number of pictures unknown" if first.test_set is None else f"{first.test_set} pictures"
    return PublishedRow(
        system=first.title,
        own=False,
        subjects=first.subject_words,
        test_set=f"{n}; {REPEATS[first.trial_mode]}",
        values=values,
        protocol=first.protocol,
        comparable="yes" if not folded else ", ".join(_differences(first, scored)) or "not with this run",
        caveat=f"[{first.tag}] {_caveats(cells)}",
    )


def _differences(cell: PublishedCell, scored: Scored) -> list[str]:
    """What tells a published row from our scores, apart from what is wrong with ours."""
    evaluation = scored[0][1]
    found, n = [], evaluation.summary.get("n")
    if cell.protocol != evaluation.protocol:
        found.append(f"scored by {'other code' if cell.protocol == 'other' else cell.protocol}")
    if cell.test_set is None:
        found.append("number of pictures unknown")
    elif cell.test_set != n:
        found.append(f"{cell.test_set} pictures, ours {n}")
    if cell.trial_mode == "single":
        found.append("single trials")
    return found


def _caveats(cells: list[PublishedCell]) -> str:
    """Caveats of a row: those of all its numbers once, the others under their metric."""
    parts = {cell.metric: [part.strip() for part in cell.caveat.split(";") if part.strip()] for cell in cells}
    shared = [part for part in parts[cells[0].metric] if all(part in one for one in parts.values())]
    said = [cells[0].source, *shared]
    for metric, own in parts.items():
        only = [part for part in own if part not in shared]
        if only:
            said.append(f"{metric_info(metric).label}: {', '.join(only)}")
    return "; ".join(said)
