"""What predict tells its loggers: pictures done, failed, and how fast."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback

from fmri_lightning.generation.writer import DrawnUnit, failure_of

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


class DrawingCounts(Callback):
    """Logs ``predict/done``, ``predict/failed`` and ``predict/images_per_s`` of the first device after each batch."""

    def __init__(self) -> None:
        self._started_s = 0.0
        self._done = self._failed = 0

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started_s, self._done, self._failed = time.monotonic(), 0, 0

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: list[DrawnUnit],
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a batch."""
        if not trainer.loggers or not trainer.is_global_zero:
            return
        failed = sum(bool(failure_of(unit.pixels, unit.finite)) for unit in outputs)
        self._failed += failed
        self._done += len(outputs) - failed
        rate = (self._done + self._failed) / max(time.monotonic() - self._started_s, 1e-9)
        log_counts(trainer.loggers, self._done, self._failed, {"predict/images_per_s": rate})


def log_counts(loggers: Iterable[Any], done: int, failed: int, more: dict[str, float] | None = None) -> None:
    """Log how many pictures there are.

    Args:
        loggers: The trainer's.
        done: Pictures on the disk, or on their way to it.
        failed: Pictures that are no results.
        more: Further numbers, by key.
    """
    for logger in loggers:
        logger.log_metrics({"predict/done": done, "predict/failed": failed, **(more or {})}, step=done + failed)
