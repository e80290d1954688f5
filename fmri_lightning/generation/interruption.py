"""Stop a run by a signal without losing a picture: Lightning's predict loop looks at none.

SLURM sends SIGTERM or SIGUSR1 before it kills; the batch in flight is finished, the writer flushed, and the process
ends with code 75, which batch scripts read as "run the same command again".
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback

from fmri_lightning.errors import InterruptedRunError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
CHILD_TIMEOUT_S = 60.0


class Interruption(Callback):
    """Turns the first signal into a clean end after the batch; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._previous: dict[int, Any] = {}
        self._forward: Callable[[int], Any] | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over; after Lightning's own handlers, which broadcast inside the handler."""
        self._received = signal.SIGTERM if trainer.received_sigterm else None
        launcher: Any = trainer.strategy.launcher
        # Only the process that the signal reached knows of it; the ranks it started must stop too.
        self._forward = getattr(launcher, "kill", None)
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None and number == signal.SIGINT:
            self._restore()
            raise KeyboardInterrupt
        first, self._received = self._received is None, number
        if first and self._forward is not None and number != signal.SIGINT:
            # A terminal sends Ctrl-C to the whole group itself.
            self._forward(number)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """End the run after a batch if a signal came.

        Raises:
            InterruptedRunError: A signal came; the writer flushes on the way out.
        """
        if self._received is not None:
            name = signal.Signals(self._received).name
            raise InterruptedRunError(f"stopped by {name} after a finished batch; the same command resumes the run")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give signals and run folder back, and wait for the ranks this process started."""
        self._restore()
        if isinstance(exception, InterruptedRunError):
            for process in getattr(trainer.strategy.launcher, "procs", ()):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(CHILD_TIMEOUT_S)
        release = getattr(pl_module, "release", None)
        if release is not None:
            release()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
