"""Every score with what it must be read beside: chance, null, look-up, ceiling, and the share of the way up."""

from __future__ import annotations

from dataclasses import dataclass, field

from fmri_lightning.evaluation.metric_table import is_further
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.report.runs import Evaluation, Interval, ReportRun
from fmri_lightning.report.sections.missing import not_on_the_page, skipped_by_reason
from fmri_lightning.report.sections.section import Material, Section
from fmri_lightning.report.verdict import chance, is_comparable, rung
from fmri_lightning.report.wording import NOTHING, Number, arrow, interval_of, metric_info, number, value_of

COLUMNS = {
    "interval": "95 % interval",
    "chance": "chance",
    "null": "shuffled",
    "nearest": "nearest training picture",
    "ceiling": "ceiling",
    "fraction": "shuffled →\u00a0ceiling",
}
"""What may stand beside a value; a column that is empty for all runs is left out."""
CEILINGS = {"true_target": "real embedding", "repeat_reliability": "repeats"}
"""Kinds of ceiling in words."""


@dataclass(frozen=True)
class Cell:
    """Scores of one run in one metric, in the order of :data:`COLUMNS`."""

    value: Number
    interval: Number
    chance: Number = NOTHING
    null: Number = NOTHING
    nearest: Number = NOTHING
    ceiling: Number = NOTHING
    fraction: Number = NOTHING
    ceiling_kind: str = ""
    fraction_interval: Number = field(default=Number(""))


@dataclass(frozen=True)
class ScoreRow:
    """One metric.

    Attributes:
        label: Its name in words.
        better: Arrow in the direction of better.
        note: What a reader must know, for instance that the score is circular.
        chance: Chance level of the first run that has one.
        cells: One a run.
        of_pictures: Scored on pictures, not on embeddings.
    """

    label: str
    better: str
    note: str
    chance: Number
    cells: list[Cell]
    of_pictures: bool


@dataclass(frozen=True)
class ScoreTable:
    """Scores by one protocol.

    Attributes:
        protocol: Its name.
        titles: Its qualified name a run ("mindeye, partial 16/1000, not comparable").
        rows: One a metric.
        skipped: Metrics and reason, for what was not computed.
        further: Metrics that are folded away.
        sentences: What to know before reading.
    """

    protocol: str
    titles: list[str]
    rows: list[ScoreRow]
    skipped: list[tuple[str, str]]
    further: list[ScoreRow] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    @property
    def columns(self) -> dict[str, str]:
        """Columns that any of the rows needs, and what stands above them."""
        return _columns(self.rows)

    @property
    def further_columns(self) -> dict[str, str]:
        """The same for the rows that are folded away."""
        return _columns(self.further)

    @property
    def groups(self) -> list[tuple[str, list[ScoreRow]]]:
        """Scores of pictures, then those of predicted embeddings."""
        parts = (("Pictures", True), ("Predicted embeddings", False))
        groups = [(title, [row for row in self.rows if row.of_pictures == kind]) for title, kind in parts]
        return [(title, rows) for title, rows in groups if rows]


def _columns(rows: list[ScoreRow]) -> dict[str, str]:
    cells = [cell for row in rows for cell in row.cells]
    return {key: said for key, said in COLUMNS.items() if any(getattr(cell, key).raw for cell in cells)}


@dataclass(frozen=True)
class ScoresSection(Section):
    """All tables of scores.

    Attributes:
        labels: Of the runs.
        tables: One a protocol.
        missing: What was not scored, and the command that scores it.
    """

    anchor = "scores"
    title = "Scores"
    template = "sections/scores.html.j2"
    labels: list[str]
    tables: list[ScoreTable]
    missing: list[str]


def build(material: Material) -> ScoresSection:
    """Build the tables; where nothing was scored the section says so."""
    tables = score_tables(material.runs, material)
    return ScoresSection([run.label for run in material.runs], tables, not_on_the_page(material))


def score_tables(runs: list[ReportRun], material: Material | None = None) -> list[ScoreTable]:
    """Build one table for every protocol that scored any of the runs."""
    protocols = sorted({name for run in runs for name in run.evaluations})
    return [_table(runs, protocol, material or Material(runs, None)) for protocol in protocols]


def _table(runs: list[ReportRun], protocol: str, material: Material) -> ScoreTable:
    scored = [(run, run.evaluations[protocol]) for run in runs if protocol in run.evaluations]
    metrics = list(dict.fromkeys(name for _, one in scored for name in one.summary["metrics"]))
    titles = [
        f"{run.label}: {_title(run.evaluations[protocol])}" if protocol in run.evaluations
        else f"{run.label}: not scored by {protocol}"
        for run in runs
    ]  # fmt: skip
    rows = [_score_row(runs, protocol, metric) for metric in metrics if not is_further(metric)]
    further = [_score_row(runs, protocol, metric) for metric in metrics if is_further(metric)]
    skipped = skipped_by_reason([one for _, one in scored], material)
    return ScoreTable(protocol, titles, rows, skipped, further, _sentences(scored, protocol, material))


def _title(evaluation: Evaluation) -> str:
    summary = evaluation.summary
    title = str(summary.get("protocol") or evaluation.protocol)
    return f"{title}, {summary.get('n', '?')} pictures, test set {summary.get('test_set', '?')}"


