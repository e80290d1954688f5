"""The order of the sections, from what a stranger asks first to what a colleague asks last."""

from __future__ import annotations

from fmri_lightning.report.runs import ReportRun
from fmri_lightning.report.sections import (
    brain,
    brain_correlation,
    calibration,
    categories,
    comparisons,
    distributions,
    ladder,
    provenance,
    published,
    ratings,
    scores,
)
from fmri_lightning.report.sections.section import Material, Section

_ORDER = (
    ladder.build,
    scores.build,
    published.build,
    comparisons.build,
    distributions.build,
    categories.build,
    calibration.build,
    brain_correlation.build,
    brain.build,
    ratings.build,
    provenance.build,
)


def build_sections(runs: list[ReportRun], protocol: str | None, share: bool = False) -> list[Section]:
    """Build every section that has something to show.

    Args:
        runs: Runs of the page.
        protocol: Whose scores lead the page; None when nothing was scored.
        share: Cut every path to its last part, for a page that leaves the laboratory.

    Returns:
        Sections from top to bottom. What was not scored is said in the section of scores.

    Raises:
        BadInputError: A file of a run is there and cannot be read.
    """
    material = Material(runs, protocol, share)
    found = [build(material) for build in _ORDER]
    return [section for section in found if section is not None]
