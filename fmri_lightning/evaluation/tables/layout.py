"""The table for reading: rounded numbers in blocks, each with its numbered notes, whatever it is written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby

from fmri_lightning.evaluation.literature.literature import PublishedCell
from fmri_lightning.evaluation.metric_table import is_share
from fmri_lightning.evaluation.tables.aggregate import CEILING, CHANCE, RUN, AggregateRow, AggregateTable, Cell, Column

DASH = "–"
KINDS = {
    RUN: "",
    "shuffled": "another stimulus's brain (shuffled)",
    "first_sample": "first sample",
    "nearest_training": "nearest training picture",
    CEILING: "true embedding (ceiling)",
    CHANCE: "chance",
}
REPEATS: dict[str | None, str] = {
    "average": "voxels of repeats averaged",
    "average_outputs": "outputs of repeats averaged",
    "single": "single trials",
    None: "not known how repeats were combined",
}
"""How published numbers combined the repeats of a stimulus."""


@dataclass(frozen=True)
class TextCell:
    """A number as text.

    Attributes:
        value: The rounded number, or a dash.
        interval: Its interval in brackets, or "".
        marks: Numbers of its notes.
    """

    value: str
    interval: str = ""
    marks: tuple[int, ...] = ()


@dataclass(frozen=True)
class TextRow:
    """A row as text: what it is of, and its cells in the order of the heads."""

    system: str
    subject: str
    cells: list[TextCell]


@dataclass(frozen=True)
class Head:
    """Head of a column: label, direction, unit and notes."""

    label: str
    higher_is_better: bool
    unit: str
    marks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Block:
    """Columns that stand in one table for reading.

    Attributes:
        title: What is scored.
        heads: Heads of the columns.
        groups: Groups of rows, with a rule between them.
        notes: Notes by number, from 1.
        last_is_published: Whether the last group is of the literature.
    """

    title: str
    heads: list[Head]
    groups: list[list[TextRow]]
    notes: list[str] = field(default_factory=list)
    last_is_published: bool = False


def format_value(metric: str, value: float) -> str:
    """Round a score: shares in per cent and ranks with one decimal, anything else with three.

    Args:
        metric: Its name.
        value: The score, a share as a fraction of 1.

    Returns:
        The number without a unit.

    Example:
        >>> format_value("clip_two_way", 0.9432), format_value("pixcorr", 0.38612)
        ('94.3', '0.386')
    """
    if is_share(metric):
        return f"{100.0 * value:.1f}"
    return f"{value:.1f}" if metric.endswith("_rank") else f"{value:.3f}"


def lay_out(table: AggregateTable) -> list[Block]:
    """Arrange a table for reading.

    Args:
        table: The table.

    Returns:
        A block of the scores of pictures and one of the scores of embeddings; variants of retrieval are left out.
    """
    shown = [column for column in table.columns if not column.further]
    blocks = []
    for title, of_pictures in (("Pictures", True), ("Predicted embeddings", False)):
        columns = [column for column in shown if column.of_pictures == of_pictures]
        if columns:
            blocks.append(_block(title, columns, table))
    return blocks


def _block(title: str, columns: list[Column], table: AggregateTable) -> Block:
    notes: list[str] = []

    def mark(texts: tuple[str, ...]) -> tuple[int, ...]:
        for text in texts:
            if text not in notes:
                notes.append(text)
        return tuple(sorted(notes.index(text) + 1 for text in texts))

    heads = [
        Head(column.label, column.higher_is_better, "%" if is_share(column.metric) else "", mark(column.notes))
        for column in columns
    ]
    metrics = [column.metric for column in columns]
    groups = []
    for kind, rows in groupby(table.rows, key=lambda row: row.kind):
        kept = [row for row in rows if kind == RUN or _has_a_value(row, metrics)]
        if kept:
            groups.append([_text_row(row, metrics, mark) for row in kept])
    published = _published_rows(table.published, metrics, mark)
    if published:
        groups.append(published)
    return Block(title, heads, groups, notes, bool(published))


def _has_a_value(row: AggregateRow, metrics: list[str]) -> bool:
    return any(metric in row.cells for metric in metrics)


def _text_row(row: AggregateRow, metrics: list[str], mark: Callable[[tuple[str, ...]], tuple[int, ...]]) -> TextRow:
    words = KINDS.get(row.kind, row.kind)
    cells = []
    for metric in metrics:
        cell = row.cells.get(metric)
        cells.append(TextCell(DASH) if cell is None else _text_cell(metric, cell, mark(cell.notes)))
    return TextRow(f"{row.system}: {words}" if words else row.system, row.subject, cells)


def _text_cell(metric: str, cell: Cell, marks: tuple[int, ...]) -> TextCell:
    if cell.value is None:
        return TextCell(DASH, "", marks)
    interval = ""
    if cell.low is not None and cell.high is not None:
        interval = f"[{format_value(metric, cell.low)}, {format_value(metric, cell.high)}]"
    return TextCell(format_value(metric, cell.value), interval, marks)


def _published_rows(
    cells: list[PublishedCell], metrics: list[str], mark: Callable[[tuple[str, ...]], tuple[int, ...]]
) -> list[TextRow]:
    rows: dict[tuple[str, str], dict[str, PublishedCell]] = {}
    for cell in cells:
        if cell.metric in metrics:
            rows.setdefault((cell.title, cell.subject_words), {})[cell.metric] = cell
    found = []
    for (system, subject), by_metric in rows.items():
        texts = []
        for metric in metrics:
            one = by_metric.get(metric)
            if one is None:
                texts.append(TextCell(DASH))
            else:
                texts.append(TextCell(format_value(metric, one.value), f"[{one.tag}]", mark((caveat_of(one),))))
        found.append(TextRow(system, subject, texts))
    return found


def caveat_of(cell: PublishedCell) -> str:
    """What to know of a published number: where it was read, how repeats were combined, and its caveats."""
    return "; ".join(text for text in (cell.source, REPEATS[cell.trial_mode], cell.caveat) if text)
