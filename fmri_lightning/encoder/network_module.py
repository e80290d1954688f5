"""The network encoder: losses, schedules and repeats of a LightningModule that is trained by gradients."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from fmri_lightning.encoder.batches import epoch_seed
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.encoder.module import NAMES, EncoderModule
from fmri_lightning.encoder.network import LinearMap, NetworkMap
from fmri_lightning.encoder.objective import Contrast, Objective
from fmri_lightning.encoder.ranks import Share, share_rows
from fmri_lightning.encoder.schedule import optimizer_and_scheduler
from fmri_lightning.encoder.stored import read_checkpoint, record_of_stimuli, require_inputs
from fmri_lightning.errors import BadInputError, UsageError

ROWS_TO_SCALE_BY = 4096
"""Training rows that set the scale of hidden units that start from ridge."""


class MLPModule(EncoderModule):
    """A network from preprocessed betas to raw embeddings, of any width the cache has.

    Loss on targets standardised per dimension:
    ``cosine_weight (1 - cos) + mse_weight MSE + contrast_weight contrast``. The defaults are the two-layer network of
    the seed document.

    Args:
        name: Names checkpoint and runs: {root}/{name}/{subject}/{name}.ckpt.
        hidden: Width of the hidden layers.
        n_blocks: Residual blocks between first and last layer; 0 is the two-layer network.
        dropout: Share of hidden units dropped.
        input_dropout: Share of voxels dropped.
        linear_path: Add a linear map from voxels to embedding beside the layers.
        initial: Ridge checkpoint to start from, fitted on the same inputs and pictures: the linear path starts as it
            is, the hidden units as mixtures of its outputs; null starts at random.
        cosine_weight: Weight of one minus cosine.
        mse_weight: Weight of the mean squared error.
        contrast_weight: Weight of the contrastive loss: raises retrieval and lowers the cosine.
        contrast: "info_nce", "softclip", or "bimixco_softclip" (mixed voxels for the first part of the fit, then
            SoftCLIP; MindEye1).
        mixco_share: Share of the steps with mixed voxels.
        temperature: Temperature of InfoNCE and BiMixCo.
        soft_temperature: Temperature of SoftCLIP at its first and last step.
        optimizer: Optimiser class and arguments.
        scheduler: Learning-rate scheduler, stepped once an epoch; null for none.
        schedule: "one_cycle" warms the rate up to the optimiser's over a tenth of all steps and anneals it to nearly
            nothing at the last one; "constant" leaves it to ``scheduler``.
        root: Folder of all checkpoints.
    """

    name = "mlp"

    def __init__(
        self,
        name: str = "mlp",
        hidden: int = 1024,
        n_blocks: int = 0,
        dropout: float = 0.1,
        input_dropout: float = 0.0,
        linear_path: bool = False,
        initial: str | None = None,
        cosine_weight: float = 1.0,
        mse_weight: float = 0.5,
        contrast_weight: float = 0.0,
        contrast: Contrast = "info_nce",
        mixco_share: float = 1 / 3,
        temperature: float = 0.07,
        soft_temperature: tuple[float, float] = (0.05, 0.1),
        optimizer: OptimizerCallable = torch.optim.AdamW,
        scheduler: LRSchedulerCallable | None = None,
        schedule: Literal["constant", "one_cycle"] = "constant",
        root: str = "checkpoints",
    ) -> None:
        super().__init__(root)
        if NAMES.fullmatch(name) is None or name == "ridge":
            raise UsageError(f"name is made of a-z, 0-9 and _, and is not ridge; got {name!r}")
        if initial is not None and not linear_path:
            raise UsageError("initial starts the linear path: set linear_path: true with it")
        if scheduler is not None and schedule != "constant":
            raise UsageError("give a scheduler, or schedule: one_cycle, not both")
        # Callables stay out: a function in the checkpoint would not load with weights_only=True.
        self.save_hyperparameters(ignore=["optimizer", "scheduler"])
        self.name, self.initial = name, initial
        self.architecture: dict[str, Any] = {
            "hidden": hidden,
            "n_blocks": n_blocks,
            "dropout": dropout,
            "input_dropout": input_dropout,
            "linear_path": linear_path,
        }
        low, high = soft_temperature
        self.objective = Objective(
            cosine_weight, mse_weight, contrast_weight, contrast, mixco_share, temperature, (low, high)
        )
        self.optimizer, self.scheduler, self.schedule = optimizer, scheduler, schedule

    def map_description(self) -> dict[str, Any]:
        """Describe the network."""
        widths = {"n_features": self.data.n_features, "n_outputs": len(self.data.target_mean)}
        return {"kind": "network", **widths, **self.architecture}

    def build(self) -> NetworkMap:
        """Build the network and store the statistics of the training targets in it."""
        network = NetworkMap(self.data.n_features, len(self.data.target_mean), **self.architecture)
        network.set_target_statistics(self.data.target_mean, self.data.target_std)
        if self.initial is not None and self.trainer.training:
            network.start_from(self._ridge(), self.data.train_rows().features[:ROWS_TO_SCALE_BY])
        return network

    def _ridge(self) -> LinearMap:
        """Load the ridge to start from; one that saw other pictures would leak them."""
        assert self.initial is not None
        encoder, what = load_encoder(self.initial), f"ridge {self.initial}"
        require_inputs(encoder.inputs, self.data.inputs, what)
        saw = read_checkpoint(Path(self.initial), "encoder")["fmri_lightning"].get("fitted_on")
        if saw != record_of_stimuli(self.data.train_ids):
            raise BadInputError(f"{what} was fitted on other training pictures than this fit has; fit it with its fold")
        if not isinstance(encoder.predictor, LinearMap):
            raise BadInputError(f"{what} is no linear map; name a ridge checkpoint")
        self.fitted["started_from"] = encoder.content_hash
        return encoder.predictor

    def configure_optimizers(self) -> Any:
        """Build optimiser and scheduler over all trained parameters."""
        return optimizer_and_scheduler(self, self.optimizer, self.scheduler, self.schedule)

    @property
    def progress(self) -> float:
        """Share of the fit that is over, 0..1, by optimisation steps."""
        total = self.trainer.estimated_stepping_batches
        if not math.isfinite(total):
            raise UsageError("a schedule of the loss needs its end: set --trainer.max_epochs or --trainer.max_steps")
        return min(1.0, self.trainer.global_step / max(1.0, total))

    def on_train_epoch_start(self) -> None:
        """Make dropout a function of run and epoch, so that a resumed fit goes on as the interrupted one would."""
        torch.manual_seed(epoch_seed(self.current_epoch))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the weighted loss of one batch, the same on every rank."""
        network = self.predictor
        if not isinstance(network, NetworkMap):
            raise RuntimeError("the network was not built")
        share = Share(len(batch["nsd_ids"]), self.trainer.global_rank, self.trainer.world_size)
        share_rows(network, share)
        progress = self.progress if self.objective.contrast_weight else 0.0
        targets = network.standardise(batch["targets"])
        mixed = self.objective.mix(batch["features"], targets, batch["nsd_ids"], progress)
        predicted = share.gather(network.standardised(share.take(mixed.features)))
        terms = self.objective(predicted, mixed, targets, progress)
        for name, term in terms.items():
            self.log(f"train/{name}", term.detach(), on_step=False, on_epoch=True, batch_size=share.n_rows)
        return share.to_backward(terms["loss"])
