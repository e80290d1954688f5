"""What is not on the page, and the command that brings it."""

from __future__ import annotations

from fmri_lightning.report.runs import Evaluation, ReportRun
from fmri_lightning.report.sections.ratings import PAGE, SCORES
from fmri_lightning.report.sections.section import Material
from fmri_lightning.report.wording import metric_info

ASKED_FOR = "asked for with --brain_correlation true"
"""The reason that evaluate gives where nobody asked."""


def skipped_by_reason(evaluations: list[Evaluation], material: Material) -> list[tuple[str, str]]:
    """Group what evaluations did not compute by the reason.

    Args:
        evaluations: By one protocol.
        material: Of the page.

    Returns:
        Names in words and the reason, without what the page says elsewhere.
    """
    grouped: dict[str, list[str]] = {}
    for evaluation in evaluations:
        for name, why in (evaluation.summary.get("skipped") or {}).items():
            if name != "brain_correlation":
                names = grouped.setdefault(material.plain(why), [])
                names += [said] if (said := metric_info(name).label) not in names else []
    return [(", ".join(names), why) for why, names in grouped.items()]


def not_on_the_page(material: Material) -> list[str]:
    """Say what was not scored, a line a thing, each with the command that scores it."""
    said = []
    for run in material.runs:
        name = run.folder.resolve().name
        if not run.evaluations:
            said.append(f"Not scored: {run.label}. Run fmri-lightning evaluate --run {name}.")
            continue
        said += _of_evaluations(run, material)
        if not (run.folder / SCORES).is_file():
            how = (
                f"a page for raters is in {PAGE}; score what they return with fmri-lightning ratings --results"
                if (run.folder / PAGE).is_file()
                else f"run fmri-lightning ratings --run {name}"
            )
            said.append(f"Not rated by people: {run.label}; {how}.")
    return said


def _of_evaluations(run: ReportRun, material: Material) -> list[str]:
    said, name = [], run.folder.resolve().name
    summaries = [one.summary for one in run.evaluations.values()]
    if not any(summary.get("brain_correlation") for summary in summaries):
        why = next((str(s["skipped"]["brain_correlation"]) for s in summaries if _skipped_brain(s)), ASKED_FOR)
        how = (
            f"run fmri-lightning evaluate --run {name} --brain_correlation true"
            if why == ASKED_FOR
            else material.plain(why)
        )
        said.append(f"No brain correlation of {run.label}: {how}.")
    if not any(entry.get("groups") for summary in summaries for entry in summary["metrics"].values()):
        said.append(
            f"No scores by category of {run.label}: name a table of categories with fmri-lightning evaluate --run "
            f"{name} --categories FILE (categories with fewer than 5 stimuli are not shown)."
        )
    if not any(summary.get("calibration") for summary in summaries):
        said.append(f"No calibration of {run.label}: it needs predicted embeddings of 10 stimuli or more.")
    return said


def _skipped_brain(summary: dict[str, object]) -> bool:
    skipped = summary.get("skipped")
    return isinstance(skipped, dict) and "brain_correlation" in skipped
