"""Run chains of commands beside each other: a process for each command, a log for each chain.

A process of its own keeps what happens to one command, running out of memory among it, from the others.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from fmri_lightning.errors import InterruptedRunError, StageError
from fmri_lightning.locks import run_lock
from fmri_lightning.progress import LINE_EVERY_S
from fmri_lightning.studies.subject_plan import StepCommand
from fmri_lightning.studies.subject_record import DONE, INTERRUPTED, STARTED, ChainRecord, Failure

PROGRAM = (sys.executable, "-m", "fmri_lightning")
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""What ends a study: SLURM sends the last one before the time is up, a terminal that is closed the one before it."""
GRACE_S = 300.0
"""A command that was told to stop may finish its batch for so long."""
POLL_S = 0.1
LOG = "log.txt"
TAIL_BYTES = 20_000


@dataclass
class Stop:
    """Whether the study is to end.

    Attributes:
        asked: Set by the first signal, or by a command that a signal ended.
        at_once: Set by a second signal.
    """

    asked: threading.Event = field(default_factory=threading.Event)
    at_once: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take signals over inside the block; only the main thread of a process may."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # nohup has a signal ignored, and means it.
        heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._note) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        (self.at_once if self.asked.is_set() else self.asked).set()


@dataclass
class Chain:
    """Commands that run one after the other until one fails.

    Attributes:
        name: Whose, for messages.
        folder: Holds log and record.
        commands: What to run.
        failed: How it ended, None while all is well.
        step: What runs now, "" before and after.
    """

    name: str
    folder: Path
    commands: list[StepCommand]
    failed: Failure | None = None
    step: str = ""

    @property
    def log(self) -> Path:
        """Everything that the commands say."""
        return self.folder / LOG

    def run(self, stop: Stop, tell: Callable[[str], None], program: tuple[str, ...] = PROGRAM) -> None:
        """Run the commands; what fails is kept in :attr:`failed` and raised no further.

        Args:
            stop: Looked at while a command runs.
            tell: Gets a line when a command starts and when it ends.
            program: What the words of a command are given to.
        """
        try:
            with run_lock(self.folder):
                self._run_all(ChainRecord.read(self.folder), stop, tell, program)
        except StageError as error:
            self.failed = Failure("start", error.exit_code, str(error))
        except OSError as error:
            self.failed = Failure("start", 1, f"{type(error).__name__}: {error}")
        finally:
            self.step = ""

    def _run_all(self, record: ChainRecord, stop: Stop, tell: Callable[[str], None], program: tuple[str, ...]) -> None:
        for place, command in enumerate(self.commands, start=1):
            if stop.asked.is_set():
                return
            where = f"{self.name} {command.step} ({place} of {len(self.commands)})"
            if record.is_done(command):
                tell(f"{where}: done before, taken as it is")
                continue
            self.step = command.step
            words = record.words_to_run(command)
            record.note(command, STARTED)
            tell(f"{where}: started")
            started_s = time.monotonic()
            code, said = self._run_one(words, stop, program)
            if code == InterruptedRunError.exit_code or (code != 0 and stop.asked.is_set()):
                record.note(command, INTERRUPTED)
                stop.asked.set()
                return
            if code != 0:
                self.failed = Failure(command.step, code, said or _without_words(code))
                record.note(command, DONE, self.failed)
                tell(f"{where}: FAILED, {self.failed.words()}: {self.failed.message}")
                return
            record.note(command, DONE)
            tell(f"{where}: done in {time.monotonic() - started_s:.0f} s")

    def _run_one(self, words: tuple[str, ...], stop: Stop, program: tuple[str, ...]) -> tuple[int, str]:
        """Run a command to its end and return its exit code and the last line it said."""
        with open(self.log, "ab") as log:
            log.write(f"\n$ {shlex.join(('fmri-lightning', *words))}\n".encode())
            log.flush()
            begin = log.tell()
            # A session of its own: Ctrl-C on the terminal comes to us alone, and a signal of ours to all it started.
            process = subprocess.Popen(
                [*program, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
            try:
                code = _wait(process, stop)
            finally:
                _end_group(process)
        return code, _last_line(self.log, begin)


def _wait(process: subprocess.Popen[bytes], stop: Stop) -> int:
    """Wait for a process; ask it to end when the study is to end, and end it where it does not."""
    asked_s: float | None = None
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(POLL_S)
        if not stop.asked.is_set():
            continue
        if asked_s is None:
            asked_s = time.monotonic()
            _signal_group(process, signal.SIGTERM)
        elif stop.at_once.is_set() or time.monotonic() - asked_s > GRACE_S:
            _signal_group(process, signal.SIGKILL)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what a command left behind: workers of a killed one would go on."""
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _last_line(log: Path, begin: int) -> str:
    """Find what a command said last, our own error before anything else."""
    with open(log, "rb") as handle:
        handle.seek(0, os.SEEK_END)
        handle.seek(max(begin, handle.tell() - TAIL_BYTES))
        lines = [line.strip() for line in handle.read().decode(errors="replace").splitlines() if line.strip()]
    ours = [line.removeprefix("fmri-lightning: ") for line in lines if line.startswith("fmri-lightning: ")]
    return (ours or lines or [""])[-1]


def _without_words(code: int) -> str:
    if code == -signal.SIGKILL:
        return "killed without a word, as the system does where memory is out"
    return "it said nothing"


def run_chains(
    chains: list[Chain], jobs: int, tell: Callable[[str], None] = print, program: tuple[str, ...] = PROGRAM
) -> None:
    """Run chains, some at once, to their ends.

    Args:
        chains: One a subject; each is told how it ended.
        jobs: How many at once.
        tell: Gets a line for each event, and one every 30 s on what runs.
        program: What the words of a command are given to.

    Raises:
        InterruptedRunError: A signal came, to us or to a command; all commands have ended.
    """
    stop = Stop()
    with stop.listening(), ThreadPoolExecutor(jobs, thread_name_prefix="chain") as pool:
        left: set[Future[None]] = {pool.submit(chain.run, stop, tell, program) for chain in chains}
        started_s = told_s = time.monotonic()
        while left:
            # Waits are short: a signal's handler runs between them.
            ended, left = wait(left, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in ended:
                future.result()
            if left and time.monotonic() - told_s >= LINE_EVERY_S:
                told_s = time.monotonic()
                tell(_status(chains, len(left), told_s - started_s))
    if stop.asked.is_set():
        raise InterruptedRunError("subjects interrupted, every command has ended; the same command goes on")


def _status(chains: list[Chain], n_left: int, elapsed_s: float) -> str:
    running = ", ".join(f"{chain.name} {chain.step}" for chain in chains if chain.step)
    n_failed = sum(chain.failed is not None for chain in chains)
    return f"{elapsed_s:.0f} s: {len(chains) - n_left} of {len(chains)} through, {n_failed} failed; running: {running}"
