"""What is known of a subject's chain from earlier starts: which commands are done, and which one failed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fmri_lightning import __version__
from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import file_fingerprint, read_json, write_json
from fmri_lightning.studies.subject_plan import StepCommand

RECORD = "chain.json"
STARTED, DONE, INTERRUPTED = "started", "done", "interrupted"


@dataclass(frozen=True)
class Failure:
    """A command that failed, and with it its subject.

    Attributes:
        step: Which one.
        code: Its exit code; minus the signal where one killed it.
        message: The last line it said.
    """

    step: str
    code: int
    message: str

    def words(self) -> str:
        """Say it in short, for a table."""
        how = f"exit code {self.code}" if self.code >= 0 else f"killed by signal {-self.code}"
        return f"{self.step} failed ({how})"


@dataclass
class ChainRecord:
    """A subject's record, in a file of its own.

    Attributes:
        path: The file.
        steps: Command to what was done: state and fingerprint.
        failed: Why the chain did not come to its end the last time, or None.
    """

    path: Path
    steps: dict[str, dict[str, str | dict[str, Any]]] = field(default_factory=dict)
    failed: Failure | None = None

    @classmethod
    def read(cls, folder: Path) -> ChainRecord:
        """Read a record, or begin one.

        Args:
            folder: The subject's folder in the study.

        Raises:
            BadInputError: There is one that cannot be read.
        """
        path = folder / RECORD
        if not path.is_file():
            return cls(path)
        found = read_json(path)
        try:
            return cls(path, dict(found["steps"]), Failure(**found["failed"]) if found["failed"] else None)
        except (KeyError, TypeError, ValueError) as error:
            raise BadInputError(f"{path} is no record of a subject's chain; remove it and run again") from error

    def is_done(self, command: StepCommand) -> bool:
        """Say whether a command was done before, on the same inputs, and what it left is still there."""
        if not command.writes or not all(path.exists() for path in command.writes):
            return False
        return self.steps.get(command.step) == {"state": DONE, **_fingerprint(command)}

    def words_to_run(self, command: StepCommand) -> tuple[str, ...]:
        """Return the words of a command, those of going on where a fit of just these inputs was interrupted.

        A fit that begins anew loses the checkpoint of the last epoch of an earlier one, lest it be taken for its own.
        """
        if command.last is None:
            return command.words
        stopped = self.steps.get(command.step, {}).get("state") in (STARTED, INTERRUPTED)
        same = self.steps.get(command.step, {}) | {"state": ""} == {"state": "", **_fingerprint(command)}
        if stopped and same and command.last.is_file():
            return (*command.words, "--ckpt_path", str(command.last))
        command.last.unlink(missing_ok=True)
        return command.words

    def note(self, command: StepCommand, state: str, failed: Failure | None = None) -> None:
        """Write down how a command stands; a failed one is begun anew the next time.

        Args:
            command: Which one.
            state: Of it.
            failed: Why it failed.
        """
        self.failed = failed
        if failed is not None:
            self.steps.pop(command.step, None)
        elif command.writes:
            self.steps[command.step] = {"state": state, **_fingerprint(command)}
        self.write()

    def write(self) -> None:
        """Write the record, whole or not at all."""
        failed = None if self.failed is None else dataclasses.asdict(self.failed)
        write_json(self.path, {"steps": self.steps, "failed": failed})


def _fingerprint(command: StepCommand) -> dict[str, Any]:
    """Describe a command and what it reads by value; what is not there has no fingerprint."""
    return {
        "command": command.line(),
        "version": __version__,
        "reads": {str(path): _identity(path) for path in command.reads},
    }


def _identity(path: Path) -> str | None:
    """Identify a file; a manifest by the content that it vouches for, because it also bears a date."""
    if not path.is_file():
        return None
    if path.name == "manifest.json":
        return str(read_json(path).get("content_hash"))
    found = file_fingerprint(path)
    return f"{found['size']} bytes, {found['head_tail_sha256']}"
