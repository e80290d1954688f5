"""The tables of the page: scores of runs side by side, and where everything came from."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmri_lightning.evaluation.metric_table import is_further
from fmri_lightning.manifest import atomic_path
from fmri_lightning.report.runs import Interval, ReportRun
from fmri_lightning.report.verdict import chance, format_number, metric_info, rung


@dataclass(frozen=True)
class Cell:
    """Scores of one run in one metric, as text; "–" where there is none."""

    value: str
    interval: str
    null: str
    ceiling: str


@dataclass(frozen=True)
class ScoreRow:
    """One metric.

    Attributes:
        label: Its name in words.
        better: Arrow in the direction of better.
        note: What a reader must know, for instance that the score is circular.
        chance: As text.
        cells: One a run.
    """

    label: str
    better: str
    note: str
    chance: str
    cells: list[Cell]


@dataclass(frozen=True)
class ScoreTable:
    """Scores by one protocol.

    Attributes:
        protocol: Its name.
        titles: Its qualified name a run ("mindeye, partial 16/1000, not comparable").
        rows: One a metric.
        skipped: Metric and reason, for what was not computed.
    """

    protocol: str
    titles: list[str]
    rows: list[ScoreRow]
    skipped: list[tuple[str, str]]


def score_tables(runs: list[ReportRun]) -> list[ScoreTable]:
    """Build one table for every protocol that scored any of the runs."""
    protocols = sorted({name for run in runs for name in run.evaluations})
    return [_table(runs, protocol) for protocol in protocols]


def _table(runs: list[ReportRun], protocol: str) -> ScoreTable:
    found = [run.evaluations[protocol].summary for run in runs if protocol in run.evaluations]
    metrics = list(dict.fromkeys(name for summary in found for name in summary["metrics"] if not is_further(name)))
    skipped = {name: str(why) for summary in found for name, why in (summary.get("skipped") or {}).items()}
    titles = [
        f"{run.label}: {_title(run.evaluations[protocol].summary)}" if protocol in run.evaluations
        else f"{run.label}: not scored by {protocol}"
        for run in runs
    ]  # fmt: skip
    rows = [_score_row(runs, protocol, metric) for metric in metrics]
    return ScoreTable(protocol, titles, rows, sorted(skipped.items()))


def _title(summary: dict[str, Any]) -> str:
    title = str(summary.get("title") or summary.get("protocol") or "")
    return f"{title}, {summary.get('n', '?')} stimuli, test set {summary.get('test_set', '?')}"


def _score_row(runs: list[ReportRun], protocol: str, metric: str) -> ScoreRow:
    evaluations = [run.evaluations[protocol] for run in runs if protocol in run.evaluations]
    entries = [evaluation.summary["metrics"].get(metric, {}) for evaluation in evaluations]
    info = metric_info(metric)
    floors = [floor for floor in (chance(evaluation, metric) for evaluation in evaluations) if floor is not None]
    notes = [] if info.stand_in_for is None else [f"stands in for {info.stand_in_for}"]
    if any(entry.get("circular") for entry in entries):
        notes.append("circular: its network conditions or chooses the pictures")
    notes += [
        f"{label}: the mean vector scores {format_number(metric, value)}"
        for label, value in _mean_vectors(runs, protocol, metric)
    ]
    return ScoreRow(
        label=info.label,
        better="↑" if info.higher_is_better else "↓",
        note="; ".join(notes),
        chance=format_number(metric, floors[0]) if floors else "–",
        cells=[_cell(run, protocol, metric) for run in runs],
    )


def _mean_vectors(runs: list[ReportRun], protocol: str, metric: str) -> list[tuple[str, float]]:
    entries = {
        run.label: run.evaluations[protocol].summary["metrics"].get(metric, {})
        for run in runs
        if protocol in run.evaluations
    }
    found = {label: entry.get("mean_vector") for label, entry in entries.items()}
    return [(label, float(value)) for label, value in found.items() if value is not None]


def _cell(run: ReportRun, protocol: str, metric: str) -> Cell:
    evaluation = run.evaluations.get(protocol)
    score = None if evaluation is None else evaluation.score(metric)
    return Cell(
        value=_text(metric, score),
        interval=_range(metric, score),
        null=_text(metric, rung(run, protocol, metric, "shuffled")),
        ceiling=_text(metric, rung(run, protocol, metric, "true_target")),
    )


def _text(metric: str, score: Interval | None) -> str:
    return "–" if score is None else format_number(metric, score.value)


def _range(metric: str, score: Interval | None) -> str:
    if score is None or score.low is None or score.high is None:
        return ""
    return " to ".join(format_number(metric, end).removesuffix(" %") for end in (score.low, score.high))


def provenance(runs: list[ReportRun]) -> list[tuple[str, list[str]]]:
    """List where everything came from: a name and one value a run, without names that no run has."""
    listed = [_provenance_of(run) for run in runs]
    names = list(dict.fromkeys(name for one in listed for name in one))
    return [(name, [one.get(name, "–") for one in listed]) for name in names]


def _provenance_of(run: ReportRun) -> dict[str, str]:
    summary, recorded = run.summary, run.summary.get("provenance", {})
    decoder = recorded.get("decoder") or {}
    values: dict[str, Any] = {
        "subject": summary.get("subject"),
        "encoder": summary.get("encoder"),
        "checkpoint": _short_path(summary.get("checkpoint")),
        "adapter": _short_path(recorded.get("adapter")),
        "diffusion model": _short_path(summary.get("diffusion_model")),
        "decoder revision": decoder.get("revision"),
        "trial mode": summary.get("trial_mode"),
        "test set": summary.get("test_set"),
        "pictures": summary.get("n_generated"),
        "failures": len(summary.get("failures") or []),
        "gallery of neighbours": _plain(summary.get("gallery")),
        "embedding cosine": _number(summary.get("mean_cosine")),
        "mean-vector cosine": _number(summary.get("mean_vector_cosine")),
        "guidance scale": summary.get("guidance_scale"),
        "steps": summary.get("num_inference_steps"),
        "scheduler": summary.get("scheduler"),
        "noise level": summary.get("noise_level"),
        "noise mode": summary.get("noise_mode"),
        "samples": summary.get("n_samples"),
        "seed": summary.get("seed"),
        "precision": recorded.get("precision"),
    }
    for name, space in (recorded.get("spaces") or {}).items():
        if space:
            values[f"{name} space"] = f"{space.get('name')} ({space.get('dim')}-D, {space.get('scale')})"
    values |= {f"hash of {name}": str(digest)[:12] for name, digest in (recorded.get("inputs") or {}).items()}
    values |= {f"version of {name}": version for name, version in (recorded.get("versions") or {}).items()}
    return {name: str(value) for name, value in values.items() if value is not None}


def _number(value: Any) -> str | None:
    return None if value is None else f"{float(value):.4f}"


def _plain(value: Any) -> str | None:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item is not None)
    return None if value is None else str(value)


def _short_path(value: Any) -> str | None:
    """Shorten an absolute path: a page is passed on, and folders above the project name people and machines."""
    if value is None:
        return None
    path = Path(str(value))
    return "/".join(("…", *path.parts[-4:])) if path.is_absolute() else str(value)


def write_csv(path: Path, runs: list[ReportRun], protocol: str | None) -> None:
    """Write data.csv: one line a picture, of the runs and of their controls.

    Args:
        path: File to write.
        runs: Runs of the page.
        protocol: Whose per-stimulus scores become columns, or None.
    """
    evaluations = {run.label: run.evaluations.get(protocol) for run in runs} if protocol is not None else {}
    named = {name for one in evaluations.values() if one is not None for name in one.per_stimulus}
    metrics = sorted({name.rpartition("/")[2] for name in named})
    fields = ["run", "condition", "nsd_id", "trial_id", "cosine_pred_gt", "nn_nsd_id", "nn_cosine", "image"]
    everything = [(run.label, "predicted", run) for run in runs]
    everything += [(run.label, name, control) for run in runs for name, control in run.controls.items()]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow([*fields, *metrics])
        for label, condition, run in everything:
            evaluation = evaluations.get(label)
            values = [{} if evaluation is None else evaluation.values(metric, condition) for metric in metrics]
            for result in run.results:
                nsd_id = int(result["nsdId"])
                known = [result.get(k) for k in ("trial_id", "cosine_pred_gt", "nn_nsdId", "nn_cosine", "image_path")]
                writer.writerow([label, condition, nsd_id, *known, *(scores.get(nsd_id) for scores in values)])