def _sentences(scored: list[tuple[ReportRun, Evaluation]], protocol: str, material: Material) -> list[str]:
    said = [f"{PROTOCOLS[protocol].what[0].upper()}{PROTOCOLS[protocol].what[1:]}."] if protocol in PROTOCOLS else []
    grouped: dict[str, list[str]] = {}
    for run, evaluation in scored:
        grouped.setdefault(", ".join(not_comparable_because(run, evaluation)), []).append(run.label)
    for why, labels in grouped.items():
        may = f"must not be compared with published numbers: {why}" if why else "may stand beside published numbers"
        said.append(f"{', '.join(labels)} {may}.")
    for run, evaluation in scored:
        said += [f"{run.label}: {material.plain(one['sentence'])}" for one in evaluation.summary.get("caveats") or []]
    for run, evaluation in scored:
        for owner in sorted(set(evaluation.borrowed().values())):
            said.append(
                f"{run.label} stands beside controls that were drawn for {owner}, with the same decoder and seeds."
            )
    if any(entry.get("circular") for _, one in scored for entry in one.summary["metrics"].values()):
        said.append("Circular: the network or space that scores also conditions the pictures, or chooses among them.")
    notes = dict.fromkeys(str(one.summary["retrieval_note"]) for _, one in scored if _has_retrieval(one))
    return said + [f"Retrieval: {note}." for note in notes]


def _has_retrieval(evaluation: Evaluation) -> bool:
    summary = evaluation.summary
    return bool(summary.get("retrieval_note")) and any("picture_from_brain" in name for name in summary["metrics"])


def not_comparable_because(run: ReportRun, evaluation: Evaluation) -> list[str]:
    """Reasons why a run's scores may not stand beside published ones; nothing where they may."""
    if is_comparable(run, evaluation):
        return []
    summary = evaluation.summary
    why = [str(one) for one in summary.get("not_comparable_because") or [] if one != "not comparable"]
    simulated = run.summary.get("simulated") or summary.get("simulated")
    if simulated and "simulated brain" not in why:
        why.insert(0, "simulated brain")
    known = PROTOCOLS.get(evaluation.protocol)
    if known is not None and known.test_set is None:
        why.append(f"nothing is published by protocol {evaluation.protocol}")
    return why or ["the evaluation does not say that these are the protocol's full test set and a real brain"]


def _score_row(runs: list[ReportRun], protocol: str, metric: str) -> ScoreRow:
    cells = [_cell(run, protocol, metric) for run in runs]
    info = metric_info(metric)
    return ScoreRow(
        label=info.label,
        better=arrow(metric),
        note="; ".join(_notes(runs, protocol, metric)),
        chance=next((cell.chance for cell in cells if cell.chance.raw), NOTHING),
        cells=cells,
        of_pictures=info.network != "source",
    )


def _notes(runs: list[ReportRun], protocol: str, metric: str) -> list[str]:
    info = metric_info(metric)
    notes = [] if info.stand_in_for is None else [f"stands in for {info.stand_in_for}"]
    scored = [(run, run.evaluations[protocol]) for run in runs if protocol in run.evaluations]
    entries = [(run, one.summary["metrics"].get(metric, {})) for run, one in scored]
    if any(entry.get("circular") for _, entry in entries):
        notes.append("circular")
    for run, entry in entries:
        whose = f"{run.label}: " if len(runs) > 1 else ""
        if entry.get("mean_vector") is not None:
            notes.append(f"{whose}the mean vector scores {number(metric, entry['mean_vector'])}")
        first = (entry.get("rows") or {}).get("first_sample") or {}
        if first.get("value") is not None:
            notes.append(f"{whose}the first sample, not the chosen one, scores {number(metric, first['value'])}")
        if entry.get("n_undefined"):
            notes.append(f"{whose}undefined for {entry['n_undefined']} pictures, which are left out")
    return notes


def _cell(run: ReportRun, protocol: str, metric: str) -> Cell:
    evaluation = run.evaluations.get(protocol)
    score = None if evaluation is None else evaluation.score(metric)
    if evaluation is None or score is None:
        return Cell(NOTHING, Number(""))
    entry = evaluation.summary["metrics"][metric]
    ceiling = entry.get("ceiling")
    top = rung(run, protocol, metric, "true_target") if ceiling is None else Interval(float(ceiling))
    kind = str(entry.get("ceiling_kind") or "true_target")
    return Cell(
        value=value_of(metric, score),
        interval=interval_of(metric, score),
        chance=number(metric, chance(evaluation, metric)),
        null=value_of(metric, rung(run, protocol, metric, "shuffled")),
        nearest=value_of(metric, rung(run, protocol, metric, "nearest_training")),
        ceiling=value_of(metric, top),
        ceiling_kind="" if top is None else CEILINGS.get(kind, kind.replace("_", " ")),
        fraction=_per_cent(entry.get("fraction")),
        fraction_interval=_per_cent_range(entry.get("fraction_ci")),
    )


def _per_cent(share: float | None) -> Number:
    return NOTHING if share is None else Number(f"{100 * share:.0f} %", repr(float(share)))


def _per_cent_range(ends: list[float] | None) -> Number:
    if not ends:
        return Number("")
    low, high = ends
    return Number(f"{100 * low:.0f} to {100 * high:.0f}", f"{low!r} to {high!r}")
