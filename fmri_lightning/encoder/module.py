"""Encoders as LightningModules: a ridge that is solved, and a network that is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.encoder.base import EmbeddingModule
from fmri_lightning.encoder.batches import epoch_seed
from fmri_lightning.encoder.data import EncoderDataModule
from fmri_lightning.encoder.losses import cosine_loss, info_nce_loss
from fmri_lightning.encoder.network import LinearMap, NetworkMap
from fmri_lightning.encoder.ridge import fit_ridge
from fmri_lightning.errors import UsageError


class EncoderModule(EmbeddingModule):
    """From preprocessed betas to raw CLIP embeddings; what ridge and network share."""

    kind = "encoder"

    @property
    def data(self) -> EncoderDataModule:
        """The data module of the running trainer."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, EncoderDataModule):
            raise UsageError(f"{type(self).__name__} needs data of class EncoderDataModule, got {type(data).__name__}")
        return data

    def checkpoint_path(self) -> Path:
        """Name the checkpoint file under the root of all checkpoints."""
        return self.root / self.name / self.data.subject / f"{self.name}.ckpt"

    def map_description(self) -> dict[str, Any]:
        """Describe the map for :func:`~fmri_lightning.encoder.network.build_predictor`."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Describe map, space and use of repeats in plain types."""
        data = self.data
        return {
            "predictor": self.map_description(),
            "space": data.space.to_json(),
            "trial_mode": data.trial_mode,
            "train_mode": data.train_mode,
            "simulated": data.simulated,
        }

    def scored_rows(
        self, predicted: NDArray[np.float32], true: NDArray[np.float32], nsd_ids: NDArray[np.int32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
        """Average outputs over repeats where predict will do so."""
        if self.data.trial_mode != "average_outputs":
            return predicted, true, nsd_ids
        unique, mean = average_repeats(predicted, nsd_ids)
        # Repeats share their target: its mean is the target itself.
        return mean, average_repeats(true, nsd_ids)[1], unique


class RidgeModule(EncoderModule):
    """Ridge regression: one exact solve when training starts, then one validation pass.

    Args:
        alphas: Penalties to choose from by leave-one-stimulus-out; null spans six decades around the mean eigenvalue
            of the data.
        alpha_per_target: Choose one alpha per embedding dimension instead of one for all.
        root: Folder of all checkpoints.
    """

    name = "ridge"

    def __init__(
        self, alphas: list[float] | None = None, alpha_per_target: bool = False, root: str = "checkpoints"
    ) -> None:
        super().__init__(root)
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.alphas, self.alpha_per_target = alphas, alpha_per_target

    def map_description(self) -> dict[str, Any]:
        """Describe the linear map."""
        return {"kind": "linear", "n_features": self.data.n_features, "n_outputs": len(self.data.target_mean)}

    def build(self) -> LinearMap:
        """Build the map with weights still zero."""
        return LinearMap(self.data.n_features, len(self.data.target_mean))

    def configure_optimizers(self) -> list[Any]:
        """Return nothing: no step is taken."""
        return []

    def on_train_start(self) -> None:
        """Solve; alpha is chosen on training pictures alone."""
        rows, predictor = self.data.train_rows(), self.predictor
        if not isinstance(predictor, LinearMap):
            raise RuntimeError("a ridge fills a linear map")
        fit = fit_ridge(rows.features.numpy(), rows.targets.numpy(), rows.nsd_ids, self.alphas, self.alpha_per_target)
        predictor.weights.copy_(torch.from_numpy(fit.weights))
        predictor.intercept.copy_(torch.from_numpy(fit.intercept))
        self.fitted = {
            "alpha": np.unique(fit.alpha).tolist(),
            "alphas": fit.alphas.tolist(),
            "loo_r2": fit.loo_r2.tolist(),
            "form": fit.form,
            "dtype": fit.dtype,
            "at_edge": fit.at_edge,
        }

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Do nothing: the weights are solved already."""


class MLPModule(EncoderModule):
    """A network trained on single trials, stopped early on validation pictures.

    Loss on targets standardised per dimension: ``cosine_weight (1 - cos) + mse_weight MSE + info_nce_weight InfoNCE``.

    Args:
        hidden: Width of the hidden layers.
        n_blocks: Residual blocks between first and last layer; 0 is the two-layer network.
        dropout: Share of hidden units dropped.
        input_dropout: Share of voxels dropped.
        cosine_weight: Weight of one minus cosine.
        mse_weight: Weight of the mean squared error.
        info_nce_weight: Weight of the contrastive loss.
        temperature: Temperature of the contrastive loss.
        optimizer: Optimiser class and arguments.
        scheduler: Learning-rate scheduler, stepped once an epoch.
        root: Folder of all checkpoints.
    """

    name = "mlp"

    def __init__(
        self,
        hidden: int = 1024,
        n_blocks: int = 0,
        dropout: float = 0.1,
        input_dropout: float = 0.0,
        cosine_weight: float = 1.0,
        mse_weight: float = 0.5,
        info_nce_weight: float = 0.0,
        temperature: float = 0.07,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        scheduler: LRSchedulerCallable | None = None,
        root: str = "checkpoints",
    ) -> None:
        super().__init__(root)
        # Callables stay out: a function in the checkpoint would not load with weights_only=True.
        self.save_hyperparameters(ignore=["optimizer", "scheduler"])
        self.architecture: dict[str, Any] = {
            "hidden": hidden,
            "n_blocks": n_blocks,
            "dropout": dropout,
            "input_dropout": input_dropout,
        }
        self.cosine_weight, self.mse_weight = cosine_weight, mse_weight
        self.info_nce_weight, self.temperature = info_nce_weight, temperature
        self.optimizer, self.scheduler = optimizer, scheduler

    def map_description(self) -> dict[str, Any]:
        """Describe the network."""
        widths = {"n_features": self.data.n_features, "n_outputs": len(self.data.target_mean)}
        return {"kind": "network", **widths, **self.architecture}

    def build(self) -> NetworkMap:
        """Build the network and store the statistics of the training targets in it."""
        network = NetworkMap(self.data.n_features, len(self.data.target_mean), **self.architecture)
        network.set_target_statistics(self.data.target_mean, self.data.target_std)
        return network

    def configure_optimizers(self) -> Any:
        """Build optimiser and scheduler over all trained parameters."""
        return optimizer_and_scheduler(self, self.optimizer, self.scheduler)

    def on_train_epoch_start(self) -> None:
        """Make dropout a function of run and epoch, so that a resumed fit goes on as the interrupted one would."""
        torch.manual_seed(epoch_seed(self.current_epoch))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the weighted loss of one batch."""
        if not isinstance(self.predictor, NetworkMap):
            raise RuntimeError("the network was not built")
        predicted = self.predictor.standardised(batch["features"])
        true = self.predictor.standardise(batch["targets"])
        loss = self.cosine_weight * cosine_loss(predicted, true)
        loss = loss + self.mse_weight * functional.mse_loss(predicted, true)
        if self.info_nce_weight > 0:
            loss = loss + self.info_nce_weight * info_nce_loss(predicted, true, self.temperature, batch["nsd_ids"])
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(true))
        return loss


def optimizer_and_scheduler(
    module: torch.nn.Module, optimizer: OptimizerCallable, scheduler: LRSchedulerCallable | None
) -> Any:
    """Build what ``configure_optimizers`` returns; the scheduler steps once an epoch."""
    built = optimizer(module.parameters())
    return built if scheduler is None else {"optimizer": built, "lr_scheduler": scheduler(built)}
