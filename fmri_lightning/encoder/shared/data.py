"""SharedDataModule: several subjects, each opened as EncoderDataModule opens one."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from fmri_lightning.encoder.batches import TensorBatches
from fmri_lightning.encoder.data import PREPROCESS_ROWS, EncoderDataModule, EncoderRows, TrialMode
from fmri_lightning.encoder.shared.batches import BalancedBatches, SubjectBatches
from fmri_lightning.encoder.shared.reading import Reading, fit_reading
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.table import read_index
from fmri_lightning.records import EmbeddingSpace


class SharedDataModule(LightningDataModule):
    """Betas of several subjects paired with the embeddings of the pictures each has seen.

    Every subject is opened, checked and preprocessed as a fit of its own would do it, and its ridge is solved. Training
    rows are what that ridge reads of training pictures left out of it, validation rows are voxels. A training picture
    of one subject that is a validation or test picture of another is refused.

    Attributes:
        subject: "trunk", what stands where other fits name their subject.
        parts: One EncoderDataModule per subject, in alphabetical order.
        readings: After setup("fit"), the ridge of each subject.

    Args:
        index_root: Folder of the index.
        betas: Folder of all subjects' beta stores.
        preproc: Folder of all subjects' preprocessing.
        clip_cache: Embeddings of the pictures (target of the encoder), one file for all subjects.
        subjects: For instance [subj01, subj02]; their order changes nothing; null, no list, is refused.
        trial_mode: How predict will use repeats: average, average_outputs or single.
        train_mode: "single" fits each subject's ridge on trials, "average" on means over a picture's repeats.
        batch_size: Rows of each subject in an optimisation step, over all devices together.
    """

    def __init__(
        self,
        index_root: str = "outputs/nsd_index",
        betas: str = "outputs/betas",
        preproc: str = "outputs/preproc",
        clip_cache: str = "outputs/clip_cache/clip.parquet",
        subjects: list[str] | None = None,
        trial_mode: TrialMode = "average",
        train_mode: Literal["single", "average"] = "single",
        batch_size: int = 64,
    ) -> None:
        super().__init__()
        self.subject = "trunk"
        names = sorted(set(subjects or ()))
        if not names or len(names) != len(subjects or ()):
            raise UsageError(f"data.subjects names each subject once, for instance [subj01, subj02]; got {subjects}")
        if self.subject in names:
            raise UsageError(f"no subject of a shared network may be called {self.subject}")
        self.index_root, self.trial_mode, self.train_mode = Path(index_root), trial_mode, train_mode
        self.batch_size = batch_size
        self.parts = {
            name: EncoderDataModule(index_root, betas, preproc, clip_cache, name, trial_mode, train_mode, batch_size)
            for name in names
        }
        self.readings: dict[str, Reading] = {}

    def setup(self, stage: str) -> None:
        """Open all subjects.

        Args:
            stage: "fit" for train and val rows, "validate" for val rows only.

        Raises:
            BadInputError: An input of a subject is missing or does not belong, or a training picture of one subject
                is held out for another.
        """
        for part in self.parts.values():
            part.trainer = self.trainer
            part.setup(stage)
        self._require_apart()
        if stage == "fit" and not self.readings:
            self.readings = {name: fit_reading(part) for name, part in self.parts.items()}

    def _require_apart(self) -> None:
        tables = {name: read_index(self.index_root, name) for name in self.parts}
        for one, other in permutations(tables, 2):
            for split in ("val", "test"):
                seen, held = tables[one].of_split("train").nsd_id, tables[other].of_split(split).nsd_id
                both = np.intersect1d(seen, held)
                if len(both):
                    raise BadInputError(
                        f"{len(both)} training pictures of {one} are in the {split} split of {other} (nsd_id "
                        f"{', '.join(map(str, both[:5]))}); index both with one --split_file, or leave one out"
                    )

    @property
    def inputs(self) -> dict[str, str]:
        """Content hash of each input of each subject, for instance "subj01/preproc"."""
        return {f"{name}/{key}": value for name, part in self.parts.items() for key, value in part.inputs.items()}

    @property
    def reading_std(self) -> float:
        """Standard deviation of what ridges read of pictures left out, mean over subjects."""
        return sum(reading.std for reading in self.readings.values()) / len(self.readings)

    @property
    def simulated(self) -> bool:
        """Whether any subject is simulated."""
        return any(part.simulated for part in self.parts.values())

    @property
    def space(self) -> EmbeddingSpace:
        """Embedding space of the targets, without statistics: those belong to the subjects."""
        first = next(iter(self.parts.values())).space
        plain = {**json.loads(first.to_json()), "mean": None, "std": None, "median_norm": None}
        return EmbeddingSpace.from_json(plain)

    @property
    def target_mean(self) -> Tensor:
        """Mean over subjects of the mean raw target of their training pictures, (dim,)."""
        return torch.stack([part.target_mean for part in self.parts.values()]).mean(dim=0)

    @property
    def target_std(self) -> Tensor:
        """Mean over subjects of the standard deviation per dimension, (dim,)."""
        return torch.stack([part.target_std for part in self.parts.values()]).mean(dim=0)

    @property
    def train_ids(self) -> NDArray[np.int32]:
        """Pictures of all subjects' training rows."""
        return np.concatenate([part.train_ids for part in self.parts.values()])

    @property
    def val_ids(self) -> NDArray[np.int32]:
        """Picture of each validation row, one subject after the other."""
        return np.concatenate([part.val_ids for part in self.parts.values()])

    def train_dataloader(self) -> BalancedBatches:
        """Balanced batches by subject, whole on every rank: what ridges read of pictures they were not fitted on."""
        trainer, device = self.trainer, self._device()
        rows = {name: reading.rows(device) for name, reading in self.readings.items()}
        return BalancedBatches(rows, self.batch_size, lambda: 0 if trainer is None else trainer.current_epoch)

    def val_dataloader(self) -> SubjectBatches:
        """Validation batches of one subject after the other; every rank takes them all."""
        rows = {name: on_device(part.val_rows(), self._device()) for name, part in self.parts.items()}
        return SubjectBatches({name: TensorBatches(one, PREPROCESS_ROWS) for name, one in rows.items()})

    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device


