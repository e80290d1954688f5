"""What every map onto embeddings shares: scores of validation, and a checkpoint that says what it is."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from numpy.typing import NDArray
from torch import Tensor, nn

from fmri_lightning.encoder.batches import run_seed
from fmri_lightning.encoder.stored import describe_state, part_of_state, record_of_stimuli, require_inputs
from fmri_lightning.encoder.validation import validate_embeddings
from fmri_lightning.errors import BadInputError, UsageError


class EmbeddingData(Protocol):
    """What a map onto embeddings asks of its data module.

    Attributes:
        subject: For instance "subj01".
        inputs: Content hash of each input.
    """

    subject: str
    inputs: dict[str, str]

    @property
    def target_mean(self) -> Tensor:
        """Mean raw target over the training pictures, (dim,)."""

    @property
    def target_std(self) -> Tensor:
        """Standard deviation per dimension over the training pictures, (dim,)."""

    @property
    def train_ids(self) -> NDArray[np.int32]:
        """Pictures of the training rows."""

    @property
    def val_ids(self) -> NDArray[np.int32]:
        """Picture of each validation row."""


class EmbeddingModule(LightningModule, ABC):
    """A map onto raw embeddings; encoders and adapters.

    Batches hold ``features``, raw ``targets`` and ``nsd_ids``.

    Attributes:
        kind: "encoder" or "adapter".
        name: Word for messages.
        predictor: Maps features to raw embeddings; built when the data are known.
        root: Folder of all checkpoints.
        fitted: What the fit found, plain types; goes into the checkpoint.
    """

    kind: str = ""
    name: str = ""

    def __init__(self, root: str = "checkpoints") -> None:
        super().__init__()
        self.root = Path(root)
        self.predictor: nn.Module | None = None
        self.fitted: dict[str, Any] = {}
        self._outputs: list[tuple[Tensor, Tensor]] = []

    @property
    @abstractmethod
    def data(self) -> EmbeddingData:
        """The data module of the running trainer."""

    @abstractmethod
    def build(self) -> nn.Module:
        """Build the map for the data at hand."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Describe map and spaces in plain types, enough to build the map again."""

    @abstractmethod
    def checkpoint_path(self) -> Path:
        """Name the checkpoint file under the root of all checkpoints."""

    def __deepcopy__(self, memo: dict[int, Any]) -> EmbeddingModule:
        # Averaged weights are kept in a copy of the module. Only weights are copied: the command line's callables
        # hold on to its parser, and with several ranks that cannot be copied.
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        weights = ("_parameters", "_buffers", "_modules")
        state = self.__getstate__()
        copied.__dict__ = {key: copy.deepcopy(value, memo) if key in weights else value for key, value in state.items()}
        return copied

    def configure_model(self) -> None:
        """Build the map once; its first weights depend on the run's seed and on nothing drawn before."""
        if self.predictor is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(run_seed())
                self.predictor = self.build()

    def forward(self, features: Tensor) -> Tensor:
        """Map features (n, n_features) to raw embeddings (n, dim)."""
        if self.predictor is None:
            raise RuntimeError("the map was not built; it needs the widths that the data module knows")
        result: Tensor = self.predictor(features)
        return result

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Collect predictions of one batch."""
        self._outputs.append((self(batch["features"]).float().cpu(), batch["targets"].cpu()))

    def scored_rows(
        self, predicted: NDArray[np.float32], true: NDArray[np.float32], nsd_ids: NDArray[np.int32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
        """Turn rows of the validation set into rows that are scored; one and the same unless overridden."""
        return predicted, true, nsd_ids

    def on_validation_epoch_end(self) -> None:
        """Log the scores over all validation pictures."""
        predicted, true = (torch.cat(parts).numpy() for parts in zip(*self._outputs, strict=True))
        self._outputs.clear()
        if self.trainer.sanity_checking:
            return
        # The rows of a limited validation are the first ones.
        rows = self.scored_rows(predicted, true, self.data.val_ids[: len(predicted)])
        found = validate_embeddings(rows[0], rows[1], self.data.target_mean.numpy(), rows[2])
        # Above 0 for a map that has been shown to beat the mean training embedding.
        scores = {**found.scores, "centred_cosine_low": found.centred.low}
        for key, value in scores.items():
            self.log(f"val/{key}", value, batch_size=len(rows[0]), sync_dist=True, prog_bar=key == "centred_cosine")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write what this map is, and the hashes of what it was fitted on."""
        description = {
            "kind": self.kind,
            "name": self.name,
            "subject": self.data.subject,
            "inputs": dict(self.data.inputs),
            "fitted": self.fitted,
            "fitted_on": record_of_stimuli(self.data.train_ids),
            **self.describe(),
        }
        checkpoint["fmri_lightning"] = describe_state(description, part_of_state(checkpoint, "predictor"))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with a checkpoint of another kind, split or input."""
        stored = checkpoint.get("fmri_lightning", {})
        if (stored.get("kind"), stored.get("name")) != (self.kind, self.name):
            raise UsageError(
                f"--ckpt_path holds {stored.get('name', 'no checkpoint of ours')}, this run fits {self.name}"
            )
        if self._trainer is not None:
            require_inputs(stored["inputs"], self.data.inputs, f"the checkpoint of {stored['subject']}")
            fitting = self.trainer.state.fn == TrainerFn.FITTING
            if fitting and stored.get("fitted_on") != record_of_stimuli(self.data.train_ids):
                raise BadInputError(
                    "--ckpt_path was fitted on other training pictures of the same split; resume a fold with its own "
                    "--data.fold, or fit again without --ckpt_path"
                )
        self.fitted = dict(stored["fitted"])
