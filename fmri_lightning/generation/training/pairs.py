"""Pairs of latents and image embeddings: what the U-Net of an unCLIP generator learns from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fmri_lightning.embeddings.distillation_pictures import (
    PictureArray,
    heldout_pictures,
    photographs_folder,
    training_pictures,
)
from fmri_lightning.embeddings.image_encoder import ImageEncoder
from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.training.pictures import RandomRows, to_unit
from fmri_lightning.manifest import atomic_path, content_hash
from fmri_lightning.progress import track

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class PairBatches:
    """Batches of (latents, embeddings).

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
            yield self.latents[rows].float(), self.embeddings[rows].float()


class PairDataModule(L.LightningDataModule):
    """Latents and embeddings of training pictures and of their mirror images.

    Both are computed once with the frozen autoencoder and image encoder and kept in ``cache_dir``
    under a hash of weights and pictures, so that a resumed run starts at once.
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
            autoencoder: folder of an ``AutoencoderKL`` in diffusers format.
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
        super().__init__()
        self.autoencoder, self.encoder, self.cache_dir = Path(autoencoder), encoder, Path(cache_dir)
        self.photographs, self.n_scenes, self.n_heldout_scenes = photographs, n_scenes, n_heldout_scenes
        self.picture_px, self.batch_size, self.steps_per_epoch, self.seed = (
            picture_px,
            batch_size,
            steps_per_epoch,
            seed,
        )
        self.pairs: dict[str, Tensor] = {}
        self.n_photographs = 0

    def prepare_data(self) -> None:
        """Check that the autoencoder is there.

        Raises:
            BadInputError: it is not.
        """
        if not (self.autoencoder / "config.json").is_file():
            raise BadInputError(
                f"no autoencoder in {self.autoencoder}; run: fmri-lightning fit --config configs/mini/autoencoder.yaml"
            )

    def setup(self, stage: str) -> None:
        """Read and draw the pictures; compute latents and embeddings or find them in the cache.

        Args:
            stage: fit or validate; both need the same.
        """
        if self.pairs:
            return
        folder = photographs_folder(self.photographs)
        train = training_pictures(folder, self.n_scenes, self.picture_px, self.cache_dir)
        heldout = heldout_pictures(folder, self.n_heldout_scenes, self.picture_px, self.cache_dir)
        self.n_photographs = int((train.labels >= 0).sum())
        encoder = ImageEncoder.from_space(self.encoder)
        vae_bytes = (self.autoencoder / "diffusion_pytorch_model.safetensors").read_bytes()
        key = content_hash(vae_bytes, encoder.space.to_json(), train.pictures, heldout.pictures)
        path = self.cache_dir / f"pairs_{key[:16]}.safetensors"
        if not path.exists():
            vae = load_autoencoder(self.autoencoder)
            pairs: dict[str, Tensor] = {}
            for name, pictures in (("train", train.pictures), ("heldout", heldout.pictures)):
                both = np.concatenate([pictures, pictures[:, :, ::-1]]) if name == "train" else pictures
                pairs[f"{name}_latents"] = _map(lambda x: scaled_latents(vae, x), both, "latents")
                pairs[f"{name}_embeddings"] = _map(encoder, both, "embeddings")
            with atomic_path(path) as temporary:
                save_file(pairs, temporary)
        self.pairs = load_file(path)

    def train_dataloader(self) -> PairBatches:
        """Endless supply in epochs of ``steps_per_epoch`` batches."""
        trainer = self.trainer
        assert trainer is not None
        rows = RandomRows(
            len(self.pairs["train_latents"]),
            self.batch_size,
            self.steps_per_epoch,
            lambda: trainer.current_epoch,
            self.seed,
        )
        return PairBatches(self.pairs["train_latents"], self.pairs["train_embeddings"], rows)

    def val_dataloader(self) -> PairBatches:
        """Held-out pairs in order."""
        return PairBatches(self.pairs["heldout_latents"], self.pairs["heldout_embeddings"])

    def train_embeddings(self) -> Tensor:
        """Raw training embeddings, float32 (n, dim); their statistics become the normaliser."""
        return self.pairs["train_embeddings"].float()


def load_autoencoder(folder: Path) -> nn.Module:
    """Load a frozen ``AutoencoderKL`` in float32.

    Args:
        folder: in diffusers format, safetensors.
    """
    from diffusers import AutoencoderKL

    vae: Any = AutoencoderKL.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    frozen: nn.Module = vae.float().eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return frozen


def scaled_latents(vae: Any, pictures: Tensor) -> Tensor:
    """Encode uint8 (n, size, size, 3) into latents (n, channels, side, side) of unit scale."""
    x = to_unit(pictures)
    with torch.autocast(x.device.type, torch.bfloat16):
        mode: Tensor = vae.encode(x).latent_dist.mode()
    return mode.float() * float(vae.config.scaling_factor)


@torch.no_grad()
def _map(function: Callable[[Tensor], Tensor], pictures: PictureArray, what: str) -> Tensor:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parts = torch.from_numpy(pictures).split(256)
    if isinstance(function, nn.Module):
        function.to(device)
    parts_done = [function(part).half().cpu() for part in track(parts, f"computing {what}", len(parts))]
    return torch.cat(parts_done).contiguous()
