"""AdapterModule: trains the adapter, and reports it against simpler maps when the fit is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from torch import Tensor

from fmri_lightning.adapter.data import AdapterDataModule
from fmri_lightning.adapter.losses import adapter_loss
from fmri_lightning.adapter.network import AdapterNetwork, Form
from fmri_lightning.adapter.voxels import Voxels, open_voxels
from fmri_lightning.encoder.base import EmbeddingModule
from fmri_lightning.encoder.batches import epoch_seed
from fmri_lightning.encoder.checkpoint import StageCheckpoint
from fmri_lightning.encoder.ranks import Share, share_rows
from fmri_lightning.encoder.schedule import optimizer_and_scheduler
from fmri_lightning.encoder.validation import embedding_scores
from fmri_lightning.errors import BadInputError, UsageError


class AdapterModule(EmbeddingModule):
    """From the encoder's embedding space to the generator's.

    Args:
        form: "linear", or "residual" for the linear map plus a residual MLP that starts at zero.
        layer_norm: Normalise the standardised output; restores the length that regression takes away.
        hidden: Width of the MLP; form residual only, as the two that follow.
        n_blocks: Residual blocks of the MLP.
        dropout: Share of its hidden units dropped in training.
        mse_weight: Weight w of the squared error in ``w MSE + (1 - w) (1 - cos)``.
        encoder_ckpt: Encoder for the report's comparison from voxels and for ``val/predicted_centred_cosine``, the
            score on what it predicts; also needs the data's betas and preproc. null leaves both out.
        optimizer: Optimiser class and arguments.
        scheduler: Learning-rate scheduler, stepped once an epoch; null for none.
        root: Folder of all checkpoints.
    """

    kind = "adapter"
    name = "clip_adapter"

    def __init__(
        self,
        form: Form = "linear",
        layer_norm: bool = True,
        hidden: int = 1024,
        n_blocks: int = 2,
        dropout: float = 0.1,
        mse_weight: float = 0.5,
        encoder_ckpt: str | None = None,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        scheduler: LRSchedulerCallable | None = None,
        root: str = "checkpoints",
    ) -> None:
        super().__init__(root)
        if not 0 <= mse_weight <= 1:
            raise UsageError(f"mse_weight lies in 0..1, got {mse_weight}")
        if hidden < 1 or n_blocks < 1 or not 0 <= dropout < 1:
            raise UsageError(
                f"hidden and n_blocks start at 1 and dropout lies in 0..1, got {hidden}, {n_blocks} and {dropout}"
            )
        # Callables stay out: a function in the checkpoint would not load with weights_only=True.
        self.save_hyperparameters(ignore=["optimizer", "scheduler"])
        self.form, self.layer_norm, self.mse_weight = form, layer_norm, mse_weight
        self.mlp: dict[str, Any] = {"hidden": hidden, "n_blocks": n_blocks, "dropout": dropout}
        self.encoder_ckpt = encoder_ckpt
        self.voxels: Voxels | None = None
        self._val_sources: tuple[Tensor, NDArray[np.int32]] | None = None
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
        widths = {"n_source": data.source_space.dim, "n_target": data.target_space.dim, "layer_norm": self.layer_norm}
        return widths if self.form == "linear" else {**widths, "form": self.form, **self.mlp}

    def setup(self, stage: str) -> None:
        """Open what the report will compare with, so that a wrong file ends the fit before it starts.

        Args:
            stage: Only "fit" is followed by a report.

        Raises:
            UsageError: If some of encoder_ckpt, betas and preproc are named and others are not.
            BadInputError: If they are not of the subject, split and source embeddings at hand.
        """
        data = self.data
        if data.betas is None and data.preproc is None and self.encoder_ckpt is None:
            return
        if data.betas is None or data.preproc is None or self.encoder_ckpt is None:
            raise UsageError(
                "the comparison from voxels needs --data.betas, --data.preproc and --model.encoder_ckpt; "
                "name all three or none"
            )
        if stage == "fit":
            self.voxels = open_voxels(
                self.encoder_ckpt, data.index_root, data.betas, data.preproc, data.clip_cache, data.subject
            )
            self._val_sources = self.voxels.predicted("val")

    def build(self) -> AdapterNetwork:
        """Build the network and store the statistics of the training pictures in it."""
        network = AdapterNetwork(**self.network_arguments())
        network.set_statistics(self.data.pairs("train").source, self.data.target_mean, self.data.target_std)
        return network

    def describe(self) -> dict[str, Any]:
        """Describe network and spaces in plain types."""
        data = self.data
        described = {
            "network": self.network_arguments(),
            "source_space": data.source_space.to_json(),
            "target_space": data.target_space.to_json(),
            "simulated": data.simulated,
        }
        return described if data.predicted is None else {**described, "out_of_fold_share": data.out_of_fold_share}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with a checkpoint that was trained on other sources."""
        super().on_load_checkpoint(checkpoint)
        stored = checkpoint["fmri_lightning"]
        if self._trainer is None:
            return
        then, now = (
            stored.get("out_of_fold_share"),
            None if self.data.predicted is None else self.data.out_of_fold_share,
        )
        if then is not None and now is None:
            raise BadInputError(
                "--ckpt_path was trained on out-of-fold predictions; name their folder with --data.out_of_fold"
            )
        if then != now:
            raise UsageError(
                f"--ckpt_path was trained with out_of_fold_share {then}, this run has {now}; "
                "give the same, or fit again without --ckpt_path"
            )

    def configure_optimizers(self) -> Any:
        """Build the optimiser, and the scheduler if one is given; it steps once an epoch."""
        return optimizer_and_scheduler(self, self.optimizer, self.scheduler)

    def on_train_epoch_start(self) -> None:
        """Make dropout a function of run and epoch, so that a resumed fit goes on as the interrupted one would."""
        torch.manual_seed(epoch_seed(self.current_epoch))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one batch; ranks share its rows out and each takes the loss over all of them."""
        network, targets = self.predictor, batch["targets"]
        if not isinstance(network, AdapterNetwork):
            raise RuntimeError("the network was not built")
        share = Share(len(targets), self.trainer.global_rank, self.trainer.world_size)
        share_rows(network, share)
        predicted = share.gather(network.standardised(share.take(batch["features"])))
        loss = adapter_loss(network, predicted, targets, self.mse_weight)
        self.log("train/loss", loss.detach(), on_step=False, on_epoch=True, batch_size=len(targets))
        return share.to_backward(loss)

    def on_validation_epoch_end(self) -> None:
        """Log the scores on true sources and, where an encoder is named, on its predictions for the same pictures."""
        super().on_validation_epoch_end()
        if self._val_sources is None or self.trainer.sanity_checking:
            return
        source, ids = self._val_sources
        predicted = self(source.to(self.device)).float().cpu().numpy()
        scores = embedding_scores(predicted, self.data.targets_of(ids), self.data.target_mean.numpy(), ids)
        self.log("val/predicted_centred_cosine", scores["centred_cosine"], batch_size=len(ids), sync_dist=True)

    @rank_zero_only
    def on_fit_end(self) -> None:
        """Write the report of the checkpoint that was kept; test pictures are read here and not before."""
        from fmri_lightning.adapter.report import headline, write_report

        checkpoint = self.trainer.checkpoint_callback
        if not isinstance(checkpoint, StageCheckpoint) or not Path(checkpoint.best_model_path).is_file():
            return
        settings = {**self.network_arguments(), "mse_weight": self.mse_weight, "batch_size": self.data.batch_size}
        settings |= {"max_epochs": self.trainer.max_epochs, "epochs": self.trainer.current_epoch}
        print(headline(*write_report(Path(checkpoint.best_model_path), self.data, settings, self.voxels)))
