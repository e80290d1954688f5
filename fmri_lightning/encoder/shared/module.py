"""SharedModule: the fit of one network on several subjects, which leaves an encoder for each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from fmri_lightning.encoder.checkpoint import StageCheckpoint
from fmri_lightning.encoder.network_module import MLPModule
from fmri_lightning.encoder.objective import Contrast
from fmri_lightning.encoder.ranks import share_rows
from fmri_lightning.encoder.shared.batches import StackedShare
from fmri_lightning.encoder.shared.data import SharedDataModule
from fmri_lightning.encoder.shared.export import export_encoders
from fmri_lightning.encoder.shared.network import SharedMap
from fmri_lightning.encoder.shared.trunk import BESIDE, beside_weights, describe_trunk
from fmri_lightning.encoder.stored import record_of_stimuli
from fmri_lightning.encoder.validation import validate_embeddings
from fmri_lightning.errors import UsageError


class SharedModule(MLPModule):
    """One network for several subjects: an input layer for each, one trunk for all.

    An input layer is the subject's ridge, solved, and a linear layer behind it that is trained with the trunk. Both
    learn from what each ridge reads of training pictures that were left out of it, which errs as it will err on new
    pictures. The loss is that of an encoder of one subject, averaged over the subjects of a step. The epoch that is
    kept is the one with the best mean over subjects of the centred cosine on val.

    Args:
        name: Names checkpoints and runs: {root}/{name}/trunk/{name}.ckpt, and for each subject an encoder as any
            other, {root}/{name}/{subject}/{name}.ckpt.
        hidden: Width of the trunk.
        n_blocks: Residual blocks of the trunk.
        dropout: Share of hidden units dropped.
        cosine_weight: Weight of one minus cosine.
        mse_weight: Weight of the mean squared error.
        contrast_weight: Weight of the contrastive loss, among rows of one subject.
        contrast: "info_nce", "softclip", or "bimixco_softclip".
        mixco_share: Share of the steps with mixed voxels.
        temperature: Temperature of InfoNCE and BiMixCo.
        soft_temperature: Temperature of SoftCLIP at its first and last step.
        optimizer: Optimiser class and arguments.
        scheduler: Learning-rate scheduler, stepped once an epoch; null for none.
        schedule: "one_cycle" warms the rate up to the optimiser's over a tenth of all steps and anneals it to nearly
            nothing at the last one; "constant" leaves it to ``scheduler``.
        root: Folder of all checkpoints.
    """

    kind = "trunk"

    def __init__(
        self,
        name: str = "shared",
        hidden: int = 512,
        n_blocks: int = 1,
        dropout: float = 0.3,
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
        super().__init__(
            name=name, hidden=hidden, n_blocks=n_blocks, dropout=dropout,
            cosine_weight=cosine_weight, mse_weight=mse_weight, contrast_weight=contrast_weight, contrast=contrast,
            mixco_share=mixco_share, temperature=temperature, soft_temperature=soft_temperature, optimizer=optimizer,
            scheduler=scheduler, schedule=schedule, root=root,
        )  # fmt: skip
        self.architecture = {k: v for k, v in self.architecture.items() if k != "linear_path"}
        self._scored: dict[str, list[tuple[Tensor, Tensor]]] = {}

    @property
    def data(self) -> SharedDataModule:  # type: ignore[override]
        """The data module of the running trainer."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, SharedDataModule):
            raise UsageError(f"{type(self).__name__} needs data of class SharedDataModule, got {type(data).__name__}")
        return data

    def checkpoint_path(self) -> Path:
        """Name the checkpoint of the trunk."""
        return self.path_of("trunk")

    def path_of(self, subject: str) -> Path:
        """Name the checkpoint of a subject's encoder."""
        return self.root / self.name / subject / f"{self.name}.ckpt"

    def build(self) -> SharedMap:  # type: ignore[override]
        """Build the network, with the statistics of each subject's training targets in it."""
        parts = self.data.parts
        widths = {subject: part.n_features for subject, part in parts.items()}
        network = SharedMap(widths, len(self.data.target_mean), self.architecture)
        for subject, part in parts.items():
            network.set_target_statistics(subject, part.target_mean, part.target_std)
            if self.trainer.training:
                network.set_ridge(subject, self.data.readings[subject])
        return network

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of one step, the mean over its subjects; the same on every rank."""
        network = self._network()
        n_rows = len(batch[network.subjects[0]]["nsd_ids"])
        share = StackedShare(len(network.subjects), n_rows, self.trainer.global_rank, self.trainer.world_size)
        share_rows(network.trunk, share)
        progress = self.progress if self.objective.contrast_weight else 0.0
        entered, read, mixed, targets = [], [], [], []
        for subject in network.subjects:
            rows = batch[subject]
            targets.append(network.standardise(subject, rows["targets"]))
            mixed.append(self.objective.mix(rows["features"], targets[-1], rows["nsd_ids"], progress))
            read.append(share.of_each.take(mixed[-1].features))
            entered.append(network.enter(subject, read[-1]))
        predicted = share.gather(network.finish(torch.cat(entered), torch.cat(read))).split(n_rows)
        terms = [self.objective(*one, progress) for one in zip(predicted, mixed, targets, strict=True)]
        for subject, one in zip(network.subjects, terms, strict=True):
            self._log_train(f"train/{subject}/loss", one["loss"], n_rows)
        means = {name: torch.stack([one[name] for one in terms]).mean() for name in terms[0]}
        for name, mean in means.items():
            self._log_train(f"train/{name}", mean, n_rows)
        return share.to_backward(means["loss"])

    def _log_train(self, name: str, value: Tensor, n_rows: int) -> None:
        self.log(name, value.detach(), on_step=False, on_epoch=True, batch_size=n_rows)

    def _network(self) -> SharedMap:
        if not isinstance(self.predictor, SharedMap):
            raise RuntimeError("the network was not built")
        return self.predictor

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Collect predictions of one batch of one subject."""
        subject, predictor = batch["subject"], self.predictor
        assert predictor is not None
        rows = predictor(subject, batch["features"]).float().cpu(), batch["targets"].cpu()
        self._scored.setdefault(subject, []).append(rows)

    def on_validation_epoch_end(self) -> None:
        """Log the scores of each subject, their means, and the lowest lower bound of the centred cosine."""
        scored, self._scored = self._scored, {}
        if self.trainer.sanity_checking:
            return
        found = {subject: self._scores_of(subject, rows) for subject, rows in scored.items()}
        for subject, one in found.items():
            for key in ("centred_cosine", "two_way"):
                self._log_val(f"val/{subject}/{key}", one[key])
        for key in next(iter(found.values())):
            values = [one[key] for one in found.values()]
            # Above 0 where every subject's encoder has been shown to beat the mean training embedding.
            value = min(values) if key == "centred_cosine_low" else sum(values) / len(values)
            self._log_val(f"val/{key}", value, prog_bar=key == "centred_cosine")

    def _scores_of(self, subject: str, outputs: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
        from fmri_lightning.betas.rows import average_repeats

        predicted, true = (torch.cat(parts).numpy() for parts in zip(*outputs, strict=True))
        part = self.data.parts[subject]
        ids = part.val_ids[: len(predicted)]
        if self.data.trial_mode == "average_outputs":
            true, (ids, predicted) = average_repeats(true, ids)[1], average_repeats(predicted, ids)
        scored = validate_embeddings(predicted, true, part.target_mean.numpy(), ids)
        return {**scored.scores, "centred_cosine_low": scored.centred.low}

    def _log_val(self, name: str, value: float, prog_bar: bool = False) -> None:
        self.log(name, value, batch_size=1, sync_dist=True, prog_bar=prog_bar)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write what the trunk is, and whom and what it saw."""
        data = self.data
        checkpoint[BESIDE] = beside_weights(data.reading_std, data.train_ids, data.val_ids)
        description = {
            "kind": self.kind,
            "name": self.name,
            "subject": data.subject,
            "subjects": list(data.parts),
            "inputs": data.inputs,
            "fitted": self.fitted,
            "fitted_on": record_of_stimuli(data.train_ids),
            "space": data.space.to_json(),
            "architecture": self.architecture,
            "trial_mode": data.trial_mode,
            "train_mode": data.train_mode,
            "simulated": data.simulated,
        }
        checkpoint["fmri_lightning"] = describe_trunk(description, checkpoint)

    @rank_zero_only
    def on_fit_end(self) -> None:
        """Write an encoder and its report for every subject, from the epoch that was kept."""
        from fmri_lightning.encoder.report import tell_report

        checkpoint = self.trainer.checkpoint_callback
        if not isinstance(checkpoint, StageCheckpoint) or not Path(checkpoint.best_model_path).is_file():
            return
        settings = self.settings()
        for subject, path in export_encoders(
            Path(checkpoint.best_model_path), self.kind, self.data, self.path_of
        ).items():
            print(path)
            tell_report(path, self.data.parts[subject], settings)
