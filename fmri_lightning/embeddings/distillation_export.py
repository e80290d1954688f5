"""Writing a finished mini model to its folder, whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning as L

from fmri_lightning.embeddings.distillation_schedule import is_complete, run_progress
from fmri_lightning.errors import UsageError


@runtime_checkable
class Exportable(Protocol):
    """A LightningModule that can write itself as a folder of a mini model."""

    def export(self, folder: Path) -> dict[str, str]:
        """Write the model's files into an empty folder; return lines for its card."""


class ExportFolder(L.Callback):
    """Writes the model when fit ends, and its card, then moves the folder into place.

    The seconds on the card are those of all sessions of a run that was resumed.
    """

    def __init__(self, folder: str, title: str, data: str, notes: str = "") -> None:
        """Remember where to and what the card says.

        Args:
            folder: final folder, for instance checkpoints/mini/source_encoder; replaced.
            title: first line of the card.
            data: what the model was trained on, with attribution.
            notes: further lines of the card.
        """
        super().__init__()
        self.folder, self.title, self.data, self.notes = Path(folder), title, data, notes
        self._earlier_s = 0.0
        self._started_s: float | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse a module that cannot be exported, before any work.

        Args:
            trainer: the trainer.
            pl_module: the module.
            stage: fit or validate.

        Raises:
            UsageError: the module has no ``export``, or several devices would train.
        """
        if not isinstance(pl_module, Exportable):
            raise UsageError(f"{type(pl_module).__name__} has no export(folder): drop ExportFolder")
        if trainer.world_size > 1:
            raise UsageError("the mini recipes train on one device, every rank would see the same pictures: devices 1")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock; data preparation is not training.

        Args:
            trainer: the trainer.
            pl_module: the module.
        """
        self._started_s = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Seconds trained so far, kept in checkpoints."""
        return {"seconds": self._seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the seconds of the sessions before.

        Args:
            state_dict: of a checkpoint.
        """
        self._earlier_s = float(state_dict["seconds"])

    def _seconds(self) -> float:
        return self._earlier_s + (0.0 if self._started_s is None else time.monotonic() - self._started_s)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Export, unless the fit was cut short, which is said.

        Args:
            trainer: the trainer.
            pl_module: the module.
        """
        assert isinstance(pl_module, Exportable)
        seconds = self._seconds()
        if not is_complete(trainer):
            done = run_progress(trainer, trainer.global_step)
            print(f"{self.folder} is left as it was: {done:.0%} of the run is done", file=sys.stderr)
            return
        # Lightning has moved the module to the CPU by now; the data are where it trained.
        pl_module.to(trainer.strategy.root_device)
        temporary = self.folder.with_name(f".{self.folder.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        lines = pl_module.export(temporary)
        lines |= {
            "steps": str(trainer.global_step),
            "training time": f"{seconds:.0f} s",
            "device": f"{pl_module.device.type}, {_threads()} threads",
            "precision": str(trainer.precision),
        }
        (temporary / "README.md").write_text(self._card(lines, temporary), encoding="utf-8")
        shutil.rmtree(self.folder, ignore_errors=True)
        temporary.replace(self.folder)

    def _card(self, lines: dict[str, str], folder: Path) -> str:
        table = "\n".join(f"| {key} | {value} |" for key, value in lines.items())
        hashes = "\n".join(
            f"- `{file.relative_to(folder).as_posix()}` sha256 {_sha256(file)}"
            for file in sorted(folder.rglob("*.safetensors"))
        )
        return f"# {self.title}\n\n{self.data}\n\n| | |\n|---|---|\n{table}\n\n{self.notes}\n\n## Files\n\n{hashes}\n"


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
