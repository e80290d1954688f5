"""What the stimuli of a page show: their categories and what people wrote of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.groups import MIN_AREA, categories_in, read_categories
from fmri_lightning.index.annotation_table import read_annotations
from fmri_lightning.index.annotations import Annotations
from fmri_lightning.records import STIMULUS_CATEGORIES
from fmri_lightning.report.paths import shorten_paths
from fmri_lightning.report.runs import ReportRun
from fmri_lightning.report.truth import root_of


@dataclass(frozen=True)
class Shown:
    """What is known of the stimuli.

    Attributes:
        categories: By nsd_id.
        captions: Sentences by nsd_id.
        missing: Why annotations that were written are not on the page, in words; "" where nothing is amiss.
    """

    categories: dict[int, set[str]] = field(default_factory=dict)
    captions: dict[int, list[str]] = field(default_factory=dict)
    missing: str = ""


def read_shown(runs: list[ReportRun], root: Path | None, share: bool) -> Shown:
    """Read what the stimuli show, from annotations beside the runs' indices or a table in the data root.

    Args:
        runs: The runs of the page.
        root: Data root that overrides the one recorded in the runs.
        share: Leave out the captions: a sentence about a stimulus tells which photograph it was.

    Returns:
        Categories, of each the pictures that ``evaluate`` counts in its row by default, and captions.

    Raises:
        BadInputError: The table is unreadable, or the runs come from different data.
    """
    place = root if root is not None else root_of(runs)
    table = None if place is None else place / STIMULUS_CATEGORIES
    categories: dict[int, set[str]] = {}
    captions: dict[int, list[str]] = {}
    try:
        found = list(_annotations(runs))
        missing = ""
    except BadInputError as error:
        found, missing = [], "" if share else f"No captions and categories: {shorten_paths(str(error))}."
    for one in found:
        categories |= {} if one.objects is None else categories_in(one, MIN_AREA)
        captions |= {} if share else one.captions_of()
    if all(one.objects is None for one in found) and table is not None and table.is_file():
        categories = read_categories(table)
    return Shown(categories, captions, missing)


def _annotations(runs: Iterable[ReportRun]) -> Iterable[Annotations]:
    places: dict[tuple[str, str], None] = {}
    for run in runs:
        index_root, subject = run.summary.get("provenance", {}).get("index_root"), run.summary.get("subject")
        if index_root and subject:
            places[str(index_root), str(subject)] = None
    for index_root, subject in places:
        found = read_annotations(index_root, subject)
        if found is not None:
            yield found
