"""Checkpoints at the place where the next stage looks for them, whole or absent."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from fmri_lightning.encoder.base import EmbeddingModule
from fmri_lightning.errors import UsageError
from fmri_lightning.manifest import atomic_path


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints under a temporary name in their own folder and moves them into place."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save a checkpoint.

        Args:
            checkpoint: What Lightning collected.
            path: The final file.
            storage_options: Not supported, must stay None.
        """
        if storage_options is not None:
            raise UsageError("checkpoints are local files here; leave storage_options unset")
        with atomic_path(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class StageCheckpoint(ModelCheckpoint):
    """Keeps one checkpoint of a fit, where the module says.

    Args:
        monitor: Score of which the best epoch is kept; None keeps the last epoch.
        mode: Whether the best score is the "max" or the "min".
        save_last: Whether last.ckpt is kept beside it, from which fit with --ckpt_path resumes.
    """

    def __init__(
        self, monitor: str | None = None, mode: Literal["max", "min"] = "max", save_last: bool = False
    ) -> None:
        super().__init__(
            monitor=monitor,
            mode=mode,
            save_top_k=1,
            save_last=save_last,
            auto_insert_metric_name=False,
            # Another fit replaces the checkpoint; a numbered twin would be read by no stage.
            enable_version_counter=False,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Fill in folder and name, and make saving atomic."""
        if not isinstance(pl_module, EmbeddingModule):
            raise UsageError(f"StageCheckpoint serves encoders and adapters, not {type(pl_module).__name__}")
        path = pl_module.checkpoint_path()
        # Lightning compares folders as text when it resumes.
        self.dirpath, self.filename = os.path.realpath(path.parent), path.stem
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        with warnings.catch_warnings():
            # The folder holds the run's configuration and the checkpoint that this fit replaces.
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
            super().setup(trainer, pl_module, stage)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a fit that took no optimisation step (a solver): ModelCheckpoint believes that nothing happened."""
        if trainer.global_step == 0 and not getattr(trainer, "fast_dev_run", False):
            self.best_model_path = os.path.join(str(self.dirpath), f"{self.filename}{self.FILE_EXTENSION}")
            trainer.save_checkpoint(self.best_model_path)
        super().on_train_end(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print what was written and how good it is."""
        if not trainer.is_global_zero or not self.best_model_path or not isinstance(pl_module, EmbeddingModule):
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        centred = metrics.get("val/centred_cosine")
        if self.monitor == "val/centred_cosine" and self.best_model_score is not None:
            centred = float(self.best_model_score)
        score = "" if centred is None else f": centred cosine on val {centred:.4f}"
        print(f"{pl_module.checkpoint_path()}{score}")
