"""EncoderDataModule: betas of one subject paired with the embeddings of the pictures that were seen."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from fmri_lightning.betas.preprocess import Preprocess
from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.encoder.batches import TensorBatches
from fmri_lightning.encoder.folds import Fold, held_out, parse_fold
from fmri_lightning.encoder.repeats import SampledRepeats
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.prediction_only import require_fitting_index
from fmri_lightning.index.table import index_manifest, read_index
from fmri_lightning.manifest import read_manifest, require_input
from fmri_lightning.records import EmbeddingSpace, TrialTable

TrialMode = Literal["average", "average_outputs", "single"]
"""What one prediction is made from: the mean betas of a picture's repeats, its repeats one by one with their outputs
averaged, or one trial."""

TrainMode = Literal["single", "average", "sampled"]
"""What a training row is: a trial, the mean over a picture's repeats, or the mean over some of them, drawn in every
epoch."""

Value = TypeVar("Value")

PREPROCESS_ROWS = 1024
"""Trials that pass through the preprocessing at a time."""


@dataclass(frozen=True)
class EncoderRows:
    """Model input and target, one row each.

    Attributes:
        features: Preprocessed betas, (n, n_features) float32.
        targets: Raw embeddings of the pictures seen, (n, dim) float32.
        nsd_ids: Picture of each row, (n,) int32.
    """

    features: Tensor
    targets: Tensor
    nsd_ids: NDArray[np.int32]


class EncoderDataModule(LightningDataModule):
    """Pairs preprocessed betas with CLIP embeddings, by the split stored in the index.

    Fitting reads train and val trials and no other row of the store. Validation rows are made the way predict
    makes them (``trial_mode``), training rows are trials or means over repeats (``train_mode``).

    Attributes:
        inputs: Content hashes of "preproc", "split" and "clip_cache".
        held_out_fold: Training pictures that this fit leaves out and predicts in the end; None for none.

    Args:
        index_root: Folder of the index.
        betas: Beta store of the subject, or the folder of all subjects' stores.
        preproc: Preprocessing of the subject, or the folder of all subjects'.
        clip_cache: Embeddings of the pictures (target of the encoder).
        subject: For instance subj01.
        trial_mode: How predict will use repeats: average, average_outputs or single.
        train_mode: "single" trains on trials, the repeats of a picture as rows of their own; "average" on their
            means; "sampled" (networks) on the mean of a random subset of them, drawn anew in every epoch.
        batch_size: Rows per optimisation step, over all devices together.
        fold: For instance 2/5: hold out the second fifth of the training pictures and write out-of-fold predictions
            of them, beside the checkpoint of the whole; null trains on all. Preprocessing and target statistics stay
            those of all training pictures.
    """

    def __init__(
        self,
        index_root: str = "outputs/nsd_index",
        betas: str = "outputs/betas",
        preproc: str = "outputs/preproc",
        clip_cache: str = "outputs/clip_cache/clip.parquet",
        subject: str = "subj01",
        trial_mode: TrialMode = "average",
        train_mode: TrainMode = "single",
        batch_size: int = 256,
        fold: str | None = None,
    ) -> None:
        super().__init__()
        self.held_out_fold: Fold | None = None if fold is None else parse_fold(fold)
        self.index_root, self.betas, self.preproc = Path(index_root), Path(betas), Path(preproc)
        self.clip_cache, self.subject = Path(clip_cache), subject
        self.trial_mode, self.train_mode, self.batch_size = trial_mode, train_mode, batch_size
        self._space: EmbeddingSpace | None = None
        self.inputs: dict[str, str] = {}
        self.simulated = False
        self._train: EncoderRows | None = None
        self._val: EncoderRows | None = None
        self._left_out: EncoderRows | None = None

    def setup(self, stage: str) -> None:
        """Read, check and preprocess what a stage needs.

        Args:
            stage: "fit" for train and val rows, "validate" for val rows only.

        Raises:
            BadInputError: If an input is missing, empty, holds NaN, or was made from another index, store or split.
        """
        if self._val is not None and (stage != "fit" or self._train is not None):
            return
        table, store, transform, cache = self._open_checked()
        transform = transform.to(self._device())
        train, val = table.of_split("train"), table.of_split("val")
        for name, part in (("train", train), ("val", val)):
            if len(part) == 0:
                raise BadInputError(
                    f"the {name} split of {self.subject} in {self.index_root} is empty; "
                    "index more sessions: fmri-lightning index"
                )
        self._space = space_of_training(cache, train)
        self._val = make_rows(
            table, table.split == "val", store, transform, cache, averaged=self.trial_mode == "average"
        )
        if stage == "fit":
            self._make_train_rows(table, store, transform, cache)

    def _make_train_rows(
        self, table: TrialTable, store: BetaStore, transform: Preprocess, cache: EmbeddingCache
    ) -> None:
        averaged, train = self.train_mode == "average", table.split == "train"
        if self.held_out_fold is None:
            self._train = make_rows(table, train, store, transform, cache, averaged)
            return
        out = train & np.isin(table.nsd_id, held_out(table.nsd_id[train], self.held_out_fold))
        self._train = make_rows(table, train & ~out, store, transform, cache, averaged)
        self._left_out = make_rows(table, out, store, transform, cache, self.trial_mode == "average")

    def _open_checked(self) -> tuple[TrialTable, BetaStore, Preprocess, EmbeddingCache]:
        """Open all inputs; refuse those that do not belong together, before any row is read."""
        index = index_manifest(self.index_root, self.subject)
        require_fitting_index(index)
        split = str(index.config["split_hash"])
        store = BetaStore.open(subject_folder(self.betas, self.subject))
        again = f"fmri-lightning betas --subject {self.subject}"
        require_input(store.manifest, "index", index.content_hash, again)
        folder = subject_folder(self.preproc, self.subject)
        preproc = read_manifest(folder, "preproc")
        require_input(preproc, "betas", store.manifest.content_hash, again)
        require_input(preproc, "split", split, again)
        transform, cache = Preprocess.load(folder), EmbeddingCache.open(self.clip_cache)
        table = read_index(self.index_root, self.subject)
        if store.betas.shape != (len(table), transform.n_voxels):
            raise BadInputError(
                f"beta store of {self.subject} is {store.betas.shape}, the index has {len(table)} trials and the "
                f"preprocessing expects {transform.n_voxels} voxels; run again: {again}"
            )
        self.simulated = bool(store.manifest.config.get("simulated", False))
        self.inputs = {"preproc": transform.content_hash, "split": split, "clip_cache": cache.content_hash}
        return table, store, transform.eval(), cache

    @property
    def n_features(self) -> int:
        """Width of the model's input."""
        return int(self.val_rows().features.shape[1])

    @property
    def space(self) -> EmbeddingSpace:
        """Embedding space of the target; mean and standard deviation are those of the training pictures."""
        return _ready(self._space)

    @property
    def target_mean(self) -> Tensor:
        """Mean raw embedding of the training pictures, each counted once, (dim,)."""
        return torch.tensor(self.space.mean)

    @property
    def target_std(self) -> Tensor:
        """Standard deviation per dimension over the training pictures (ddof 0), (dim,)."""
        return torch.tensor(self.space.std)

    @property
    def train_ids(self) -> NDArray[np.int32]:
        """Pictures of the training rows, one per row."""
        return self.train_rows().nsd_ids

    @property
    def val_ids(self) -> NDArray[np.int32]:
        """Picture of each validation row."""
        return self.val_rows().nsd_ids

    def train_rows(self) -> EncoderRows:
        """Training rows; trials, or means over repeats with ``train_mode="average"``."""
        return _ready(self._train)

    def val_rows(self) -> EncoderRows:
        """Validation rows: one per picture in mode average, else one per trial."""
        return _ready(self._val)

    def left_out_rows(self) -> EncoderRows:
        """Rows of the pictures that ``fold`` holds out, made as validation rows are."""
        return _ready(self._left_out)

    def train_dataloader(self) -> TensorBatches | SampledRepeats:
        """Shuffled batches of ``features``, ``targets`` and ``nsd_ids`` on the device, whole on every rank."""
        trainer = self.trainer
        rows = self._on_device(self.train_rows())

        def epoch() -> int:
            return 0 if trainer is None else trainer.current_epoch

        if self.train_mode == "sampled":
            return SampledRepeats(**rows, batch_size=self.batch_size, epoch=epoch)
        return TensorBatches(rows, self.batch_size, epoch)

    def val_dataloader(self) -> TensorBatches:
        """Validation batches in order; every rank takes them all, so that each picture counts once."""
        return TensorBatches(self._on_device(self.val_rows()), PREPROCESS_ROWS)

    def _on_device(self, rows: EncoderRows) -> dict[str, Tensor]:
        device = self._device()
        tensors = {"features": rows.features, "targets": rows.targets, "nsd_ids": torch.from_numpy(rows.nsd_ids)}
        return {name: tensor.to(device) for name, tensor in tensors.items()}

    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device


