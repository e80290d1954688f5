"""The page on a dashboard: `eval/report` of a W&B run of its own."""

from __future__ import annotations

from pathlib import Path

from fmri_lightning.report.runs import ReportRun
from fmri_lightning.tracking.runs import RunLabels
from fmri_lightning.tracking.table import log_page

JOB = "report"


def log_report(page: Path, runs: list[ReportRun], protocol: str | None) -> None:
    """Log a page that carries its pictures.

    Args:
        page: `index.html`.
        runs: What it shows.
        protocol: Whose scores lead it, or None.

    Raises:
        UsageError: wandb is not installed, or refuses the run.
    """
    subjects = sorted({str(run.summary["subject"]) for run in runs if run.summary.get("subject")})
    group = subjects[0] if len(subjects) == 1 else None
    name = "/".join([*([group] if group else []), "+".join(run.label for run in runs)])
    words = [run.summary.get("encoder") for run in runs] + [protocol]
    words += ["simulated"] if any(run.summary.get("simulated") for run in runs) else []
    config = {
        "subjects": subjects,
        "protocol": protocol,
        "runs": {run.label: run.summary.get("provenance", {}).get("inputs", {}) for run in runs},
    }
    log_page(page, RunLabels(name, JOB, group, tuple(dict.fromkeys(filter(None, words)))), config)
