"""Evaluated runs read back, and refused where they do not belong in one table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import read_json, read_manifest

SUMMARY = "summary.json"
SCORES = "scores.parquet"
COLUMNS = ("nsd_id", "metric", "value", "influence")
UNKNOWN = "–"
"""Subject of pictures that do not say whose they are."""
_OF_A_SUMMARY = ("protocol", "metrics", "n")


@dataclass(frozen=True, eq=False)
class ItemScores:
    """Scores of one metric.

    Attributes:
        ids: Stimulus of each item (n,).
        values: Score of each item (n,), NaN where undefined.
        influence: What the bootstrap resamples (n,): the score, or what the item adds to the mean as anchor and as
            distractor of others. The mean is the same.
    """

    ids: NDArray[np.int64]
    values: NDArray[np.float64]
    influence: NDArray[np.float64]

    def defined(self) -> ItemScores:
        """The items whose score is finite."""
        kept = np.isfinite(self.values) & np.isfinite(self.influence)
        return ItemScores(self.ids[kept], self.values[kept], self.influence[kept])


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """One evaluated run.

    Attributes:
        folder: Where its results lie.
        name: Name of the run's folder.
        system: Encoder and decoder in words, equal for the same system of several subjects.
        subject: NSD subject, "–" where unknown.
        summary: summary.json.
        scores: Scores by metric; of rows beside the run as ``shuffled/pixcorr``.
    """

    folder: Path
    name: str
    system: str
    subject: str
    summary: dict[str, Any]
    scores: dict[str, ItemScores] = field(default_factory=dict)

    @property
    def protocol(self) -> str:
        """Bare name of the protocol."""
        return protocol_of(self.summary)

    @property
    def title(self) -> str:
        """The protocol's name with its qualifications."""
        return str(self.summary["protocol"])

    def entry(self, metric: str) -> dict[str, Any] | None:
        """What the summary says of a metric; None where it was not computed."""
        found: dict[str, Any] | None = self.summary["metrics"].get(metric)
        return found

    def reason(self, metric: str) -> str:
        """Why a metric is not there."""
        return str(self.summary.get("skipped", {}).get(metric, "not computed in this run"))


def protocol_of(summary: dict[str, Any]) -> str:
    """Bare name of the protocol of a summary, without qualifications."""
    named = summary.get("protocol_name") or summary.get("protocol_settings", {}).get("name")
    return str(named if named is not None else summary["protocol"].split(",")[0])


def load_scored(folders: list[Path]) -> list[ScoredRun]:
    """Read evaluated runs that go into one table.

    Args:
        folders: ``{run}/evaluation/{protocol}`` each, in any order.

    Returns:
        The runs, by system and subject.

    Raises:
        BadInputError: A folder is not evaluated or unreadable, stands twice, or its protocol, test set or trial mode
            is another than the first one's.
    """
    if not folders:
        raise BadInputError("a table needs at least one evaluated run")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise BadInputError("an evaluated run is named twice; a table holds each once")
    runs = [_load(folder) for folder in folders]
    for run in runs[1:]:
        _require_same(runs[0], run)
    return sorted(_told_apart(runs), key=lambda run: (run.system, run.subject))


def _load(folder: Path) -> ScoredRun:
    read_manifest(folder, "evaluation")
    summary = read_json(folder / SUMMARY)
    missing = [name for name in _OF_A_SUMMARY if not isinstance(summary, dict) or name not in summary]
    if missing:
        raise BadInputError(f"{folder / SUMMARY} lacks {', '.join(missing)}; run fmri-lightning evaluate again")
    parent = folder.resolve().parent
    name = parent.parent.name if parent.name == "evaluation" else parent.name
    subject = summary.get("subject")
    return ScoredRun(
        folder,
        name,
        _system_of(summary, name),
        str(subject) if subject else UNKNOWN,
        summary,
        read_scores(folder / SCORES),
    )


def _system_of(summary: dict[str, Any], name: str) -> str:
    if not summary.get("encoder"):
        return Path(summary["generated"]).name if summary.get("generated") else name
    words = str(summary["encoder"])
    if summary.get("decoder"):
        words += f" + {summary['decoder']}"
    if summary.get("condition") not in (None, "predicted"):
        words += f" ({summary['condition']})"
    n_samples = summary.get("n_samples") or 1
    return words + (f", one of {n_samples} samples" if n_samples > 1 else "")


def read_scores(path: Path) -> dict[str, ItemScores]:
    """Read scores.parquet.

    Args:
        path: The file.

    Returns:
        Scores by metric, in the order of the file.

    Raises:
        BadInputError: It is missing, damaged, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=list(COLUMNS), page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise BadInputError(f"{path} cannot be read: {error}; run fmri-lightning evaluate again") from error
    if set(table.column_names) != set(COLUMNS):
        raise BadInputError(f"{path} lacks one of {', '.join(COLUMNS)}; run fmri-lightning evaluate again")
    ids = table["nsd_id"].to_numpy().astype(np.int64)
    values, influence = (table[name].to_numpy().astype(np.float64) for name in ("value", "influence"))
    metrics = table["metric"].combine_chunks().dictionary_encode()
    which = metrics.indices.to_numpy()
    return {
        str(metric): ItemScores(ids[which == i], values[which == i], influence[which == i])
        for i, metric in enumerate(metrics.dictionary.to_pylist())
    }


def _require_same(first: ScoredRun, other: ScoredRun) -> None:
    for what, ours, theirs in (
        ("protocol", first.protocol, other.protocol),
        ("test set", first.summary.get("test_set"), other.summary.get("test_set")),
        ("trial mode", first.summary.get("trial_mode"), other.summary.get("trial_mode")),
        ("simulated brain", bool(first.summary.get("simulated")), bool(other.summary.get("simulated"))),
    ):
        if ours != theirs:
            raise BadInputError(
                f"{other.folder}: {what} {theirs!r}, but {first.folder} has {ours!r}; one table holds one {what}"
            )
    ours, theirs = first.summary.get("protocol_settings"), other.summary.get("protocol_settings")
    if ours != theirs:
        raise BadInputError(
            f"{other.folder}: other settings of protocol {other.protocol} than {first.folder}; evaluate both again"
        )


def _told_apart(runs: list[ScoredRun]) -> list[ScoredRun]:
    """Add the folder's name to systems that would stand twice for a subject."""
    counts = Counter((run.system, run.subject) for run in runs)
    double = {system for (system, _), n in counts.items() if n > 1}
    named = [
        ScoredRun(run.folder, run.name, f"{run.system} [{run.name}]", run.subject, run.summary, run.scores)
        if run.system in double
        else run
        for run in runs
    ]
    seen: dict[tuple[str, str], Path] = {}
    for run in named:
        key = (run.system, run.subject)
        if key in seen:
            raise BadInputError(
                f"{run.folder} and {seen[key]} are both {run.system} of {run.subject}; rename one of the run folders"
            )
        seen[key] = run.folder
    return named
