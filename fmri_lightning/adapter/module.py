"""AdapterModule: trains the adapter on true pairs, and reports it against simpler maps when the fit is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from fmri_lightning.adapter.data import AdapterDataModule
from fmri_lightning.adapter.losses import adapter_loss
from fmri_lightning.adapter.network import AdapterNetwork
from fmri_lightning.encoder.base import EmbeddingModule
from fmri_lightning.encoder.checkpoint import StageCheckpoint
from fmri_lightning.encoder.module import optimizer_and_scheduler
from fmri_lightning.errors import UsageError


class AdapterModule(EmbeddingModule):
    """From the encoder's embedding space to the generator's.

    Args:
        layer_norm: Normalise the standardised output; restores the length that regression takes away.
        mse_weight: Weight w of the squared error in ``w MSE + (1 - w) (1 - cos)``.
        optimizer: Optimiser class and arguments.
        scheduler: Learning-rate scheduler, stepped once an epoch.
        root: Folder of all checkpoints.
    """

    kind = "adapter"
    name = "clip_adapter"

    def __init__(
        self,
        layer_norm: bool = True,
        mse_weight: float = 0.5,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        scheduler: LRSchedulerCallable | None = None,
        root: str = "checkpoints",
    ) -> None:
        super().__init__(root)
        if not 0 <= mse_weight <= 1:
            raise UsageError(f"mse_weight lies in 0..1, got {mse_weight}")
        # Callables stay out: a function in the checkpoint would not load with weights_only=True.
        self.save_hyperparameters(ignore=["optimizer", "scheduler"])
        self.layer_norm, self.mse_weight = layer_norm, mse_weight
        self.optimizer, self.scheduler = optimizer, scheduler

    @property
    def data(self) -> AdapterDataModule:
        """The data module of the running trainer."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, AdapterDataModule):
            raise UsageError(f"AdapterModule needs data of class AdapterDataModule, got {type(data).__name__}")
        return data

    def checkpoint_path(self) -> Path:
        """Name the checkpoint file under the root of all checkpoints."""
        return self.root / self.name / self.data.subject / self.data.target_space.name / "adapter.ckpt"

    def network_arguments(self) -> dict[str, Any]:
        """Name the arguments of :class:`AdapterNetwork` for the spaces at hand."""
        data = self.data
        return {"n_source": data.source_space.dim, "n_target": data.target_space.dim, "layer_norm": self.layer_norm}

    def build(self) -> AdapterNetwork:
        """Build the network and store the statistics of the training pictures in it."""
        network = AdapterNetwork(**self.network_arguments())
        network.set_statistics(self.data.pairs("train").source, self.data.target_mean, self.data.target_std)
        return network

    def describe(self) -> dict[str, Any]:
        """Describe network and spaces in plain types."""
        return {
            "network": self.network_arguments(),
            "source_space": self.data.source_space.to_json(),
            "target_space": self.data.target_space.to_json(),
            "simulated": self.data.simulated,
        }

    def configure_optimizers(self) -> Any:
        """Build optimiser and scheduler."""
        return optimizer_and_scheduler(self, self.optimizer, self.scheduler)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        if not isinstance(self.predictor, AdapterNetwork):
            raise RuntimeError("the network was not built")
        loss = adapter_loss(self.predictor, batch["features"], batch["targets"], self.mse_weight)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["targets"]))
        return loss

    @rank_zero_only
    def on_fit_end(self) -> None:
        """Write the report of the checkpoint that was kept; test pictures are read here and not before."""
        from fmri_lightning.adapter.report import write_report

        checkpoint = self.trainer.checkpoint_callback
        if not isinstance(checkpoint, StageCheckpoint) or not Path(checkpoint.best_model_path).is_file():
            return
        settings = {**self.network_arguments(), "mse_weight": self.mse_weight, "batch_size": self.data.batch_size}
        settings |= {"max_epochs": self.trainer.max_epochs, "epochs": self.trainer.current_epoch}
        print(write_report(Path(checkpoint.best_model_path), self.data, settings))
