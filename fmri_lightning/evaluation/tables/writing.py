"""Writes a table: Markdown and LaTeX for reading, CSV and Parquet with every digit."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fmri_lightning.evaluation.tables.aggregate import RUN, AggregateRow, AggregateTable, Cell, Column, aggregate
from fmri_lightning.evaluation.tables.comparisons import Comparison
from fmri_lightning.evaluation.tables.latex import to_latex
from fmri_lightning.evaluation.tables.layout import caveat_of
from fmri_lightning.evaluation.tables.markdown import to_markdown
from fmri_lightning.evaluation.tables.scored import load_scored
from fmri_lightning.manifest import atomic_path

CELL_COLUMNS = ("system", "subject", "metric", "value", "ci_low", "ci_high", "n", "source", "caveat", "protocol")
COMPARISON_COLUMNS = (*(field.name for field in dataclasses.fields(Comparison)), "caveat", "protocol")
_NUMBERS = {"value", "ci_low", "ci_high", "difference", "p", "p_holm"}
_COUNTS = {"n", "n_undefined"}
Record = dict[str, Any]


def write_tables(
    folders: list[Path],
    out: Path,
    literature: bool,
    n_resamples: int,
    seed: int,
    missing: Mapping[str, str] | None = None,
) -> list[Path]:
    """Put evaluated runs into one table and write it.

    Args:
        folders: ``{run}/evaluation/{protocol}`` of each run; their order does not matter.
        out: Folder of the files.
        literature: Whether published numbers may stand below a table that is comparable with them. A table that is
            not comparable says why instead, and never holds any.
        n_resamples: Bootstrap resamples.
        seed: Of bootstrap and sign flips.
        missing: Subjects that should be in the table and are not, each with the reason; None where nobody is.

    Returns:
        table.md, table.tex, table.csv, table.parquet, comparisons.csv and comparisons.parquet, each whole.

    Raises:
        BadInputError: A folder is not evaluated, or another protocol, test set or trial mode is among them.
    """
    table = aggregate(load_scored(folders), literature, n_resamples, seed, missing)
    cells = cell_records(table)
    comparisons = [_comparison_record(table, one) for one in table.comparisons]
    texts = {
        "table.md": to_markdown(table),
        "table.tex": to_latex(table),
        "table.csv": _csv(cells, CELL_COLUMNS),
        "comparisons.csv": _csv(comparisons, COMPARISON_COLUMNS),
    }
    for name, text in texts.items():
        with atomic_path(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    _write_parquet(out / "table.parquet", cells, CELL_COLUMNS)
    _write_parquet(out / "comparisons.parquet", comparisons, COMPARISON_COLUMNS)
    return sorted(out / name for name in (*texts, "table.parquet", "comparisons.parquet"))


def cell_records(table: AggregateTable) -> list[Record]:
    """List a table's numbers, one record a cell.

    Args:
        table: The table.

    Returns:
        Records with :data:`CELL_COLUMNS`; ``source`` is ``run``, the row beside the run, or ``published (P)`` and
        ``published (S)``. A score that is not there has no value and its reason as caveat.
    """
    columns = {column.metric: column for column in table.columns}
    records = [_record(table, row, columns[metric], cell) for row in table.rows for metric, cell in row.cells.items()]
    for published in table.published:
        records.append(
            {
                "system": published.title,
                "subject": published.subject_words,
                "metric": published.metric,
                "value": published.value,
                "ci_low": None,
                "ci_high": None,
                "n": published.test_set,
                "source": f"published ({published.tag})",
                "caveat": caveat_of(published),
                "protocol": published.protocol,
            }
        )
    return records


def _record(table: AggregateTable, row: AggregateRow, column: Column, cell: Cell) -> Record:
    caveats = [*cell.notes, *(column.notes if row.kind == RUN else ()), *_brain(table)]
    return {
        "system": row.system,
        "subject": row.subject,
        "metric": column.metric,
        "value": cell.value,
        "ci_low": cell.low,
        "ci_high": cell.high,
        "n": cell.n,
        "source": row.kind,
        "caveat": "; ".join(caveats),
        "protocol": " | ".join(table.titles),
    }


def _comparison_record(table: AggregateTable, one: Comparison) -> Record:
    notes = next(column.notes for column in table.columns if column.metric == one.metric)
    caveat = "; ".join([*notes, *_brain(table)])
    return dataclasses.asdict(one) | {"caveat": caveat, "protocol": " | ".join(table.titles)}


def _brain(table: AggregateTable) -> list[str]:
    return ["simulated brain"] if table.simulated else []


def _csv(records: list[Record], columns: tuple[str, ...]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for record in records:
        writer.writerow(["" if record[name] is None else record[name] for name in columns])
    return buffer.getvalue()


def _write_parquet(path: Path, records: list[Record], columns: tuple[str, ...]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def kind(name: str) -> Any:
        return pa.float64() if name in _NUMBERS else pa.int64() if name in _COUNTS else pa.string()

    table = pa.table({name: pa.array([record[name] for record in records], kind(name)) for name in columns})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)
