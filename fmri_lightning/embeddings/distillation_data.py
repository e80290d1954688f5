"""Pictures and teacher embeddings of one mini encoder, all in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import lightning as L
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fmri_lightning.embeddings.distillation_neighbours import five_nearest_accuracy
from fmri_lightning.embeddings.distillation_pictures import (
    PictureSet,
    heldout_pictures,
    photographs_folder,
    training_pictures,
)
from fmri_lightning.embeddings.distillation_teacher import (
    fit_projection,
    load_teacher,
    teacher_features,
)
from fmri_lightning.manifest import atomic_path, content_hash

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class StepBatches:
    """Batches that depend on the step alone, so that a resumed run sees what it would have seen.

    Attributes:
        pictures: uint8 (n, size, size, 3), on the device that trains, as the targets are.
        targets: float16 (n + m, dim); the last m belong to the first m pictures mirrored.
        batch_size: pictures a step.
        n_steps: steps of an epoch.
        done: tells the optimiser steps done, whenever a loop over the batches begins: Lightning keeps one
            loader for all epochs, and a number taken once would show the first epoch's pictures for ever.
        seed: seed of the order.
    """

    pictures: Tensor
    targets: Tensor
    batch_size: int
    n_steps: int
    done: Callable[[], int]
    seed: int

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self.n_steps

    def __iter__(self) -> Iterator[Batch]:
        """Yield (uint8 pictures, float32 targets); every row of ``targets`` is equally likely."""
        n, first = len(self.pictures), self.done()
        for step in range(first, first + self.n_steps):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
            rows = torch.randint(len(self.targets), (self.batch_size,), generator=generator).to(self.pictures.device)
            pictures = self.pictures[rows % n]
            mirrored = (rows >= n)[:, None, None, None]
            yield torch.where(mirrored, pictures.flip(2), pictures), self.targets[rows].float()


@dataclass(frozen=True)
class HeldoutBatches:
    """Held-out pictures in order; not a list, which Lightning takes for many loaders.

    Attributes:
        pictures: uint8 (n, size, size, 3).
        targets: float32 (n, dim).
        batch_size: pictures at a time.
    """

    pictures: Tensor
    targets: Tensor
    batch_size: int = 256

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self.pictures) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield (uint8 pictures, float32 targets)."""
        size = self.batch_size
        return zip(self.pictures.split(size), self.targets.split(size), strict=True)


