"""AdapterDataModule: pairs of source and target embeddings of one subject's pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from fmri_lightning.adapter.mixing import MixedSources, open_out_of_fold
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.encoder.batches import TensorBatches
from fmri_lightning.encoder.data import space_of_training
from fmri_lightning.encoder.out_of_fold import OutOfFold
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.prediction_only import require_fitting_index
from fmri_lightning.index.table import index_manifest, read_index
from fmri_lightning.records import EmbeddingSpace, TrialTable, require_embeddings


@dataclass(frozen=True)
class EmbeddingPairs:
    """Embeddings of the same pictures in two spaces, raw.

    Attributes:
        source: (n, n_source) float32.
        target: (n, n_target) float32.
        nsd_ids: (n,) int32, ascending, each picture once.
    """

    source: Tensor
    target: Tensor
    nsd_ids: NDArray[np.int32]


class AdapterDataModule(LightningDataModule):
    """Pairs the embeddings of one subject's pictures in two spaces, by the split stored in the index.

    Fitting sees pictures of train and val; test pictures are read for the report that follows a fit.

    Args:
        index_root: Folder of the index.
        clip_cache: Source embeddings, the space of the encoder's output.
        target_cache: Target embeddings, the space of the generator's input.
        subject: For instance subj01.
        batch_size: Pictures per optimisation step, over all devices together.
        out_of_fold: Folder of an encoder's out-of-fold predictions (``out_of_fold`` beside its checkpoint), which
            take the place of some true sources in training; null trains on true sources alone.
        out_of_fold_share: Share of the training pictures of an epoch whose source is the prediction.
        betas: Beta store, for the report's comparison from voxels; null leaves it out.
        preproc: Preprocessing, for the same; null leaves it out.
    """

    def __init__(
        self,
        index_root: str = "outputs/nsd_index",
        clip_cache: str = "outputs/clip_cache/clip.parquet",
        target_cache: str = "outputs/clip_cache/vit-h-14.parquet",
        subject: str = "subj01",
        batch_size: int = 256,
        out_of_fold: str | None = None,
        out_of_fold_share: float = 0.5,
        betas: str | None = None,
        preproc: str | None = None,
    ) -> None:
        super().__init__()
        if not 0 < out_of_fold_share <= 1:
            raise UsageError(
                f"out_of_fold_share lies above 0 and up to 1, got {out_of_fold_share}; "
                "to train on true sources alone leave out_of_fold unset"
            )
        self.index_root, self.subject, self.batch_size = Path(index_root), subject, batch_size
        self.clip_cache, self.target_cache = Path(clip_cache), Path(target_cache)
        self.out_of_fold = None if out_of_fold is None else Path(out_of_fold)
        self.out_of_fold_share = out_of_fold_share
        self.betas = None if betas is None else Path(betas)
        self.preproc = None if preproc is None else Path(preproc)
        self.inputs: dict[str, str] = {}
        self.simulated = False
        self._predicted: OutOfFold | None = None
        self._opened: tuple[TrialTable, EmbeddingCache, EmbeddingCache] | None = None
        self._spaces: tuple[EmbeddingSpace, EmbeddingSpace] | None = None

    def setup(self, stage: str) -> None:
        """Open index and caches and check that they hold every picture.

        Args:
            stage: Any; nothing differs between stages.

        Raises:
            BadInputError: If an input is missing or damaged, a split is empty, a cache lacks pictures or holds
                latents, or out-of-fold predictions are of other pictures, inputs or another space.
        """
        if self._spaces is not None:
            return
        index = index_manifest(self.index_root, self.subject)
        require_fitting_index(index)
        table = read_index(self.index_root, self.subject)
        source, target = EmbeddingCache.open(self.clip_cache), EmbeddingCache.open(self.target_cache)
        for cache in (source, target):
            require_embeddings(cache.space, f"cache {cache.path}")
        for split in ("train", "val", "test"):
            ids = np.unique(table.nsd_id[table.split == split])
            if len(ids) == 0:
                raise BadInputError(
                    f"the {split} split of {self.subject} in {self.index_root} is empty; "
                    "index more sessions: fmri-lightning index"
                )
            for cache in (source, target):
                cache.row_numbers(ids)
        self.simulated = bool(index.config.get("simulated", False))
        self.inputs = {
            "split": str(index.config["split_hash"]),
            "clip_cache": source.content_hash,
            "target_cache": target.content_hash,
        }
        train = table.of_split("train")
        if self.out_of_fold is not None:
            made_from = {name: self.inputs[name] for name in ("split", "clip_cache")}
            self._predicted = open_out_of_fold(
                self.out_of_fold, self.subject, train.nsd_id, made_from, source.space, f"clip cache {self.clip_cache}"
            )
            self.inputs["out_of_fold"] = self._predicted.content_hash
        self._opened = table, source, target
        self._spaces = space_of_training(source, train), space_of_training(target, train)

    def pairs(self, split: Literal["train", "val", "test"]) -> EmbeddingPairs:
        """Read the pairs of one split, each picture once."""
        if self._opened is None:
            raise RuntimeError("the data module was not set up; call setup('fit') first")
        table, source, target = self._opened
        ids = np.unique(table.nsd_id[table.split == split])
        return EmbeddingPairs(torch.from_numpy(source.rows(ids)), torch.from_numpy(target.rows(ids)), ids)

    def targets_of(self, nsd_ids: NDArray[np.integer]) -> NDArray[np.float32]:
        """Read the true target embeddings of pictures (n,), repeats allowed: (n, n_target)."""
        if self._opened is None:
            raise RuntimeError("the data module was not set up; call setup('fit') first")
        return self._opened[2].rows(nsd_ids)

    @property
    def source_space(self) -> EmbeddingSpace:
        """Space of the input; its statistics are those of the training pictures."""
        return self._both_spaces()[0]

    @property
    def target_space(self) -> EmbeddingSpace:
        """Space of the output; its statistics are those of the training pictures."""
        return self._both_spaces()[1]

    @property
    def target_mean(self) -> Tensor:
        """Mean raw target of the training pictures, (n_target,)."""
        return torch.tensor(self.target_space.mean)

    @property
    def target_std(self) -> Tensor:
        """Standard deviation per dimension of the training targets (ddof 0), (n_target,)."""
        return torch.tensor(self.target_space.std)

    @property
    def train_ids(self) -> NDArray[np.int32]:
        """Pictures of the training pairs."""
        return self.pairs("train").nsd_ids

    @property
    def val_ids(self) -> NDArray[np.int32]:
        """Picture of each validation row."""
        return self.pairs("val").nsd_ids

    @property
    def predicted(self) -> OutOfFold | None:
        """Out-of-fold predictions of the training pictures, in the order of their pairs; None where none are named."""
        return self._predicted

    def train_dataloader(self) -> TensorBatches | MixedSources:
        """Shuffled batches of ``features`` (source), ``targets`` and ``nsd_ids``, whole on every rank."""
        trainer, tensors = self.trainer, self._on_device("train")

        def epoch() -> int:
            return 0 if trainer is None else trainer.current_epoch

        if self._predicted is None:
            return TensorBatches(tensors, self.batch_size, epoch)
        predicted = torch.from_numpy(self._predicted.predictions).to(tensors["features"].device)
        return MixedSources(tensors, predicted, self.out_of_fold_share, self.batch_size, epoch)

    def val_dataloader(self) -> TensorBatches:
        """Validation batches in order; every rank takes them all, so that each picture counts once."""
        return TensorBatches(self._on_device("val"), 1024)

    def _on_device(self, split: Literal["train", "val"]) -> dict[str, Tensor]:
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        pairs = self.pairs(split)
        tensors = {"features": pairs.source, "targets": pairs.target, "nsd_ids": torch.from_numpy(pairs.nsd_ids)}
        return {name: tensor.to(device) for name, tensor in tensors.items()}

    def _both_spaces(self) -> tuple[EmbeddingSpace, EmbeddingSpace]:
        if self._spaces is None:
            raise RuntimeError("the data module was not set up; call setup('fit') first")
        return self._spaces
