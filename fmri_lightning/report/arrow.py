"""Results of runs as Arrow tables: scores, scores per stimulus, and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fmri_lightning.report.runs import ReportRun

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTED = "predicted"


def score_table(runs: Sequence[ReportRun]) -> pa.Table:
    """Arrange every score of every protocol, one row a run, metric and condition.

    Args:
        runs: Scored runs.

    Returns:
        Columns run, subject, protocol, metric, condition ("predicted" or a row beside it, such as "shuffled"), value,
        ci_low and ci_high (95 %), n (stimuli), chance, higher_is_better; null where not defined.
    """
    import pyarrow as pa

    schema = pa.schema(
        dict.fromkeys(("run", "subject", "protocol", "metric", "condition"), pa.string())
        | dict.fromkeys(("value", "ci_low", "ci_high"), pa.float64())
        | {"n": pa.int64(), "chance": pa.float64(), "higher_is_better": pa.bool_()}
    )
    return pa.Table.from_pylist(list(_scores(runs)), schema=schema)


def stimulus_table(runs: Sequence[ReportRun]) -> pa.Table:
    """Arrange the scores of every stimulus, one row a run, metric, condition and stimulus.

    Args:
        runs: Scored runs.

    Returns:
        Columns run, protocol, metric, condition, nsd_id, value (mean over the samples of a stimulus).
    """
    import pyarrow as pa

    schema = pa.schema(
        dict.fromkeys(("run", "protocol", "metric", "condition"), pa.string())
        | {"nsd_id": pa.int32(), "value": pa.float64()}
    )
    rows = [
        {
            "run": run.label,
            "protocol": evaluation.protocol,
            "metric": name.rpartition("/")[2],
            "condition": name.rpartition("/")[0] or PREDICTED,
            "nsd_id": nsd_id,
            "value": value,
        }
        for run in runs
        for evaluation in run.evaluations.values()
        for name, values in evaluation.per_stimulus.items()
        for nsd_id, value in values.items()
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def picture_table(runs: Sequence[ReportRun]) -> pa.Table:
    """List every picture, one row each, controls included.

    Args:
        runs: Finished runs.

    Returns:
        Columns run, condition, nsd_id, trial_id, cosine (of the predicted with the real embedding), nn_nsd_id,
        nn_cosine, path.
    """
    import pyarrow as pa

    schema = pa.schema(
        {
            "run": pa.string(),
            "condition": pa.string(),
            "nsd_id": pa.int32(),
            "trial_id": pa.int64(),
            "cosine": pa.float64(),
            "nn_nsd_id": pa.int32(),
            "nn_cosine": pa.float64(),
            "path": pa.string(),
        }
    )
    rows = [
        {
            "run": run.label,
            "condition": condition,
            "nsd_id": result["nsdId"],
            "trial_id": result.get("trial_id"),
            "cosine": result.get("cosine_pred_gt"),
            "nn_nsd_id": result.get("nn_nsdId"),
            "nn_cosine": result.get("nn_cosine"),
            "path": str(folder.picture(result)),
        }
        for run in runs
        for condition, folder in {PREDICTED: run, **run.controls}.items()
        for result in folder.results
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def _scores(runs: Sequence[ReportRun]) -> Iterator[dict[str, Any]]:
    for run in runs:
        for evaluation in run.evaluations.values():
            for metric, entry in evaluation.summary["metrics"].items():
                common = {
                    "run": run.label,
                    "subject": run.summary.get("subject"),
                    "protocol": evaluation.protocol,
                    "metric": metric,
                    "higher_is_better": entry.get("higher_is_better"),
                    "chance": entry.get("chance"),
                }
                whole = {**entry, "n": entry.get("n", evaluation.summary.get("n"))}
                for condition, row in {PREDICTED: whole, **(entry.get("rows") or {})}.items():
                    yield (
                        common
                        | {name: row.get(name) for name in ("value", "ci_low", "ci_high", "n")}
                        | {"condition": condition}
                    )
