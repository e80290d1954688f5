"""Read what predict and evaluate left in a run folder; say what is not there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import read_json

SUMMARY = "decode_summary.json"


@dataclass(frozen=True)
class Interval:
    """A score with its 95 % interval.

    Attributes:
        value: The score.
        low: Lower end, or None where no interval was computed.
        high: Upper end, or None.
    """

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def bounded(self) -> bool:
        """Whether there is an interval at all."""
        return self.low is not None and self.high is not None


@dataclass(frozen=True)
class Evaluation:
    """Scores of one run by one protocol.

    Attributes:
        protocol: Its name.
        summary: `summary.json`, as written.
        per_stimulus: Metric to {nsd_id: value averaged over the samples of that stimulus}; the metrics of a
            control carry its name, as in "shuffled/pixcorr".
    """

    protocol: str
    summary: dict[str, Any]
    per_stimulus: dict[str, dict[int, float]]

    def score(self, metric: str, condition: str = "predicted") -> Interval | None:
        """Look a score up.

        Args:
            metric: Name in `summary.metrics`.
            condition: "predicted" for the run itself, or the name of a control.

        Returns:
            The score, with an interval where one was written; None where the score is absent.
        """
        entry = self.summary["metrics"].get(metric, {})
        if condition == "predicted":
            return read_interval(entry)
        row = (entry.get("rows") or {}).get(condition)
        if row is not None:
            return read_interval(row)
        short = {"shuffled": "null", "true_target": "ceiling"}.get(condition)
        return read_interval({"value": entry.get(short)})

    def values(self, metric: str, condition: str = "predicted") -> dict[int, float]:
        """Per-stimulus scores of the run or of a control, by nsd_id; empty where none were written."""
        return self.per_stimulus.get(metric if condition == "predicted" else f"{condition}/{metric}", {})

    def borrowed(self) -> dict[str, str]:
        """Controls that were scored with the pictures of another run: condition to that run's folder."""
        rows = [row for entry in self.summary["metrics"].values() for row in (entry.get("rows") or {}).items()]
        return {condition: str(row["from"]) for condition, row in rows if row.get("from")}


@dataclass(frozen=True)
class ReportRun:
    """A run folder, or one of its controls.

    Attributes:
        folder: Where it is.
        label: Short name that tells it from the other runs on the page.
        summary: `decode_summary.json`.
        evaluations: By protocol.
        controls: By condition.
        drawn_from: nsd_id to the stimulus whose embedding was used.
    """

    folder: Path
    label: str
    summary: dict[str, Any]
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    controls: dict[str, ReportRun] = field(default_factory=dict)
    drawn_from: dict[int, int] = field(default_factory=dict)

    @property
    def results(self) -> list[dict[str, Any]]:
        """The finished pictures, one dictionary each, in the order of the summary."""
        results: list[dict[str, Any]] = self.summary["results"]
        return results

    @property
    def null_decoder(self) -> str:
        """Why its pictures show nothing of a brain; "" where they were drawn from embeddings."""
        return str(self.summary.get("null_decoder") or "")

    def picture(self, result: Mapping[str, Any]) -> Path:
        """Path of a finished picture."""
        return self.folder / str(result["image_path"])


def read_runs(folders: list[Path]) -> list[ReportRun]:
    """Read run folders.

    Args:
        folders: As written by predict.

    Returns:
        One run each, labelled by its encoder, or by its folder where two share an encoder.

    Raises:
        BadInputError: A folder is missing or holds no finished run.
    """
    runs = [_read_run(folder, folder.name) for folder in folders]
    names = [_name(run, folder) for run, folder in zip(runs, folders, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{run.summary.get('subject', '')} {folder.name}" for run, folder in zip(runs, folders, strict=True)]
    if len(set(names)) < len(names):
        names = _told_apart(folders)
    return [ReportRun(**{**vars(run), "label": name}) for run, name in zip(runs, names, strict=True)]


def _name(run: ReportRun, folder: Path) -> str:
    name = f"{run.summary.get('encoder') or folder.name}"
    return f"{name}, null decoder" if run.null_decoder else name


def _told_apart(folders: list[Path]) -> list[str]:
    """Names of as few last parts as tell folders apart: whole paths would name people and machines."""
    parts = [folder.parts for folder in folders]
    for n in range(2, max(map(len, parts)) + 1):
        names = ["/".join(one[-n:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [folder.name for folder in folders]


def _read_run(folder: Path, label: str) -> ReportRun:
    if not folder.is_dir():
        raise BadInputError(f"no run folder {folder}; give --run a folder written by fmri-lightning predict")
    if not (folder / SUMMARY).is_file():
        raise BadInputError(f"{folder} has no {SUMMARY}: predict has not finished there; run predict again")
    summary = read_json(folder / SUMMARY)
    if not isinstance(summary, dict) or not isinstance(summary.get("results"), list):
        raise BadInputError(f"{folder / SUMMARY} is not a summary of fmri-lightning predict")
    controls = sorted(path.parent for path in folder.glob(f"controls/*/{SUMMARY}"))
    return ReportRun(
        folder=folder,
        label=label,
        summary=summary,
        evaluations={path.parent.name: _evaluation(path) for path in sorted(folder.glob("evaluation/*/summary.json"))},
        controls={control.name: _read_run(control, control.name) for control in controls},
        drawn_from=_drawn_from(folder / "predictions.parquet"),
    )


def _evaluation(path: Path) -> Evaluation:
    summary = read_json(path)
    if not isinstance(summary, dict) or not isinstance(summary.get("metrics"), dict):
        raise BadInputError(f"{path} is not a summary of fmri-lightning evaluate; run evaluate again")
    scores = path.with_name("scores.parquet")
    return Evaluation(path.parent.name, summary, _per_stimulus(scores) if scores.is_file() else {})


def _per_stimulus(path: Path) -> dict[str, dict[int, float]]:
    columns = _columns(path, ["nsd_id", "metric", "value"])
    gathered: dict[str, dict[int, list[float]]] = {}
    for nsd_id, metric, value in zip(*columns, strict=True):
        if value is not None and math.isfinite(value):
            gathered.setdefault(metric, {}).setdefault(int(nsd_id), []).append(float(value))
    return {
        metric: {nsd_id: math.fsum(values) / len(values) for nsd_id, values in by_id.items()}
        for metric, by_id in gathered.items()
    }


def _drawn_from(path: Path) -> dict[int, int]:
    if not path.is_file():
        return {}
    shown, used = _columns(path, ["nsd_id", "drawn_from_nsd_id"])
    return dict(zip(map(int, shown), map(int, used), strict=True))


def _columns(path: Path, names: list[str]) -> list[list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read(columns=names)
        return [table.column(name).to_pylist() for name in names]
    except (OSError, KeyError, pa.ArrowException) as error:
        line = str(error).splitlines()[0]
        raise BadInputError(f"{path} cannot be read ({line}); run the command that wrote it again") from error


def read_interval(entry: Mapping[str, Any]) -> Interval | None:
    """Read value, ci_low and ci_high of a summary; None where there is no value."""
    value = entry.get("value")
    if value is None:
        return None
    low, high = (None if entry.get(k) is None else float(entry[k]) for k in ("ci_low", "ci_high"))
    return Interval(float(value), low, high)


def read_optional(path: Path) -> dict[str, Any] | None:
    """Read a JSON object that a run may or may not have; None where there is no such file.

    Raises:
        BadInputError: The file is there and holds something else.
    """
    if not path.is_file():
        return None
    found = read_json(path)
    if not isinstance(found, dict):
        raise BadInputError(f"{path} holds no object; run the command that wrote it again")
    return found
