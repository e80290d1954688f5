"""The table as Markdown."""

from __future__ import annotations

from fmri_lightning.evaluation.metric_table import METRICS
from fmri_lightning.evaluation.tables.aggregate import AggregateTable
from fmri_lightning.evaluation.tables.comparisons import METHOD, Comparison
from fmri_lightning.evaluation.tables.layout import DASH, Block, Head, TextCell, format_value, lay_out

ARROWS = {True: "↑", False: "↓"}


def to_markdown(table: AggregateTable) -> str:
    """Write a table as Markdown.

    Args:
        table: The table.

    Returns:
        The text of table.md.
    """
    lines = [f"# Scores by protocol {table.protocol}", "", *(f"- {line}" for line in header_lines(table)), ""]
    for block in lay_out(table):
        lines += [f"## {block.title}", "", *_block(block), ""]
    lines += [*(f"{remark}\n" for remark in table.remarks), f"{table.literature_note}\n"]
    if table.comparisons:
        lines += ["## Paired comparisons", "", *_comparisons(table.comparisons), "", METHOD]
    return "\n".join(lines).rstrip("\n") + "\n"


def header_lines(table: AggregateTable) -> list[str]:
    """What stands above every table: protocol, pictures, test set, trial mode, brain, and who is missing."""
    low, high = table.n
    return [
        f"protocol: {' | '.join(table.titles)}",
        f"n = {low}" if low == high else f"n = {low} to {high}",
        f"test set: {table.test_set}, trial mode: {table.trial_mode}",
        f"brain: {'simulated' if table.simulated else 'measured'}",
        *([f"missing: {', '.join(f'{who} ({why})' for who, why in table.missing.items())}"] if table.missing else []),
    ]


def escape(text: str) -> str:
    """Keep a text from ending its cell or from being read as markup."""
    for character in "\\|*_<>[]`":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _marks(marks: tuple[int, ...]) -> str:
    return f"<sup>{','.join(map(str, marks))}</sup>" if marks else ""


def _head(head: Head) -> str:
    unit = f" ({head.unit})" if head.unit else ""
    return f"{escape(head.label)} {ARROWS[head.higher_is_better]}{unit}{_marks(head.marks)}"


def _cell(cell: TextCell) -> str:
    interval = f" {escape(cell.interval)}" if cell.interval else ""
    return f"{cell.value}{interval}{_marks(cell.marks)}"


def _block(block: Block) -> list[str]:
    lines = [
        _line(["system", "subject", *map(_head, block.heads)]),
        _line(["---", "---", *["---:"] * len(block.heads)]),
    ]
    empty = [""] * len(block.heads)
    for i, group in enumerate(block.groups):
        if block.last_is_published and i == len(block.groups) - 1:
            lines.append(_line(["**published**", "", *empty]))
        lines += [_line([escape(row.system), escape(row.subject), *map(_cell, row.cells)]) for row in group]
    notes = [f"<sup>{number}</sup> {escape(note)}  " for number, note in enumerate(block.notes, start=1)]
    return [*lines, "", *notes] if notes else lines


def _comparisons(comparisons: list[Comparison]) -> list[str]:
    heads = ["first", "second", "subject", "metric", "first - second", "p", "p (Holm)", "n", "undefined"]
    lines = [_line(heads), _line(["---"] * 4 + ["---:"] * 5)]
    for one in comparisons:
        info = METRICS.get(one.metric)
        label = one.metric if info is None else f"{info.label} {ARROWS[info.higher_is_better]}"
        difference = DASH
        if one.difference is not None and one.ci_low is not None and one.ci_high is not None:
            value, low, high = (format_value(one.metric, x) for x in (one.difference, one.ci_low, one.ci_high))
            difference = f"{value} {escape(f'[{low}, {high}]')}"
        names = [escape(text) for text in (one.first, one.second, one.subject, label)]
        counts = [str(one.n), str(one.n_undefined)]
        lines.append(_line([*names, difference, _p(one.p), _p(one.p_holm), *counts]))
    return lines


def _p(p: float | None) -> str:
    return DASH if p is None else f"{p:.4f}"
