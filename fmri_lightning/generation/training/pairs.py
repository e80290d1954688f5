"""Pairs of latents and image embeddings: what the U-Net of an unCLIP generator learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from fmri_lightning.embeddings.distillation_pictures import heldout_pictures, photographs_folder, training_pictures
from fmri_lightning.embeddings.image_encoder import ImageEncoder
from fmri_lightning.generation.training.latents import Latents, check_autoencoder, computed_once
from fmri_lightning.generation.training.pictures import RandomRows
from fmri_lightning.records import EmbeddingSpace

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class PairBatches:
    """Batches of (latents, embeddings), all held on one device: no loader, no copies.

    Attributes:
        latents: float16 (n, channels, side, side), scaled to unit standard deviation.
        embeddings: float16 (n, dim), raw.
        rows: which rows each batch takes; None takes all in order, 256 at a time.
    """

    latents: Tensor
    embeddings: Tensor
    rows: RandomRows | None = None

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.rows) if self.rows is not None else -(-len(self.latents) // 256)

    def __iter__(self) -> Iterator[Pair]:
        """Yield float32 latents (batch, channels, side, side) and embeddings (batch, dim)."""
        chosen = torch.arange(len(self.latents)).split(256) if self.rows is None else self.rows
        for rows in chosen:
            place = rows.to(self.latents.device)
            yield self.latents[place].float(), self.embeddings[place].float()


class PairData(L.LightningDataModule):
    """Latents and embeddings of training and held-out pictures; ``setup`` of a subclass fills them in.

    Attributes:
        pairs: train_latents, train_embeddings, heldout_latents, heldout_embeddings: float16.
        space: of the embeddings.
        vae: the frozen autoencoder that made the latents.
    """

    space: EmbeddingSpace
    vae: Any

    def __init__(self, autoencoder: str, batch_size: int, steps_per_epoch: int, seed: int) -> None:
        """Remember what every source of pairs needs.

        Args:
            autoencoder: folder of an ``AutoencoderKL`` in diffusers format, or ``pixels``.
            batch_size: pictures a step.
            steps_per_epoch: steps between two evaluations and checkpoints.
            seed: seed of the order.
        """
        super().__init__()
        self.autoencoder, self.batch_size = autoencoder, batch_size
        self.steps_per_epoch, self.seed = steps_per_epoch, seed
        self.pairs: dict[str, Tensor] = {}

    def prepare_data(self) -> None:
        """Check that the autoencoder is there.

        Raises:
            BadInputError: it is not.
        """
        check_autoencoder(self.autoencoder)

    def _on_device(self, part: str, rows: RandomRows | None = None) -> PairBatches:
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        return PairBatches(self.pairs[f"{part}_latents"].to(device), self.pairs[f"{part}_embeddings"].to(device), rows)

    def train_dataloader(self) -> PairBatches:
        """Endless supply in epochs of ``steps_per_epoch`` batches."""
        trainer = self.trainer
        assert trainer is not None
        n = len(self.pairs["train_latents"])
        rows = RandomRows(n, self.batch_size, self.steps_per_epoch, lambda: trainer.global_step, self.seed)
        return self._on_device("train", rows)

    def val_dataloader(self) -> PairBatches:
        """Held-out pairs in order."""
        return self._on_device("heldout")

    def train_embeddings(self) -> Tensor:
        """Raw training embeddings, float32 (n, dim); their statistics become the normaliser."""
        return self.pairs["train_embeddings"].float()


class PairDataModule(PairData):
    """Rendered scenes and, where given, photographs, each with its mirror image.

    Latents and embeddings are computed once with the frozen autoencoder and image encoder and kept in
    ``cache_dir`` under a hash of weights and pictures, so that a resumed run starts at once.
    """

    def __init__(
        self,
        autoencoder: str = "outputs/mini/autoencoder/vae",
        encoder: str = "mini-target",
        cache_dir: str = "outputs/mini/cache",
        photographs: str | None = None,
        n_scenes: int = 30000,
        n_heldout_scenes: int = 500,
        picture_px: int = 64,
        batch_size: int = 128,
        steps_per_epoch: int = 200,
        seed: int = 0,
    ) -> None:
        """Remember the recipe.

        Args:
            autoencoder: folder of an ``AutoencoderKL`` in diffusers format, or ``pixels`` to draw without one.
            encoder: embedding space, by name, or a folder with a CLIP vision model.
            cache_dir: where drawn scenes and computed pairs are kept.
            photographs: folder with train.tar and test.tar, each holding class/picture.jpg; None asks
                FMRI_LIGHTNING_PHOTOGRAPHS, and without it there are scenes only.
            n_scenes: training scenes.
            n_heldout_scenes: scenes for the held-out loss.
            picture_px: side of a picture, in pixels.
            batch_size: pictures a step.
            steps_per_epoch: steps between two evaluations and checkpoints.
            seed: seed of the order.
        """
        super().__init__(autoencoder, batch_size, steps_per_epoch, seed)
        self.encoder, self.cache_dir, self.photographs = encoder, Path(cache_dir), photographs
        self.n_scenes, self.n_heldout_scenes, self.picture_px = n_scenes, n_heldout_scenes, picture_px

    def setup(self, stage: str) -> None:
        """Read and draw the pictures; compute latents and embeddings or find them in the cache.

        Args:
            stage: fit or validate; both need the same.
        """
        if self.pairs:
            return
        folder = photographs_folder(self.photographs)
        train = training_pictures(folder, self.n_scenes, self.picture_px, self.cache_dir).pictures
        heldout = heldout_pictures(folder, self.n_heldout_scenes, self.picture_px, self.cache_dir).pictures
        encoder, latents = ImageEncoder.from_space(self.encoder), Latents(self.autoencoder)
        self.space, self.vae = encoder.space, latents.vae
        for name, pictures in (("train", np.concatenate([train, train[:, :, ::-1]])), ("heldout", heldout)):
            for what, network, key in (
                ("latents", latents, latents.key),
                ("embeddings", encoder, self.space.to_json()),
            ):
                self.pairs[f"{name}_{what}"] = computed_once(network, key, pictures, what, self.cache_dir)