def on_device(rows: EncoderRows, device: torch.device) -> dict[str, Tensor]:
    """Move rows to a device, as batches name them."""
    tensors = {"features": rows.features, "targets": rows.targets, "nsd_ids": torch.from_numpy(rows.nsd_ids)}
    return {name: tensor.to(device) for name, tensor in tensors.items()}


class NewSubjectDataModule(SharedDataModule):
    """One new subject, prepared as each subject of a shared network is.

    Args:
        index_root: Folder of the index; its sessions are the only ones that are read.
        betas: Beta store of the subject, or the folder of all subjects' stores.
        preproc: Preprocessing of the subject, or the folder of all subjects'.
        clip_cache: Embeddings of the pictures (target of the encoder).
        subject: For instance subj05.
        trial_mode: How predict will use repeats: average, average_outputs or single.
        train_mode: "single" fits the ridge on trials, "average" on means over a picture's repeats.
        batch_size: Pictures in an optimisation step, over all devices together.
    """

    def __init__(
        self,
        index_root: str = "outputs/nsd_index",
        betas: str = "outputs/betas",
        preproc: str = "outputs/preproc",
        clip_cache: str = "outputs/clip_cache/clip.parquet",
        subject: str = "subj01",
        trial_mode: TrialMode = "average",
        train_mode: Literal["single", "average"] = "single",
        batch_size: int = 64,
    ) -> None:
        super().__init__(index_root, betas, preproc, clip_cache, [subject], trial_mode, train_mode, batch_size)
        self.subject = subject
