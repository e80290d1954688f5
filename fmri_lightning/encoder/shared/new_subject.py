"""NewSubjectModule: a subject with few sessions enters a trunk that others have trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch.optim import Optimizer

from fmri_lightning.encoder.objective import Contrast
from fmri_lightning.encoder.schedule import optimizer_and_scheduler
from fmri_lightning.encoder.shared.data import NewSubjectDataModule
from fmri_lightning.encoder.shared.module import SharedModule
from fmri_lightning.encoder.shared.network import SharedMap
from fmri_lightning.encoder.shared.trunk import load_trunk, require_foreign
from fmri_lightning.errors import UsageError
from fmri_lightning.index.table import read_index


class NewSubjectModule(SharedModule):
    """A new subject's input layer in front of the trunk of a shared network.

    Everything but the trunk comes from the new subject's own sessions: preprocessing, target statistics, ridge, the
    epoch that is kept. The layer behind the ridge starts at the mean of those of the trunk's subjects. The trunk
    may wait for a share of the steps and then go along at a rate of its own.

    Args:
        trunk: Checkpoint of the shared network, for instance checkpoints/shared/trunk/shared.ckpt.
        name: Names checkpoint and runs: {root}/{name}/{subject}/{name}.ckpt.
        frozen_share: Share of the steps for which the trunk stays as it is, 0..1; 1 never changes it.
        trunk_rate: Share of the input layer's learning rate that the trunk gets after that; 0 or more.
        allow_own: Take a trunk that was trained on this very subject, and say so.
        dropout: Share of hidden units dropped.
        cosine_weight: Weight of one minus cosine.
        mse_weight: Weight of the mean squared error.
        contrast_weight: Weight of the contrastive loss.
        contrast: "info_nce", "softclip", or "bimixco_softclip".
        mixco_share: Share of the steps with mixed readings.
        temperature: Temperature of InfoNCE and BiMixCo.
        soft_temperature: Temperature of SoftCLIP at its first and last step.
        optimizer: Optimiser class and arguments.
        schedule: "one_cycle" or "constant".
        root: Folder of all checkpoints.
    """

    kind = "new_subject"

    def __init__(
        self,
        trunk: str,
        name: str = "new_subject",
        frozen_share: float = 1.0,
        trunk_rate: float = 0.1,
        allow_own: bool = False,
        dropout: float = 0.3,
        cosine_weight: float = 1.0,
        mse_weight: float = 0.5,
        contrast_weight: float = 0.0,
        contrast: Contrast = "info_nce",
        mixco_share: float = 1 / 3,
        temperature: float = 0.07,
        soft_temperature: tuple[float, float] = (0.05, 0.1),
        optimizer: OptimizerCallable = torch.optim.AdamW,
        schedule: Literal["constant", "one_cycle"] = "constant",
        root: str = "checkpoints",
    ) -> None:
        super().__init__(
            name=name, dropout=dropout, cosine_weight=cosine_weight, mse_weight=mse_weight,
            contrast_weight=contrast_weight, contrast=contrast, mixco_share=mixco_share, temperature=temperature,
            soft_temperature=soft_temperature, optimizer=optimizer, schedule=schedule, root=root,
        )  # fmt: skip
        if not 0 <= frozen_share <= 1 or trunk_rate < 0:
            raise UsageError(
                f"frozen_share lies in 0..1 and trunk_rate is not negative, got {frozen_share} and {trunk_rate}"
            )
        self.trunk_path, self.allow_own = trunk, allow_own
        self.frozen_share, self.trunk_rate = frozen_share, trunk_rate

    @property
    def data(self) -> NewSubjectDataModule:  # type: ignore[override]
        """The data module of the running trainer."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, NewSubjectDataModule):
            raise UsageError(
                f"{type(self).__name__} needs data of class NewSubjectDataModule, got {type(data).__name__}"
            )
        return data

    def checkpoint_path(self) -> Path:
        """Name the checkpoint that is trained on; the subject's encoder is made from it."""
        return self.path_of(self.data.subject).parent / "fit" / f"{self.name}.ckpt"

    def build(self) -> SharedMap:  # type: ignore[override]
        """Build the network around the trunk."""
        data = self.data
        trunk = load_trunk(self.trunk_path)
        space = next(iter(data.parts.values())).space
        require_foreign(trunk, data.subject, space, read_index(data.index_root, data.subject), self.allow_own)
        self.architecture = {**trunk.architecture, "dropout": self.architecture["dropout"]}
        if self.trainer.training:
            # A ridge of few trials reads faintly, and the trunk takes what is faint for noise.
            data.readings = {name: reading.scaled_to(trunk.reading_std) for name, reading in data.readings.items()}
        network = super().build()
        network.trunk.load_state_dict(trunk.layers)
        network.skip.load_state_dict(trunk.skip)
        network.start_inputs(trunk.input_weight, trunk.input_bias)
        self.fitted["trunk"] = {"content_hash": trunk.content_hash, "subjects": list(trunk.subjects)}
        if data.subject in trunk.subjects:
            self.fitted["trunk"]["trained_on_this_subject"] = True
            print(f"trunk {trunk.path} was trained on {data.subject} itself, as allowed: no low-data result")
        return network

    def configure_optimizers(self) -> Any:
        """Build the optimiser: the input layer at its rate, the trunk at a share of it."""
        network = self._network()

        def two_rates(parameters: Any) -> Optimizer:
            trunk = [*network.trunk.parameters(), *network.skip.parameters()]
            groups = [{"params": list(network.inputs.parameters())}, {"params": trunk}]
            built = self.optimizer(groups)
            built.param_groups[1]["lr"] *= self.trunk_rate
            return built

        return optimizer_and_scheduler(self, two_rates, None, self.schedule)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Leave the trunk alone while it is frozen: what has no gradient is not touched."""
        if self.trunk_rate > 0 and self.frozen_share < 1 and self.progress >= self.frozen_share:
            return
        for parameter in optimizer.param_groups[1]["params"]:
            parameter.grad = None
