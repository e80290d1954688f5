"""Whether a run's confidence means anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fmri_lightning.report.figures import reliability
from fmri_lightning.report.sections.section import Material, Section
from fmri_lightning.report.wording import NOTHING, Number, arrow, metric_info, number

MIN_BINS = 3


@dataclass(frozen=True)
class SelectiveRow:
    """How a metric goes with confidence.

    Attributes:
        run: Whose.
        label: The metric, with its direction.
        spearman: Rank correlation with confidence.
        scores: Mean score of all, and of the most confident three quarters, half and quarter.
    """

    run: str
    label: str
    spearman: Number
    scores: list[Number]


@dataclass(frozen=True)
class CalibrationSection(Section):
    """Calibration of every run that has it.

    Attributes:
        confidence: What confidence is.
        sentences: What the numbers say, one a run.
        svg: Reliability, or "".
        coverages: Shares of the stimuli that stand above the columns, in words.
        rows: Selective scores.
        note: What was fitted on what.
    """

    anchor = "calibration"
    title = "Does confidence mean anything?"
    template = "sections/calibration.html.j2"
    confidence: str
    sentences: list[str]
    svg: str
    coverages: list[str]
    rows: list[SelectiveRow]
    note: str


def build(material: Material) -> CalibrationSection | None:
    """Put calibration into words and a figure; None where no run has it."""
    found = {run.label: one for run, one in material.found("calibration")}
    if not found:
        return None
    first: dict[str, Any] = next(iter(found.values()))
    rows = [row for label, one in found.items() for row in _rows(label, one)]
    coverage: list[float] = next(
        (c for one in first["scores"].values() if (c := (one["selective"] or {}).get("coverage"))), []
    )
    return CalibrationSection(
        confidence=str(first["confidence"]),
        sentences=[
            f"{f'{label}: ' if material.several else ''}{sentence}"
            for label, one in found.items()
            for sentence in _sentences(one["top1"])
        ],
        svg=_figure(found),
        coverages=["all" if share == 1 else f"most confident {100 * share:.0f} %" for share in coverage],
        rows=[row for row in rows if len(row.scores) == len(coverage)],
        note=str(first["top1"].get("note") or ""),
    )


def _sentences(top1: dict[str, Any]) -> list[str]:
    said = []
    if top1.get("auroc") is not None:
        said.append(
            f"Of a right and a wrong guess, the right one is the more confident in {100 * top1['auroc']:.0f} % of "
            "pairs (AUROC; 50 % would mean that confidence says nothing)."
        )
    said.append(
        f"Probabilities fitted on other test stimuli promise {100 * top1['mean_probability']:.1f} % right first "
        f"guesses, and {100 * top1['hit_rate']:.1f} % are right; a stated probability is off by "
        f"{100 * top1['expected_calibration_error']:.1f} points on average (expected calibration error, 0 is best)."
    )
    return said


def _rows(label: str, calibration: dict[str, Any]) -> list[SelectiveRow]:
    rows = []
    for metric, one in calibration["scores"].items():
        scores = (one["selective"] or {}).get("score") or []
        rho = one["spearman"]
        rows.append(
            SelectiveRow(
                run=label,
                label=f"{metric_info(metric).label} {arrow(metric)}",
                spearman=NOTHING if rho is None else Number(f"{rho:.2f}", repr(rho)),
                scores=[number(metric, score) for score in scores],
            )
        )
    return rows


def _figure(found: dict[str, dict[str, Any]]) -> str:
    curves = []
    for label, one in found.items():
        curve, hits = one["top1"].get("curve") or {}, one["top1"]["hit_rate"]
        # All right or all wrong, or in two heaps: there is no curve to see.
        if len(curve.get("probability") or []) >= MIN_BINS and 0 < hits < 1:
            curves.append((label, curve["probability"], curve["hit_rate"], curve["n"]))
    if not curves:
        return ""
    said = "; ".join(
        f"{label}: "
        + ", ".join(f"{100 * p:.0f} % stated, {100 * hit:.0f} % right" for p, hit in zip(ps, hits, strict=True))
        for label, ps, hits, _ in curves
    )
    return reliability(curves, f"Reliability of first guesses. {said}")