def subject_folder(path: Path, subject: str) -> Path:
    """Find a subject's artefact: the folder itself when it holds a manifest, else the one named after the subject."""
    return path if (path / "manifest.json").is_file() else path / subject


def space_of_training(cache: EmbeddingCache, train: TrialTable) -> EmbeddingSpace:
    """Describe a cache's space by the statistics of the training pictures, each counted once.

    The cache's own statistics are over all of its pictures, test pictures too.

    Args:
        cache: Holds every training picture.
        train: Trials of the train split.

    Returns:
        The space with mean, standard deviation and median norm replaced.

    Raises:
        BadInputError: If a training picture is not in the cache.
    """
    vectors = cache.rows(np.unique(train.nsd_id)).astype(np.float64)
    return dataclasses.replace(
        cache.space,
        mean=tuple(vectors.mean(axis=0).tolist()),
        std=tuple(vectors.std(axis=0).tolist()),
        median_norm=float(np.median(np.linalg.norm(vectors, axis=1))),
    )


def make_rows(
    table: TrialTable,
    mask: NDArray[np.bool_],
    store: BetaStore,
    transform: Preprocess,
    cache: EmbeddingCache,
    averaged: bool,
) -> EncoderRows:
    """Preprocess trials of one split and pair them with the embeddings of the pictures seen.

    Args:
        table: Index.
        mask: The trials, (n_trials,).
        store: Betas, a row a trial.
        transform: Preprocessing, in evaluation mode.
        cache: Embeddings of the pictures.
        averaged: Whether a row is the mean over a picture's repeats, averaged before preprocessing as predict does it.

    Returns:
        The rows; by ascending picture where they are means.

    Raises:
        BadInputError: If a preprocessed beta is NaN or infinite.
    """
    rows = np.flatnonzero(mask)
    ids = table.nsd_id[rows]
    # Whole pictures per block, so that averaging sees all repeats of a picture.
    order = rows[np.argsort(ids, kind="stable")] if averaged else rows
    device = next((buffer.device for buffer in transform.buffers()), torch.device("cpu"))
    features, nsd_ids = [], []
    for block in _blocks_of_whole_pictures(table.nsd_id[order], PREPROCESS_ROWS):
        betas = torch.from_numpy(np.asarray(store.betas[order[block]], dtype=np.float32))
        block_ids = table.nsd_id[order[block]]
        if averaged:
            block_ids, betas = average_repeats(betas, block_ids)
        with torch.no_grad():
            features.append(transform(betas.to(device)).cpu())
        nsd_ids.append(block_ids)
    all_features = torch.cat(features)
    if not torch.isfinite(all_features.sum(dtype=torch.float64)):
        raise BadInputError(
            f"the preprocessed betas of the {table.split[rows[0]]} split hold NaN or infinity; "
            "run again: fmri-lightning betas"
        )
    all_ids = np.concatenate(nsd_ids)
    return EncoderRows(all_features, torch.from_numpy(cache.rows(all_ids)), all_ids)


def _blocks_of_whole_pictures(ids: NDArray[np.int32], block_rows: int) -> list[slice]:
    """Cut rows into blocks of about ``block_rows`` that never part neighbouring rows of one picture."""
    first_rows = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    starts = [int(first_rows[0])]
    for row in first_rows:
        if row - starts[-1] >= block_rows:
            starts.append(int(row))
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True)]


def _ready(value: Value | None) -> Value:
    if value is None:
        raise RuntimeError("the data module was not set up; call setup('fit') first")
    return value
