"""An evaluation as one W&B run: every score in the summary, and one table with the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.evaluation.literature.literature import comparable_cells, load_literature
from fmri_lightning.evaluation.metric_table import METRICS
from fmri_lightning.evaluation.pictures import PictureSet, StimulusPictures
from fmri_lightning.evaluation.results import Evaluation, score_columns
from fmri_lightning.evaluation.runs import Run
from fmri_lightning.index.stimuli import StimulusSource
from fmri_lightning.manifest import content_hash, versions
from fmri_lightning.tracking.artifacts import log_reference
from fmri_lightning.tracking.runs import RunLabels, open_run, runs_finished
from fmri_lightning.tracking.table import log_summary, log_table

JOB = "evaluate"
BESIDE = ("ci_low", "ci_high", "null", "ceiling")


@dataclass(frozen=True, eq=False)
class Shown:
    """Pictures of the table, in the order of the scored items.

    Attributes:
        truth: Pictures that were seen; None leaves them out.
        drawn: Reconstructions.
        nearest: nsd_id of each item's nearest training picture (n,), -1 where unknown; None without any.
        stimuli: Where those pictures are.
    """

    truth: PictureSet | None
    drawn: PictureSet
    nearest: NDArray[np.int32] | None = None
    stimuli: StimulusSource | None = None

    @classmethod
    def of_run(cls, run: Run, stimuli: StimulusSource | None) -> Shown:
        """Take the pictures of a run.

        Args:
            run: The run.
            stimuli: Its ground truths, and the training pictures; None leaves both out.
        """
        if stimuli is None:
            return cls(None, run.pictures)
        known = [result.get("nn_nsdId") for result in run.summary["results"]]
        nearest = np.array([-1 if nsd_id is None else nsd_id for nsd_id in known], dtype=np.int32)
        there = bool((nearest >= 0).any())
        return cls(StimulusPictures(stimuli, run.ids), run.pictures, nearest if there else None, stimuli)


def log_evaluation(
    place: Path, files: Path, evaluation: Evaluation, summary: dict[str, Any], shown: Shown, max_rows: int
) -> None:
    """Log an evaluation in a run of its own, which is finished in any case.

    Args:
        place: Folder of what was scored; W&B's files go to its ``wandb/``.
        files: Folder of scores.parquet and summary.json.
        evaluation: The scores.
        summary: From :func:`~fmri_lightning.evaluation.results.summarise`.
        shown: The pictures.
        max_rows: Rows of the table at most, evenly spread over the items.

    Raises:
        UsageError: wandb is not installed, or refuses the run.
    """
    with runs_finished():
        labels = _labels(place, summary)
        config = {
            "inputs": evaluation.inputs,
            "versions": versions(),
            **{name: value for name, value in summary.items() if name not in ("metrics", "calibration", "skipped")},
        }
        run = open_run(place, labels, config)
        log_summary(run, summary_values(summary))
        columns, rows = per_image(evaluation, shown, max_rows)
        log_table(run, "eval/per_image", columns, rows)
        scores = score_columns(evaluation)
        found = content_hash(*(scores[name] for name in scores))
        paths = [files / name for name in ("scores.parquet", "summary.json")]
        log_reference(run, f"{labels.name}-{labels.job_type}", "evaluation", paths, found, evaluation.inputs)


def _labels(place: Path, summary: dict[str, Any]) -> RunLabels:
    subject = summary.get("subject")
    parts = place.resolve().parts
    name = "/".join(parts[parts.index(subject) :]) if subject in parts else place.resolve().name
    words = [summary.get("encoder"), summary.get("condition"), summary["protocol_name"]]
    words += [word for word in ("simulated", "comparable") if summary.get(word)]
    return RunLabels(name, JOB, subject, tuple(word for word in words if word))


def summary_values(summary: dict[str, Any]) -> dict[str, float | None]:
    """List the scores of a summary by the keys under which they are logged.

    Args:
        summary: Contents of summary.json.

    Returns:
        ``eval/{metric}`` and, with ``_ci_low``, ``_ci_high``, ``_null``, ``_ceiling`` and ``_published``, what belongs
        beside it; None where there is nothing.
    """
    values: dict[str, float | None] = {}
    for name, entry in summary["metrics"].items():
        values[f"eval/{name}"] = entry["value"]
        values |= {f"eval/{name}_{word}": entry[word] for word in BESIDE}
    for name, value in _published(summary).items():
        values[f"eval/{name}_published"] = value
    for region, entry in summary.get("brain_correlation", {}).get("regions", {}).items():
        key = f"eval/brain_correlation_{region}"
        values |= {key: entry["value"], f"{key}_ci_low": entry["ci_low"], f"{key}_ci_high": entry["ci_high"]}
    return values


def _published(summary: dict[str, Any]) -> dict[str, float]:
    """The best published number of each metric, where the scores are comparable with it at all."""
    if not summary.get("comparable") or summary.get("simulated"):
        return {}
    best: dict[str, float] = {}
    for cell in comparable_cells(load_literature(), summary["protocol_name"], int(summary["n"])):
        if cell.metric in summary["metrics"]:
            choose = max if METRICS[cell.metric].higher_is_better else min
            best[cell.metric] = choose(best.get(cell.metric, cell.value), cell.value)
    return best


def per_image(evaluation: Evaluation, shown: Shown, max_rows: int) -> tuple[list[str], list[list[Any]]]:
    """Build the rows of the table.

    Args:
        evaluation: The scores.
        shown: The pictures, in the same order.
        max_rows: Rows at most.

    Returns:
        Names of the columns; rows of id, pictures uint8 (height, width, 3), and scores, None where undefined.
    """
    ids, metrics = evaluation.run.ids, list(evaluation.run.values)
    n = min(max_rows, len(ids))
    chosen = np.linspace(0, len(ids) - 1, n).round().astype(np.intp)
    columns = [
        "nsd_id",
        *(["ground_truth"] if shown.truth is not None else []),
        "reconstruction",
        *(["nearest"] if shown.nearest is not None else []),
        *metrics,
    ]
    rows: list[list[Any]] = []
    for place in chosen.tolist():
        row: list[Any] = [int(ids[place])]
        row += [pictures.read(place, place + 1)[0] for pictures in (shown.truth, shown.drawn) if pictures is not None]
        if shown.nearest is not None:
            known = shown.stimuli is not None and shown.nearest[place] >= 0
            row.append(shown.stimuli.read([int(shown.nearest[place])])[0] if known and shown.stimuli else None)
        scores = (float(evaluation.run.values[metric][place]) for metric in metrics)
        rows.append([*row, *(score if np.isfinite(score) else None for score in scores)])
    return columns, rows
