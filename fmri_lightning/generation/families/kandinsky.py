"""Kandinsky 2.2: a decoder that is told one image embedding and no text."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.decoder import DecoderConfig, MemoryPreset, Steering
from fmri_lightning.generation.families.kandinsky_folder import declared_space, negative_file, prior, repository
from fmri_lightning.generation.families.latent import LatentDecoder
from fmri_lightning.generation.families.loading import load_pipeline, quiet_libraries
from fmri_lightning.generation.sampler import Conditioning, SamplingOptions
from fmri_lightning.records import EmbeddingSpace

NEGATIVE_KEY = "negative"


class KandinskyDecoder(LatentDecoder):
    """A frozen Kandinsky 2.2 (Razzhigaev et al. 2023, arXiv 2310.03502) as parts of our own loop.

    Args:
        pipeline: ``KandinskyV22Pipeline``.
        space: Embedding space of its condition.
        negative: What the unconditional half is told, (dim,) float32: the embedding of the empty picture.
        resolution: Side of the pictures in pixels; None takes the trained size.

    Raises:
        BadInputError: The resolution does not fit the autoencoder, or the space the U-Net.
    """

    def __init__(self, pipeline: Any, space: EmbeddingSpace, negative: Tensor, resolution: int | None = None) -> None:
        parts = SimpleNamespace(
            unet=pipeline.unet,
            vae=pipeline.movq,
            scheduler=pipeline.scheduler,
            vae_scale_factor=pipeline.movq_scale_factor,
        )
        super().__init__(parts, space, resolution)
        width = self.unet.config.encoder_hid_dim
        if width != space.dim or negative.shape != (width,):
            raise BadInputError(
                f"the U-Net takes {width} numbers, space {space.name!r} gives {space.dim}, the embedding of the empty "
                f"picture has {tuple(negative.shape)}"
            )
        # The loop cuts the learned variance off; a scheduler that still expected it would cut the latents instead.
        self._scheduler_config = {k: v for k, v in self._scheduler_config.items() if k != "variance_type"}
        self._one_by_one = False
        self.negative: Tensor
        self.register_buffer("negative", negative.float(), persistent=False)

    def conditioning(
        self,
        embeddings: Tensor,
        generators: list[torch.Generator],
        options: SamplingOptions,
        unconditional: bool,
        steering: Steering,
    ) -> Conditioning:
        """Tell each picture its own embedding, and the other half that of the empty picture.

        Args:
            embeddings: Raw embeddings (batch, dim) float32 on the U-Net's device.
            generators: Not drawn from.
            options: Ignored: Kandinsky knows no noise level.
            unconditional: Tell the empty picture in both halves.
            steering: Ignored.

        Returns:
            The embeddings.
        """
        nothing = self.negative.expand(len(embeddings), -1)
        return Conditioning(
            added={"image_embeds": torch.cat([nothing, nothing if unconditional else embeddings])},
        )

    def prepare(self, memory: MemoryPreset, compiled: bool) -> None:
        """Arrange memory and kernels; see :class:`~fmri_lightning.generation.decoder.Decoder`.

        Args:
            memory: "low" computes attention head by head and decodes one picture at a time.
            compiled: Refused before: its attention blocks are not those that diffusers compiles.
        """
        super().prepare("default", compiled)
        if memory == "low":
            self.unet.set_attention_slice("max")
            # Its autoencoder cannot slice by itself.
            self._one_by_one = True

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (batch, channels, height, width), not quantised, to pixels, nominally -1..1."""
        dtype = next(self.vae.parameters()).dtype
        parts = latents.to(dtype).split(1 if self._one_by_one else len(latents))
        found = [self.vae.decode(part, force_not_quantize=True, return_dict=False)[0] for part in parts]
        return torch.cat(found).float()


def load_kandinsky(config: DecoderConfig, data: object = None) -> KandinskyDecoder:
    """Load Kandinsky 2.2 from a folder or the hub: safetensors only, no code from the repository.

    Args:
        config: The decoder.
        data: Ignored; pictures come from embeddings alone.

    Returns:
        The decoder in float32 on the CPU.

    Raises:
        BadInputError: Not found, not safetensors, or not a Kandinsky 2.2 decoder.
    """
    place = repository(config)
    folder = place.fetch()
    pipeline = load_pipeline("KandinskyV22Pipeline", folder)
    decoder = KandinskyDecoder(pipeline, declared_space(config), load_negative(config), config.resolution)
    decoder.commit = folder.name if place.local() is None else ""
    return decoder


def load_negative(config: DecoderConfig) -> Tensor:
    """Find what the unconditional half is told: stored beside the decoder, or computed by the prior's image encoder.

    Args:
        config: The decoder.

    Returns:
        (dim,) float32.

    Raises:
        BadInputError: The file or the image encoder cannot be read.
    """
    stored, place = negative_file(config), prior(config)
    if place is None:
        assert stored is not None
        return _stored(stored)
    return embed_nothing(place.fetch() / "image_encoder")


def _stored(path: Path) -> Tensor:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)[NEGATIVE_KEY].flatten().float()
    except (SafetensorError, OSError, KeyError) as error:
        raise BadInputError(
            f"{path} holds no tensor {NEGATIVE_KEY!r}: {error}; remove it, and the prior is read"
        ) from error


def embed_nothing(folder: Path) -> Tensor:
    """Embed the empty picture as Kandinsky was trained: pixels that are zero after they were normalised.

    Args:
        folder: Image encoder of the prior.

    Returns:
        Its projection (dim,) float32.

    Raises:
        BadInputError: It cannot be loaded.
    """
    with quiet_libraries():
        from transformers import CLIPVisionModelWithProjection

        loader: Any = CLIPVisionModelWithProjection
        try:
            encoder = loader.from_pretrained(folder, use_safetensors=True, local_files_only=True, dtype=torch.float32)
        except (OSError, ValueError) as error:
            line = " ".join(str(error).split())[:200]
            raise BadInputError(f"image encoder in {folder} cannot be loaded: {line}; fetch it again") from error
    side = encoder.config.image_size
    with torch.no_grad():
        projected: Tensor = encoder.eval()(torch.zeros(1, 3, side, side)).image_embeds
    return projected[0].float()
