"""An autoencoder as an encoder of layout: a picture to its latents as one vector, and a vector back to a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fmri_lightning.embeddings.image_encoder import fetched, first_line_of, probe_vectors, weights_hash
from fmri_lightning.embeddings.preprocess_images import ImagePreprocessing, resize_and_crop
from fmri_lightning.embeddings.spaces import SpaceSpec, resolve_space
from fmri_lightning.errors import BadInputError
from fmri_lightning.records import LATENTS, EmbeddingSpace, require_same_space


class LatentEncoder(nn.Module):
    """``AutoencoderKL`` of diffusers behind the interface of the image encoder.

    A vector is the mode of the latent distribution times the autoencoder's ``scaling_factor``, channel after channel,
    row after row. Every picture is encoded and decoded by itself: its numbers depend on no batch.

    Args:
        vae: The autoencoder; kept in float32 and in evaluation mode.
        spec: Where the weights came from.
    """

    def __init__(self, vae: Any, spec: SpaceSpec) -> None:
        super().__init__()
        self.vae: Any = vae.float().eval().requires_grad_(False)
        self.vae.enable_slicing()
        self.spec = spec
        side_px = int(self.vae.config.sample_size)
        self.preprocessing = ImagePreprocessing(side_px, side_px)
        side = side_px // 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.latent_shape: tuple[int, int, int] = (int(self.vae.config.latent_channels), side, side)
        self._space: EmbeddingSpace | None = None

    @classmethod
    def from_space(cls, space: str | SpaceSpec) -> LatentEncoder:
        """Load the autoencoder of a known space or of a folder.

        Args:
            space: Name in :data:`~fmri_lightning.embeddings.spaces.SPACES`, a folder with an ``AutoencoderKL``, or a
                resolved spec.

        Returns:
            The encoder on the CPU, in float32.

        Raises:
            UsageError: If the name is unknown.
            BadInputError: If it is no autoencoder, or its weights are not on this machine or not safetensors.
        """
        spec = resolve_space(space) if isinstance(space, str) else space
        if spec.kind != "latents":
            raise BadInputError(
                f"space {spec.name!r} is one of embeddings, an autoencoder is meant here; name one of latents: "
                "sd-vae, mini-vae, or a folder with an AutoencoderKL"
            )
        encoder = cls(_load_autoencoder(spec.location() if spec.is_folder else fetched(spec)), spec)
        if spec.dim is not None and encoder.dim != spec.dim:
            raise BadInputError(
                f"{spec.model_id} gives {encoder.dim} latents but space {spec.name!r} has {spec.dim}; "
                "it holds another model"
            )
        return encoder

    @property
    def dim(self) -> int:
        """Number of latents of a picture."""
        channels, height, width = self.latent_shape
        return channels * height * width

    def forward(self, images: Tensor) -> Tensor:
        """Encode pictures.

        Args:
            images: uint8 (n, height, width, 3), 0..255.

        Returns:
            Latents of unit scale, (n, dim) float32.
        """
        pixels = resize_and_crop(images, self.preprocessing) / 127.5 - 1
        with torch.autocast(device_type=pixels.device.type, enabled=False):
            mode: Tensor = self.vae.encode(pixels).latent_dist.mode()
        return (mode * float(self.vae.config.scaling_factor)).flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """Turn vectors into the pictures they stand for.

        Args:
            latents: (n, dim) float32, of unit scale.

        Returns:
            uint8 (n, side, side, 3), on the same device.
        """
        unscaled = latents.reshape(-1, *self.latent_shape) / float(self.vae.config.scaling_factor)
        with torch.autocast(device_type=latents.device.type, enabled=False):
            pixels: Tensor = self.vae.decode(unscaled).sample
        return (pixels.clamp(-1, 1).add(1).mul(127.5)).round().to(torch.uint8).permute(0, 2, 3, 1)

    @property
    def space(self) -> EmbeddingSpace:
        """The space with the latents of the eight probe pictures; computed on first use."""
        if self._space is None:
            self._space = EmbeddingSpace(
                name=self.spec.name,
                model_id=self.spec.model_id,
                revision=self.spec.revision or "",
                dim=self.dim,
                pooling=LATENTS,
                scale="raw",
                probe=probe_vectors(self),
                weights_hash=weights_hash(self.vae),
            )
        return self._space

    @classmethod
    def of(cls, space: EmbeddingSpace) -> LatentEncoder:
        """Load the autoencoder that a space of latents names, and check that it is that one.

        Args:
            space: As a cache or a checkpoint carries it.

        Returns:
            The encoder on the CPU, in float32.

        Raises:
            BadInputError: If its weights are not on this machine, or the ones at hand give other latents.
        """
        from fmri_lightning.embeddings.spaces import SPACES

        folder = Path(space.model_id)
        if space.name not in SPACES and not folder.is_dir():
            raise BadInputError(
                f"the autoencoder of the latents {space.name!r} is not at {folder}; put its folder back there"
            )
        encoder = cls.from_space(space.name if space.name in SPACES else space.model_id)
        # Equal weights are equal latents; probes would cost eight passes of the encoder.
        if weights_hash(encoder.vae) != space.weights_hash:
            require_same_space(encoder.space, space, f"autoencoder {encoder.spec.model_id}", "the latents")
        return encoder


def _load_autoencoder(location: str) -> nn.Module:
    import diffusers

    try:
        vae, info = diffusers.AutoencoderKL.from_pretrained(
            location, use_safetensors=True, local_files_only=True, torch_dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInputError(
            f"{location} is not a readable AutoencoderKL in safetensors: {first_line_of(error)}; fetch it again"
        ) from error
    if info["missing_keys"]:
        # diffusers would leave these at random values.
        raise BadInputError(
            f"{location} lacks {len(info['missing_keys'])} weights of an AutoencoderKL "
            f"(first: {sorted(info['missing_keys'])[0]}); fetch it again"
        )
    loaded: nn.Module = vae
    return loaded
