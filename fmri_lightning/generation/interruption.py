"""Stop a run by a signal without losing a picture: Lightning's predict loop looks at none.

SLURM sends SIGTERM or SIGUSR1 before it kills; the batch in flight is finished, the writer flushed, and the process
ends with code 75, which batch scripts read as "run the same command again".
"""

from __future__ import annotations

import contextlib
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


class Interruption(Callback):
    """Turns the first signal into a clean end after the batch; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._previous: dict[int, Any] = {}
        self._forward: Callable[[int], Any] | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over; after Lightning's own handlers, which broadcast inside the handler."""
        self._listen(trainer)

    def _listen(self, trainer: Trainer) -> None:
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
            raise self._ended("after a finished batch")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Wait until every rank is through, then give the signals back.

        Raises:
            InterruptedRunError: A signal came while this rank waited for the others.
        """
        try:
            if stage == "predict":
                self._wait_for_all(trainer)
        finally:
            self._restore()

    def _wait_for_all(self, trainer: Trainer) -> None:
        """Wait as a barrier does, but in Python: signals must reach a rank that has nothing left to draw."""
        if trainer.world_size == 1 or not torch.distributed.is_initialized():
            return
        if not self._previous:  # Lightning starts no prediction in a rank without batches
            self._listen(trainer)
        # NCCL would guess the device otherwise.
        ids = [trainer.strategy.root_device.index] if torch.distributed.get_backend() == "nccl" else None
        others = torch.distributed.barrier(async_op=True, device_ids=ids)
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
