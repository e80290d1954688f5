"""Pictures for the training of generators: held in memory, taken by row, no loader in the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from fmri_lightning.embeddings.distillation_pictures import (
    PictureSet,
    heldout_pictures,
    photographs_folder,
    training_pictures,
)


def to_unit(pictures: Tensor) -> Tensor:
    """Turn uint8 (n, size, size, 3) into float32 (n, 3, size, size) in -1..1."""
    scaled = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1.0
    return scaled.contiguous(memory_format=torch.channels_last)


def from_unit(pictures: Tensor) -> Tensor:
    """Turn (n, 3, size, size) in -1..1 into uint8 (n, size, size, 3)."""
    return ((pictures.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class RandomRows:
    """Batches of random row numbers, an epoch a loop; step s of a run is the same after any resume.

    Attributes:
        n_rows: rows to choose from.
        batch_size: rows a step.
        n_steps: steps of an epoch.
        done: tells the optimiser steps done, whenever a loop starts.
        seed: of the choice.
    """

    n_rows: int
    batch_size: int
    n_steps: int
    done: Callable[[], int]
    seed: int

    def __len__(self) -> int:
        """Steps of the epoch."""
        return self.n_steps

    def __iter__(self) -> Iterator[Tensor]:
        """Yield int64 (batch_size,) row numbers."""
        first = self.done()
        for step in range(first, first + self.n_steps):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
            yield torch.randint(self.n_rows, (self.batch_size,), generator=generator)


@dataclass(frozen=True)
class PictureBatches:
    """Batches of pictures: random ones with random mirroring, or all in order.

    Attributes:
        pictures: uint8 (n, size, size, 3), on the device that trains.
        rows: which rows each batch takes; None takes all in order, 128 at a time.
    """

    pictures: Tensor
    rows: RandomRows | None = None

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.rows) if self.rows is not None else -(-len(self.pictures) // 128)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield uint8 (batch, size, size, 3)."""
        if self.rows is None:
            yield from self.pictures.split(128)
            return
        for rows in self.rows:
            batch = self.pictures[rows.to(self.pictures.device)]
            half = len(batch) // 2
            yield torch.cat([batch[:half].flip(2), batch[half:]])


class PictureDataModule(L.LightningDataModule):
    """Rendered scenes and, where given, photographs, for the autoencoder."""

    def __init__(
        self,
        cache_dir: str = "outputs/mini/cache",
        photographs: str | None = None,
        n_scenes: int = 16000,
        n_heldout_scenes: int = 500,
        picture_px: int = 64,
        batch_size: int = 32,
        steps_per_epoch: int = 100,
        seed: int = 0,
    ) -> None:
        """Remember the recipe.

        Args:
            cache_dir: where drawn scenes are kept.
            photographs: folder with train.tar and test.tar; None asks FMRI_LIGHTNING_PHOTOGRAPHS, and without it
                there are scenes only.
            n_scenes: training scenes.
            n_heldout_scenes: scenes for the held-out figures.
            picture_px: side of a picture, in pixels.
            batch_size: pictures a step.
            steps_per_epoch: steps between two evaluations and checkpoints.
            seed: seed of the order.
        """
        super().__init__()
        self.cache_dir, self.photographs = Path(cache_dir), photographs
        self.n_scenes, self.n_heldout_scenes, self.picture_px = n_scenes, n_heldout_scenes, picture_px
        self.batch_size, self.steps_per_epoch, self.seed = batch_size, steps_per_epoch, seed
        self.train: PictureSet | None = None
        self.heldout: PictureSet | None = None

    def setup(self, stage: str) -> None:
        """Read and draw the pictures.

        Args:
            stage: fit or validate; both need the same.
        """
        if self.train is None:
            folder = photographs_folder(self.photographs)
            self.train = training_pictures(folder, self.n_scenes, self.picture_px, self.cache_dir)
            self.heldout = heldout_pictures(folder, self.n_heldout_scenes, self.picture_px, self.cache_dir)

    def train_dataloader(self) -> PictureBatches:
        """Endless supply in epochs of ``steps_per_epoch`` batches, half of each batch mirrored."""
        assert self.train is not None
        trainer = self.trainer
        assert trainer is not None
        rows = RandomRows(
            len(self.train), self.batch_size, self.steps_per_epoch, lambda: trainer.global_step, self.seed
        )
        return PictureBatches(self._on_device(self.train), rows)

    def val_dataloader(self) -> PictureBatches:
        """Held-out pictures in order."""
        assert self.heldout is not None
        return PictureBatches(self._on_device(self.heldout))

    def _on_device(self, pictures: PictureSet) -> Tensor:
        assert self.trainer is not None
        return torch.from_numpy(pictures.pictures).to(self.trainer.strategy.root_device)

    def training_sample(self, n: int) -> Tensor:
        """Return n training pictures spread over the set, uint8 (n, size, size, 3)."""
        assert self.train is not None
        rows = torch.linspace(0, len(self.train) - 1, min(n, len(self.train))).long()
        return torch.from_numpy(self.train.pictures)[rows]
