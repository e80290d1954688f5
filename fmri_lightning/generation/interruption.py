"""Stop a run by a signal without losing a picture: Lightning's predict loop looks at none.

SLURM sends SIGTERM or SIGUSR1 before it kills; the batch in flight is finished, the writer flushed, and the process
ends with code 75, which batch scripts read as "run the same command again".
"""

from __future__ import annotations

import contextlib
import datetime
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback

from fmri_lightning.errors import InterruptedRunError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
CHILD_TIMEOUT_S = 60.0
POLL_S = 0.05
OBSERVER = "child-process-observer"
"""Name of the thread of Lightning's launcher that watches the processes it started."""


class Interruption(Callback):
    """Turns the first signal into a clean end after the batch; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._at_once = False
        self._previous: dict[int, Any] = {}
        self._forward: Callable[[int], Any] | None = None
        self._others: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open a line between the ranks that is not NCCL's, whose collectives can neither be left nor wait for days."""
        if trainer.world_size > 1 and torch.distributed.is_initialized():
            self._others = torch.distributed.new_group(backend="gloo", timeout=datetime.timedelta(days=30))

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over; after Lightning's own handlers, which broadcast inside the handler."""
        self._received = signal.SIGTERM if trainer.received_sigterm else None
        self._listen(trainer)

    def _listen(self, trainer: Trainer) -> None:
        launcher: Any = trainer.strategy.launcher
        # Only the process that the signal reached knows of it; the ranks it started must stop too.
        self._forward = getattr(launcher, "kill", None)
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None and number == signal.SIGINT:
            self._restore()
            raise KeyboardInterrupt
        first, self._received = self._received is None, number
        if first and self._forward is not None:
            _spare_unfinished_ranks()
            if number != signal.SIGINT:
                # A terminal sends Ctrl-C to the whole group itself.
                self._forward(number)
        if self._at_once:
            raise self._ended("while results were put together")

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
            raise self._ended("after a finished batch")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Wait until every rank is through; from then on a signal ends the run at once.

        Raises:
            InterruptedRunError: A signal came while this rank waited for the others.
        """
        if stage != "predict":
            return
        # Lightning has given the signals back by now, and in a rank without batches they were never taken.
        self._listen(trainer)
        release: Any = getattr(pl_module, "when_released", None)
        if release is not None:
            release(self._restore)
        if self._others is not None:
            self._wait_for_all()
        self._at_once = True

    def _wait_for_all(self) -> None:
        """Wait as a barrier does, but in Python: signals must reach a rank that has nothing left to draw."""
        others = torch.distributed.barrier(group=self._others, async_op=True)
        while not others.is_completed():
            if self._received is not None:
                raise self._ended("while it waited for other ranks")
            time.sleep(POLL_S)
        others.wait()

    def _ended(self, when: str) -> InterruptedRunError:
        assert self._received is not None
        name = signal.Signals(self._received).name
        return InterruptedRunError(f"stopped by {name} {when}; the same command resumes the run")

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


def _spare_unfinished_ranks() -> None:
    """Tell Lightning's observer of child processes that there are none: it kills all ranks once one ends with 75."""
    for thread in threading.enumerate():
        if thread.name == OBSERVER and hasattr(thread, "_child_processes"):
            thread._child_processes = []
