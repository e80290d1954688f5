"""Put the page together: one file, opened from a folder, that asks nothing of a network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmri_lightning import __version__
from fmri_lightning.evaluation.metric_table import is_share
from fmri_lightning.report.figures import distributions, ladder
from fmri_lightning.report.gallery import Row
from fmri_lightning.report.runs import ReportRun
from fmri_lightning.report.tables import provenance, score_tables
from fmri_lightning.report.truth import Truth
from fmri_lightning.report.verdict import EXPECTED, LADDER, chance, headline, metric_info, rung, verdict

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Ladder:
    """The causal ladder as a figure and as text.

    Attributes:
        svg: The figure.
        histograms: Distribution over the stimuli, or "" without per-stimulus scores.
        missing: Rungs that were not scored, in words.
    """

    svg: str
    histograms: str
    missing: list[str]


def choose_protocol(runs: list[ReportRun]) -> str | None:
    """Choose the protocol that the verdict, the ladder and the gallery use: the one that scored most runs."""
    names = sorted({name for run in runs for name in run.evaluations})
    return max(names, key=lambda name: sum(name in run.evaluations for run in runs), default=None)


def render(runs: list[ReportRun], rows: list[Row], truth: Truth, protocol: str | None, n_items: int, seed: int) -> str:
    """Render the page.

    Args:
        runs: Runs side by side.
        rows: The gallery, in its random order.
        truth: Stimuli, or why there are none.
        protocol: Whose scores lead the page, or None when nothing was scored.
        n_items: Stimuli the runs drew; the gallery may hold fewer.
        seed: Of the gallery's order.

    Returns:
        HTML text.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sortable = list(dict.fromkeys(label for row in rows for label in row.scores))
    context: dict[str, Any] = {
        "runs": runs,
        "verdicts": [verdict(run, protocol) for run in runs],
        "simulated": any(run.summary.get("simulated") for run in runs),
        "mini": any(uses_mini_models(run) for run in runs),
        "missing": missing_pieces(runs, truth),
        "tables": score_tables(runs),
        "ladder": build_ladder(runs, protocol),
        "rows": rows,
        "n_items": n_items,
        "sortable": sortable,
        "scores_json": _inline_json({row.key: row.scores for row in rows}),
        "seed": seed,
        "provenance": provenance(runs),
        "version": __version__,
    }
    return environment.get_template("index.html.j2").render(context)


def build_ladder(runs: list[ReportRun], protocol: str | None) -> Ladder | None:
    """Draw the ladder of every run by one protocol; None when nothing was scored."""
    scored = [run for run in runs if protocol in run.evaluations] if protocol is not None else []
    metric = headline(scored[0].evaluations[str(protocol)]) if scored else None
    if protocol is None or metric is None:
        return None
    found = {(run.label, rank): rung(run, protocol, metric, rank) for run in scored for rank in LADDER}
    rungs = [(label, rank, score) for (label, rank), score in found.items() if score is not None]
    missing = [f"{rank} of {label}" for (label, rank), score in found.items() if score is None and rank in EXPECTED]
    info, floor = metric_info(metric), chance(scored[0].evaluations[protocol], metric)
    values = [(run.label, rank, scores) for run in scored for rank, scores in _values(run, protocol, metric)]
    spoken = "; ".join(f"{label} {rank} {score.value:.3f}" for label, rank, score in rungs)
    return Ladder(
        ladder(rungs, floor, info.label, is_share(metric), f"Ladder of {info.label}: {spoken}"),
        distributions(values, floor, info.label, is_share(metric), f"Distribution of {info.label} over stimuli")
        if values
        else "",
        missing,
    )


def _values(run: ReportRun, protocol: str, metric: str) -> list[tuple[str, list[float]]]:
    found = [(rank, list(run.evaluations[protocol].values(metric, rank).values())) for rank in EXPECTED]
    return [(rank, scores) for rank, scores in found if scores]


def uses_mini_models(run: ReportRun) -> bool:
    """Tell whether a run's pictures come from the small models of the demo."""
    recorded = run.summary.get("provenance", {})
    family = (recorded.get("decoder") or {}).get("family")
    spaces = (recorded.get("spaces") or {}).values()
    names = [str(space.get("name", "")) for space in spaces if space] + [str(run.summary.get("diffusion_model", ""))]
    return family == "mini" or any("mini" in name for name in names)


def missing_pieces(runs: list[ReportRun], truth: Truth) -> list[str]:
    """Say what the page lacks, and which command supplies it."""
    said = [f"No ground truth: {truth.missing}."] if truth.missing else []
    for run in runs:
        if not run.evaluations:
            said.append(f"{run.label} was not scored: run fmri-lightning evaluate --run with its folder.")
        borrowed = {name: owner for one in run.evaluations.values() for name, owner in one.borrowed().items()}
        for name in ("true_target", "shuffled"):
            if name in run.controls:
                continue
            said.append(
                f"{run.label} has no control {name} of its own; its scores use that of {borrowed[name]}, which has "
                "the same decoder and seeds."
                if name in borrowed
                else f"{run.label} has no control {name}: run fmri-lightning predict --model.condition {name}."
            )
        failed = run.summary.get("failures") or []
        if failed:
            named = ", ".join(f"nsd{one.get('nsdId')} ({one.get('reason')})" for one in failed[:5])
            said.append(f"{run.label} failed to draw {len(failed)} pictures: {named}.")
    return said


def _inline_json(value: Any) -> str:
    """Write JSON that cannot end the script element it stands in."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")