class DistillationDataModule(L.LightningDataModule):
    """Rendered scenes and photographs with the embeddings a teacher gives them.

    Teacher features are computed once and their projections kept in ``cache_dir`` under a hash of
    everything that decides them.
    """

    def __init__(
        self,
        teacher: Literal["efficientnet-lite0", "efficientnet-lite2"],
        dim: int,
        cache_dir: str = "outputs/mini/cache",
        photographs: str | None = None,
        n_scenes: int = 16000,
        n_heldout_scenes: int = 500,
        picture_px: int = 64,
        teacher_px: int = 192,
        quadrant_weight: float = 0.5,
        batch_size: int = 128,
        steps_per_epoch: int = 100,
        seed: int = 0,
    ) -> None:
        """Remember the recipe.

        Args:
            teacher: which EfficientNet-Lite.
            dim: width of the embedding.
            cache_dir: where the projected teacher features are kept.
            photographs: folder with train.tar and test.tar; None asks the environment variable
                FMRI_LIGHTNING_PHOTOGRAPHS, and without it there are scenes only.
            n_scenes: training scenes.
            n_heldout_scenes: scenes for the held-out figures.
            picture_px: side of a picture, in pixels.
            teacher_px: side to which the teacher's input is enlarged, in pixels.
            quadrant_weight: weight of the quadrants in the target.
            batch_size: pictures a step.
            steps_per_epoch: steps between two evaluations and checkpoints.
            seed: seed of order and projection.
        """
        super().__init__()
        self.teacher, self.dim, self.cache_dir = teacher, dim, Path(cache_dir)
        self.photographs, self.n_scenes, self.n_heldout_scenes = (
            photographs,
            n_scenes,
            n_heldout_scenes,
        )
        self.picture_px, self.teacher_px, self.quadrant_weight = (
            picture_px,
            teacher_px,
            quadrant_weight,
        )
        self.batch_size, self.steps_per_epoch, self.seed = batch_size, steps_per_epoch, seed
        self.train_pictures: PictureSet | None = None
        self.heldout_pictures: PictureSet | None = None
        self.targets: dict[str, Tensor] = {}
        self.teacher_five_nn = float("nan")

    def setup(self, stage: str) -> None:
        """Read and draw the pictures; compute the teacher's embeddings or find them in the cache.

        Args:
            stage: fit or validate; both need the same.
        """
        if self.train_pictures is not None:
            return
        folder = photographs_folder(self.photographs)
        self.train_pictures = training_pictures(folder, self.n_scenes, self.picture_px, self.cache_dir)
        self.heldout_pictures = heldout_pictures(folder, self.n_heldout_scenes, self.picture_px, self.cache_dir)
        path = self.cache_dir / f"{self.teacher}_{self._key()[:16]}.safetensors"
        if not path.exists():
            with atomic_path(path) as temporary:
                save_file(self._compute_targets(), temporary)
        self.targets = load_file(path)
        self.teacher_five_nn = float(self.targets.pop("teacher_five_nn"))

    def _key(self) -> str:
        assert self.train_pictures is not None
        assert self.heldout_pictures is not None
        recipe = f"{self.teacher} {self.dim} {self.teacher_px} {self.quadrant_weight} {self.seed}"
        return content_hash(recipe, self.train_pictures.pictures, self.heldout_pictures.pictures)

    def _compute_targets(self) -> dict[str, Tensor]:
        assert self.train_pictures is not None
        assert self.heldout_pictures is not None
        network = load_teacher(self.teacher, self.teacher_px)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        n_photographs = int((self.train_pictures.labels >= 0).sum())
        # Scenes are cheap to draw anew; only photographs are worth mirroring.
        shown = {
            "train": self.train_pictures.pictures,
            "mirrored": self.train_pictures.pictures[:n_photographs, :, ::-1].copy(),
            "heldout": self.heldout_pictures.pictures,
        }
        features = {
            name: teacher_features(network, x, self.teacher_px, device=device, description=f"{self.teacher}, {name}")
            for name, x in shown.items()
            if len(x)
        }
        features.setdefault("mirrored", features["train"][:0])
        projection = fit_projection(features["train"], self.dim, quadrant_weight=self.quadrant_weight, seed=self.seed)
        accuracy = five_nearest_accuracy(
            features["train"][:, 0].float().numpy(),
            self.train_pictures.labels,
            features["heldout"][:, 0].float().numpy(),
            self.heldout_pictures.labels,
        )
        targets = {name: projection(x, self.quadrant_weight).half() for name, x in features.items()}
        return targets | {"teacher_five_nn": torch.tensor(accuracy)}

    def train_targets(self) -> Tensor:
        """Teacher embeddings of the training pictures, float32 (n, dim)."""
        return self.targets["train"].float()

    def train_dataloader(self) -> StepBatches:
        """Endless supply in epochs of ``steps_per_epoch`` batches."""
        assert self.train_pictures is not None
        trainer = self.trainer
        assert trainer is not None
        device = trainer.strategy.root_device
        return StepBatches(
            torch.from_numpy(self.train_pictures.pictures).to(device),
            self._targets_with_mirrored().to(device),
            self.batch_size,
            self.steps_per_epoch,
            lambda: trainer.global_step,
            self.seed,
        )

    def _targets_with_mirrored(self) -> Tensor:
        # Mirrored rows follow the n plain ones; photographs come first, so row n + i mirrors i.
        return torch.cat([self.targets["train"], self.targets["mirrored"]])

    def val_dataloader(self) -> HeldoutBatches:
        """Held-out pictures with their teacher embeddings, in order."""
        assert self.heldout_pictures is not None
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        pictures = torch.from_numpy(self.heldout_pictures.pictures).to(device)
        return HeldoutBatches(pictures, self.targets["heldout"].float().to(device))

    def heldout_labels(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Class of each held-out picture, -1 for scenes."""
        assert self.heldout_pictures is not None
        return self.heldout_pictures.labels
