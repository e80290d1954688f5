"""Columns of delimited text files, as text; every damage named by file and line."""

from __future__ import annotations

import csv
from pathlib import Path

from fmri_lightning.errors import BadInputError


def read_columns(
    path: Path, wanted: tuple[str, ...], delimiter: str, origin: str, optional: tuple[str, ...] = ()
) -> dict[str, list[str]]:
    """Read some columns of a delimited text file.

    Args:
        path: The file, UTF-8 with a header.
        wanted: Columns that must be there.
        delimiter: Between fields.
        origin: Where such a file comes from, for the messages, for instance "the NSD download".
        optional: Columns that may be there.

    Returns:
        Text per row and column; optional columns only where the file has them.

    Raises:
        BadInputError: If the file is missing, unreadable, cut off, empty, or lacks a column.
    """
    if not path.is_file():
        kind = "is a folder, not a file" if path.is_dir() else "is missing"
        raise BadInputError(f"{path} {kind}; it comes with {origin}")
    try:
        with open(path, newline="", encoding="utf-8") as handle:
            rows = csv.reader(handle, delimiter=delimiter)
            header = next(rows, [])
            body = [row for row in rows if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{path} cannot be read: {error}") from error
    missing = [name for name in wanted if name not in header]
    if missing:
        raise BadInputError(f"{path} has no column {', '.join(missing)}; it is not the file of {origin}")
    short = next((i for i, row in enumerate(body) if len(row) != len(header)), None)
    if short is not None:
        raise BadInputError(f"{path}: line {short + 2} has {len(body[short])} of {len(header)} fields; cut off?")
    if not body:
        raise BadInputError(f"{path} has a header and no rows; get it again from {origin}")
    places = {name: header.index(name) for name in (*wanted, *optional) if name in header}
    return {name: [row[place] for row in body] for name, place in places.items()}
