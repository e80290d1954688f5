"""The table as LaTeX, for booktabs and threeparttable."""

from __future__ import annotations

from fmri_lightning.evaluation.tables.aggregate import AggregateTable
from fmri_lightning.evaluation.tables.layout import Block, Head, TextCell, lay_out
from fmri_lightning.evaluation.tables.markdown import header_lines

ARROWS = {True: r"$\uparrow$", False: r"$\downarrow$"}
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "—": "---",
    "×": r"$\times$",
    "→": r"$\to$",
    "\n": " ",
}


def to_latex(table: AggregateTable) -> str:
    """Write a table as LaTeX.

    Args:
        table: The table.

    Returns:
        The text of table.tex: one ``table*`` for pictures and one for embeddings.
    """
    lines = ["% needs \\usepackage{booktabs} and \\usepackage{threeparttable}"]
    for block in lay_out(table):
        lines += ["", *_block(block, table)]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Write a text so that LaTeX prints it; letters that ASCII lacks stay (UTF-8 is its default)."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _block(block: Block, table: AggregateTable) -> list[str]:
    caption = ". ".join([block.title, *header_lines(table)])
    lines = [
        r"\begin{table*}",
        r"\centering\footnotesize",
        r"\begin{threeparttable}",
        rf"\caption{{{escape(caption)}.}}",
        rf"\begin{{tabular}}{{ll{'r' * len(block.heads)}}}",
        r"\toprule",
        _line(["system", "subject", *map(_head, block.heads)]),
    ]
    for i, group in enumerate(block.groups):
        lines.append(r"\midrule")
        if block.last_is_published and i == len(block.groups) - 1:
            lines.append(rf"\multicolumn{{{len(block.heads) + 2}}}{{l}}{{\emph{{published}}}} \\")
        lines += [_line([escape(row.system), escape(row.subject), *map(_cell, row.cells)]) for row in group]
    lines += [r"\bottomrule", r"\end{tabular}", r"\begin{tablenotes}[flushleft]\footnotesize"]
    lines += [rf"\item[{number}] {escape(note)}" for number, note in enumerate(block.notes, start=1)]
    lines += [rf"\item {escape(text)}" for text in (*table.remarks, table.literature_note)]
    return [*lines, r"\end{tablenotes}", r"\end{threeparttable}", r"\end{table*}"]


def _line(cells: list[str]) -> str:
    # A bracket after the line break of the row above would be read as its argument.
    guard = "{}" if cells[0].startswith(("[", "*")) else ""
    return guard + " & ".join(cells) + r" \\"


def _marks(marks: tuple[int, ...]) -> str:
    return rf"\tnote{{{','.join(map(str, marks))}}}" if marks else ""


def _head(head: Head) -> str:
    unit = f" ({escape(head.unit)})" if head.unit else ""
    return f"{escape(head.label)} {ARROWS[head.higher_is_better]}{unit}{_marks(head.marks)}"


def _cell(cell: TextCell) -> str:
    value = cell.value.replace("-", "$-$") if cell.value.startswith("-") else escape(cell.value)
    interval = rf" {{\scriptsize {cell.interval.replace('-', '$-$')}}}" if cell.interval else ""
    return f"{value}{interval}{_marks(cell.marks)}"
