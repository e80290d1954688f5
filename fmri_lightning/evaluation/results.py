"""What an evaluation writes: scores.parquet, summary.json and a manifest that says both are whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.evaluation.fractions import fraction_of_ceiling
from fmri_lightning.evaluation.groups import MIN_STIMULI
from fmri_lightning.evaluation.metric_table import METRICS, is_share
from fmri_lightning.locks import run_lock
from fmri_lightning.manifest import Manifest, atomic_path, content_hash, write_json, write_manifest
from fmri_lightning.metrics.bootstrap import bootstrap_interval
from fmri_lightning.metrics.permutation import paired_sign_flip

SCORES = "scores.parquet"
SUMMARY = "summary.json"


@dataclass(frozen=True, eq=False)
class Row:
    """Scores of one set of pictures: the run itself, or a row beside it.

    Attributes:
        ids: Stimulus that each item is blocked by in the bootstrap (n,).
        values: Metric to scores (n,).
        source: Where the pictures come from, when not from the run itself.
        influence: Metric to what each item adds to the mean, as anchor and as distractor (n,), where that differs.
    """

    ids: NDArray[np.int32]
    values: dict[str, NDArray[np.float64]]
    source: str | None = None
    influence: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def resampled(self, metric: str) -> NDArray[np.float64]:
        """What the bootstrap resamples: the scores, or what each item adds to their mean."""
        return self.influence.get(metric, self.values[metric])


@dataclass(frozen=True)
class Ceiling:
    """The best score that could be expected.

    Attributes:
        value: The score.
        kind: ``true_target`` (pictures of the true embedding through the decoder) or ``repeat_reliability``.
        low: Lower end of its interval.
        high: Upper end.
    """

    value: float
    kind: str
    low: float
    high: float


@dataclass(eq=False)
class Evaluation:
    """Everything known when the scoring is through.

    Attributes:
        run: Scores of the run itself.
        samples: Sample number of each item (n,).
        rows: Rows beside the score, by name.
        chance: Metric to chance level.
        mean_vector: Metric to the value of predicting the training mean.
        ceilings: Metric to a ceiling that is not a row of pictures.
        circular: Metrics whose network is the conditioning or choosing space.
        skipped: What was not computed, and why.
        header: Further fields of the summary: protocol, n, test_set, simulated, ...
        groups: Names of groups of stimuli, for instance categories, to which items belong to them (n,) bool.
        calibration: Whether the run's confidence means anything, as plain types; None without embeddings.
        inputs: Content hashes for the manifest.
        config: Settings for the manifest.
    """

    run: Row
    samples: NDArray[np.int16]
    rows: dict[str, Row] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    mean_vector: dict[str, float] = field(default_factory=dict)
    ceilings: dict[str, Ceiling] = field(default_factory=dict)
    circular: set[str] = field(default_factory=set)
    skipped: dict[str, str] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    calibration: dict[str, Any] | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


def summarise(evaluation: Evaluation, n_resamples: int, seed: int) -> dict[str, Any]:
    """Turn scores into the contents of summary.json.

    Args:
        evaluation: Scores of the run and of the rows beside it.
        n_resamples: Bootstrap resamples.
        seed: Seed of bootstrap and permutations.

    Returns:
        Plain types. ``metrics.{name}`` holds value, ci_low, ci_high, chance, null (shuffled), ceiling
        (true_target, or repeat reliability), the fraction of the way from null to ceiling, what the metric is,
        ``rows`` with the same for every row beside the score, and ``groups`` with the same for groups of stimuli.
    """
    metrics = {}
    for metric, values in evaluation.run.values.items():
        info = METRICS[metric]
        rows = {
            name: {**_interval(row, metric, n_resamples, seed), "from": row.source}
            for name, row in evaluation.rows.items()
            if metric in row.values
        }
        chance = evaluation.chance.get(metric, info.chance)
        metrics[metric] = {
            **_interval(evaluation.run, metric, n_resamples, seed),
            "chance": chance,
            "null": rows.get("shuffled", {}).get("value"),
            **_ceiling(evaluation, metric, rows),
            **_fraction(evaluation, metric, n_resamples, seed),
            "mean_vector": evaluation.mean_vector.get(metric, rows.get("mean", {}).get("value")),
            "p_against_null": _p_against_null(evaluation, metric, seed),
            "label": info.label,
            "statistic": info.statistic,
            "higher_is_better": info.higher_is_better,
            "network": info.network,
            "stand_in_for": info.stand_in_for,
            "circular": metric in evaluation.circular,
            "undefined": evaluation.run.ids[~np.isfinite(values)].tolist(),
            "rows": rows,
            "groups": _groups(evaluation, metric, n_resamples, seed),
        }
    return {
        **evaluation.header,
        "metrics": metrics,
        "calibration": evaluation.calibration,
        "skipped": evaluation.skipped,
    }


def _interval(row: Row, metric: str, n_resamples: int, seed: int) -> dict[str, Any]:
    return _interval_of(row.resampled(metric), row.values[metric], row.ids, metric, n_resamples, seed)


def _interval_of(
    resampled: NDArray[np.float64],
    values: NDArray[np.float64],
    ids: NDArray[np.int32],
    metric: str,
    n_resamples: int,
    seed: int,
) -> dict[str, Any]:
    defined = np.isfinite(resampled)
    if not defined.any():
        return {"value": None, "ci_low": None, "ci_high": None, "n": 0, "n_undefined": len(values)}
    found = bootstrap_interval(
        resampled[defined], ids[defined], METRICS[metric].statistic, n_resamples=n_resamples, seed=seed
    )
    n_undefined = int((~np.isfinite(values)).sum())
    # Resampled influences may add up to more than all or less than none, which no share can be.
    low, high = np.clip((found.low, found.high), 0, 1).tolist() if is_share(metric) else (found.low, found.high)
    return {
        "value": found.value,
        "ci_low": low,
        "ci_high": high,
        "n": len(values) - n_undefined,
        "n_undefined": n_undefined,
    }


def _ceiling(evaluation: Evaluation, metric: str, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    known = evaluation.ceilings.get(metric)
    if known is not None:
        return {"ceiling": known.value, "ceiling_kind": known.kind, "ceiling_ci": [known.low, known.high]}
    row = rows.get("true_target")
    if row is None or row["value"] is None:
        return {"ceiling": None, "ceiling_kind": None, "ceiling_ci": None}
    return {"ceiling": row["value"], "ceiling_kind": "true_target", "ceiling_ci": [row["ci_low"], row["ci_high"]]}


def _fraction(evaluation: Evaluation, metric: str, n_resamples: int, seed: int) -> dict[str, Any]:
    null, top = evaluation.rows.get("shuffled"), evaluation.rows.get("true_target")
    known = evaluation.ceilings.get(metric)
    nothing: dict[str, Any] = {"fraction": None, "fraction_ci": None}
    if null is None or metric not in null.values or METRICS[metric].statistic != "mean":
        return nothing
    if known is not None:
        ceiling: NDArray[np.float64] | float = known.value
    elif top is not None and metric in top.values:
        ceiling = top.resampled(metric)
    else:
        return nothing
    found = fraction_of_ceiling(
        evaluation.run.resampled(metric), null.resampled(metric), ceiling, evaluation.run.ids, n_resamples, seed=seed
    )
    interval = None if found.low is None else [found.low, found.high]
    return {"fraction": found.value, "fraction_ci": interval}


def _groups(evaluation: Evaluation, metric: str, n_resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """Scores of groups of stimuli; distractors stay those of the whole test set.

    The stimuli of a group are resampled, and its scores as they are: an influence holds what a stimulus adds as the
    others' distractor, which the mean of a group knows nothing of.
    """
    found: dict[str, dict[str, Any]] = {}
    values, ids = evaluation.run.values[metric], evaluation.run.ids
    for name, members in evaluation.groups.items():
        of_group = values[members]
        defined = np.isfinite(of_group)
        # Scores that are not defined may leave a large enough group with too few.
        if len(np.unique(ids[members][defined])) < MIN_STIMULI:
            nothing = dict.fromkeys(("value", "ci_low", "ci_high"))
            found[name] = {**nothing, "n": int(defined.sum()), "n_undefined": int((~defined).sum())}
            continue
        found[name] = _interval_of(of_group, of_group, ids[members], metric, n_resamples, seed)
    return found


def _p_against_null(evaluation: Evaluation, metric: str, seed: int) -> float | None:
    """Sign-flip p that run and shuffled pictures of the same stimuli score alike."""
    null = evaluation.rows.get("shuffled")
    if null is None or metric not in null.values:
        return None
    difference = evaluation.run.values[metric] - null.values[metric]
    # Two infinite PSNR, of two perfect pictures, have no difference.
    defined = np.isfinite(difference)
    if not defined.any():
        return None
    _, block = np.unique(evaluation.run.ids[defined], return_inverse=True)
    means = np.bincount(block, weights=difference[defined]) / np.bincount(block)
    return paired_sign_flip(means, seed=seed)


def write_results(folder: Path, evaluation: Evaluation, summary: dict[str, Any]) -> None:
    """Write an evaluation, whole or not at all.

    Args:
        folder: ``{run}/evaluation/{protocol}``.
        evaluation: The scores.
        summary: From :func:`summarise`.
    """
    columns = score_columns(evaluation)
    with run_lock(folder):
        # The manifest says that scores and summary belong together: it goes first and comes back last.
        (folder / "manifest.json").unlink(missing_ok=True)
        _write_scores(folder / SCORES, columns)
        write_json(folder / SUMMARY, summary)
        write_manifest(
            folder,
            Manifest(
                kind="evaluation",
                content_hash=content_hash(*(columns[name] for name in columns)),
                inputs=evaluation.inputs,
                config=evaluation.config,
            ),
        )


def score_columns(evaluation: Evaluation) -> dict[str, NDArray[Any]]:
    """Scores as a long table.

    Args:
        evaluation: The scores.

    Returns:
        Columns nsd_id, sample, metric, value and influence, which is what the bootstrap resamples: the value, or
        what the item adds to the mean as anchor and as distractor. Scores of a row beside the run carry its name, as
        in ``shuffled/pixcorr``.
    """
    parts = [("", evaluation.run)] + [(f"{name}/", row) for name, row in evaluation.rows.items()]
    ids, samples, metrics, values, influences = [], [], [], [], []
    for prefix, row in parts:
        for metric, scores in row.values.items():
            ids.append(row.ids)
            samples.append(evaluation.samples if not prefix else np.zeros(len(scores), np.int16))
            metrics.append(np.full(len(scores), prefix + metric))
            values.append(scores)
            influences.append(row.resampled(metric))
    return {
        "nsd_id": np.concatenate(ids).astype(np.int32),
        "sample": np.concatenate(samples).astype(np.int16),
        "metric": np.concatenate(metrics),
        "value": np.concatenate(values).astype(np.float64),
        "influence": np.concatenate(influences).astype(np.float64),
    }


def _write_scores(path: Path, columns: dict[str, NDArray[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: pa.array(column) for name, column in columns.items()})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)
