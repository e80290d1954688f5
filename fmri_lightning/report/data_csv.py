"""data.csv: the numbers behind the page, a line a picture."""

from __future__ import annotations

import csv
from pathlib import Path

from fmri_lightning.manifest import atomic_path
from fmri_lightning.report.runs import ReportRun


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
