"""Reads the table of published numbers, and picks those that scores of a protocol may stand beside."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.metric_table import METRICS, is_share

PUBLISHED = Path(__file__).parent / "published.csv"

Family = Literal["mindeye", "brain_diffuser", "other"]
Tag = Literal["P", "S"]
TrialMode = Literal["average", "average_outputs", "single"]

TAGS: dict[Tag, str] = {
    "P": "printed by the authors' own notebook, README or source",
    "S": "secondary source: notes on the paper, another repository's table or a replication",
}
"""How each number was read. Numbers that were only recalled are not in the table."""
COLUMNS = (
    "system",
    "variant",
    "year",
    "subjects",
    "test_set",
    "trial_mode",
    "n_samples",
    "metric",
    "value",
    "protocol",
    "tag",
    "source",
    "caveat",
)
TEST_SETS = (982, 1000)
YEARS = range(2015, 2101)


@dataclass(frozen=True)
class PublishedCell:
    """One published number.

    Attributes:
        system: Name of the system.
        variant: Which of its runs, "" for the main one.
        year: Of the publication.
        subjects: NSD subjects that the number is the mean of.
        test_set: Pictures it was scored on; None where unknown.
        trial_mode: How repeats were combined; None where unknown.
        n_samples: Samples drawn a picture, of which one was kept; None where unknown or of no matter.
        metric: Our name of the metric.
        value: The number; shares as fractions of 1.
        protocol: Family of scoring code, ``other`` where it differs or was not checked.
        tag: Key of :data:`TAGS`.
        source: What it was read in.
        caveat: What to know before comparing; "" where nothing.
    """

    system: str
    variant: str
    year: int
    subjects: tuple[str, ...]
    test_set: int | None
    trial_mode: TrialMode | None
    n_samples: int | None
    metric: str
    value: float
    protocol: Family
    tag: Tag
    source: str
    caveat: str

    @property
    def title(self) -> str:
        """System, variant and year in words."""
        return ", ".join([self.system, *([self.variant] if self.variant else [])]) + f" ({self.year})"

    @property
    def subject_words(self) -> str:
        """The subjects in words, for instance "mean of subj01, subj02"."""
        many = "mean of " if len(self.subjects) > 1 else ""
        return many + ", ".join(self.subjects)


def load_literature(path: Path = PUBLISHED) -> tuple[PublishedCell, ...]:
    """Read published numbers and check every record.

    Args:
        path: A table with the columns :data:`COLUMNS`; the shipped one by default.

    Returns:
        The records in the order of the file.

    Raises:
        BadInputError: The file is missing, lacks a column, or a record names an unknown metric, tag, protocol or
            test set, holds a value outside the metric's range, or stands twice.
    """
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise BadInputError(f"{path} must have the columns {', '.join(COLUMNS)}")
            cells = [_cell(row, f"{path.name} line {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{path} cannot be read: {error}") from error
    seen: set[tuple[object, ...]] = set()
    for cell in cells:
        key = (cell.system, cell.variant, cell.year, cell.subjects, cell.test_set, cell.trial_mode, cell.metric)
        if key in seen:
            raise BadInputError(f"{path.name}: {cell.title} has {cell.metric} twice")
        seen.add(key)
    return tuple(cells)


def _cell(row: dict[str, str | None], where: str) -> PublishedCell:
    if None in row or any(value is None for value in row.values()):
        raise BadInputError(f"{where} must have {len(COLUMNS)} fields")
    text = cast("dict[str, str]", row)
    for name in ("system", "subjects", "source"):
        if not text[name].strip():
            raise BadInputError(f"{where} has no {name}")
    try:
        year, value = int(text["year"]), float(text["value"])
        test_set = int(text["test_set"]) if text["test_set"] else None
        n_samples = int(text["n_samples"]) if text["n_samples"] else None
    except ValueError as error:
        raise BadInputError(f"{where}: {error}") from error
    if year not in YEARS or (n_samples is not None and n_samples < 1):
        raise BadInputError(f"{where}: year {year} or n_samples {n_samples} cannot be")
    if test_set is not None and test_set not in TEST_SETS:
        raise BadInputError(
            f"{where}: test_set {test_set} is none of {', '.join(map(str, TEST_SETS))}, or leave it empty"
        )
    _require_choice(text["protocol"], get_args(Family), "protocol", where)
    _require_choice(text["tag"], get_args(Tag), "tag", where)
    if text["trial_mode"]:
        _require_choice(text["trial_mode"], get_args(TrialMode), "trial_mode", where)
    _require_in_range(text["metric"], value, where)
    return PublishedCell(
        system=text["system"],
        variant=text["variant"],
        year=year,
        subjects=tuple(text["subjects"].split()),
        test_set=test_set,
        trial_mode=cast("TrialMode | None", text["trial_mode"] or None),
        n_samples=n_samples,
        metric=text["metric"],
        value=value,
        protocol=cast("Family", text["protocol"]),
        tag=cast("Tag", text["tag"]),
        source=text["source"],
        caveat=text["caveat"],
    )


def _require_choice(value: str, choices: tuple[str, ...], name: str, where: str) -> None:
    if value not in choices:
        raise BadInputError(f"{where}: {name} {value!r} is none of {', '.join(choices)}")


def _require_in_range(metric: str, value: float, where: str) -> None:
    if metric not in METRICS:
        raise BadInputError(f"{where}: {metric!r} is no metric of this version")
    low, high = value_range(metric)
    if not low <= value <= high:
        raise BadInputError(f"{where}: {metric} {value:g} is outside {low:g} to {high:g} (shares are fractions of 1)")


def value_range(metric: str) -> tuple[float, float]:
    """Range of a metric's possible values.

    Args:
        metric: Key of :data:`~fmri_lightning.evaluation.metric_table.METRICS`.

    Returns:
        Lowest and highest value.
    """
    if is_share(metric) or "_mrr" in metric:
        return 0.0, 1.0
    if "rank" in metric:
        return 1.0, math.inf
    if metric in ("mse", "psnr", "lpips", "judge_distance"):
        return (-math.inf if metric == "psnr" else 0.0), math.inf
    return (0.0, 2.0) if metric.endswith("_distance") else (-1.0, 1.0)


def comparable_cells(cells: Iterable[PublishedCell], protocol: str, test_set: int) -> list[PublishedCell]:
    """Pick the numbers that scores by a protocol may stand beside.

    Args:
        cells: From :func:`load_literature`.
        protocol: Name of the protocol of one's own scores.
        test_set: Pictures that they were scored on.

    Returns:
        Cells of the same family of scoring code and of as many test pictures, without those of single trials:
        a protocol's name stands for averaged repeats. Cells whose test set is unknown never match.
    """
    return [
        cell
        for cell in cells
        if cell.protocol == protocol and cell.test_set == test_set and cell.trial_mode != "single"
    ]
