"""What commands without a Trainer log: a summary, one table, one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fmri_lightning.tracking.pictures import Picture, thumbnail
from fmri_lightning.tracking.runs import RunLabels, open_run, require_wandb, runs_finished

PAGE_LIMIT_MB = 20
"""W&B takes no log call of more than 25 MB."""


def log_summary(run: Any, values: dict[str, float | None]) -> None:
    """Write numbers into a run's summary, which the runs table shows.

    Args:
        run: The run of wandb.
        values: By key; None is left out.
    """
    run.summary.update({key: float(value) for key, value in values.items() if value is not None})


def log_table(run: Any, key: str, columns: list[str], rows: Sequence[Sequence[Any]]) -> None:
    """Log one table, once: W&B does not take rows later.

    Args:
        run: The run of wandb.
        key: For instance "eval/per_image".
        columns: Their names.
        rows: Numbers, None, and pictures as uint8 (height, width, 3), which become JPEG of at most 256 px.
    """
    import numpy as np

    wandb = require_wandb()

    def cell(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        picture: Picture = value
        return wandb.Image(thumbnail(picture), file_type="jpg")

    run.log({key: wandb.Table(columns=columns, data=[[cell(value) for value in row] for row in rows])})


def log_page(page: Path, labels: RunLabels, config: dict[str, Any] | None = None, project: str | None = None) -> None:
    """Log a page that needs no other file as ``eval/report``, in a run of its own that is finished in any case.

    Args:
        page: An HTML file; the run's files go beside it.
        labels: Name, job type "report", subject, tags.
        config: What the page shows, nested plain types.
        project: Project; None takes WANDB_PROJECT, else "fmri-lightning".

    Raises:
        UsageError: wandb is not installed.
    """
    wandb = require_wandb()
    size_mb = page.stat().st_size / 1e6
    with runs_finished():
        run = open_run(page.parent, labels, config, project)
        if size_mb > PAGE_LIMIT_MB:
            print(
                f"{page} has {size_mb:.0f} MB, more than W&B takes: it is logged as a file to look at on this machine"
            )
            artifact = wandb.Artifact("report", "report")
            artifact.add_reference(page.resolve().as_uri(), checksum=False)
            run.log_artifact(artifact)
        else:
            run.log({"eval/report": wandb.Html(page.read_text(encoding="utf-8"), inject=False)})
