"""What all latent diffusion decoders share: noise, the denoising loop and the autoencoder."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.decoder import ALONE, Drawn, MemoryPreset, Steering
from fmri_lightning.generation.img2img import start_latents
from fmri_lightning.generation.sampler import (
    Conditioning,
    SamplingOptions,
    decode_latents,
    denoise,
    draw_noise,
    make_scheduler,
    to_uint8,
)
from fmri_lightning.records import EmbeddingSpace
from fmri_lightning.seeding import torch_generator

COMPILED_SHAPES = 64
"""Shapes of a block that torch may compile before it gives up."""


class LatentDecoder(nn.Module):
    """A frozen latent diffusion model as parts of our own loop; a family says what the U-Net is told.

    Args:
        pipeline: Pipeline of diffusers, whose U-Net, autoencoder and scheduler are kept.
        space: Embedding space of its condition; None where it is told no embedding.
        resolution: Side of the pictures in pixels; None takes the trained size.

    Raises:
        BadInputError: The resolution does not fit the autoencoder.
    """

    def __init__(self, pipeline: Any, space: EmbeddingSpace | None, resolution: int | None = None) -> None:
        super().__init__()
        self.unet = pipeline.unet
        self.vae = pipeline.vae
        self.space = space
        self.commit: str = ""
        self._scheduler_config = pipeline.scheduler.config
        self._pixels_per_latent = int(pipeline.vae_scale_factor)
        trained = int(self.unet.config.sample_size) * self._pixels_per_latent
        self.resolution = resolution or trained
        if self.resolution % self._pixels_per_latent:
            raise BadInputError(
                f"resolution {self.resolution} is not a multiple of {self._pixels_per_latent}; trained at {trained} px"
            )

    @property
    def schedule(self) -> Any:
        """Configuration of the noise schedule that the weights came with, prediction type included."""
        return self._scheduler_config

    @abstractmethod
    def conditioning(
        self,
        embeddings: Tensor,
        generators: list[torch.Generator],
        options: SamplingOptions,
        unconditional: bool,
        steering: Steering,
    ) -> Conditioning:
        """Say what the U-Net is told.

        Args:
            embeddings: Raw embeddings (batch, dim) float32 on the U-Net's device.
            generators: One a picture; what is drawn from them here comes before the latents' noise.
            options: Noise level of all.
            unconditional: Tell the conditional half what the unconditional one is told.
            steering: Noise level of each.

        Returns:
            Both halves.
        """

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape of one picture's latents."""
        side = self.resolution // self._pixels_per_latent
        return int(self.vae.config.latent_channels), side, side

    def halves(self) -> list[nn.Module]:
        """List the frozen parts that may run in half precision."""
        return [self.unet, self.vae]

    def prepare(self, memory: MemoryPreset, compiled: bool) -> None:
        """Arrange memory and kernels; see :class:`~fmri_lightning.generation.decoder.Decoder`.

        Args:
            memory: "low" computes attention head by head and decodes one picture at a time.
            compiled: Compile the transformer blocks of the U-Net, each shape once.
        """
        if next(self.unet.parameters()).device.type == "cuda":
            # Convolutions of half precision run on tensor cores in this layout only.
            self.unet.to(memory_format=torch.channels_last)
            self.vae.to(memory_format=torch.channels_last)
        if memory == "low":
            self.unet.set_attention_slice("max")
            self.vae.enable_slicing()
        if compiled:
            # Blocks of four widths and sizes, with and without guidance, are more shapes than torch expects.
            limit = torch._dynamo.config.recompile_limit
            torch._dynamo.config.recompile_limit = max(limit, COMPILED_SHAPES)
            self.unet.compile_repeated_blocks(fullgraph=True)

    def draw(
        self,
        embeddings: Tensor,
        seeds: list[int],
        options: SamplingOptions,
        unconditional: bool = False,
        steering: Steering = ALONE,
    ) -> Drawn:
        """Draw one picture per embedding; see :class:`~fmri_lightning.generation.decoder.Decoder`.

        Args:
            embeddings: Raw embeddings (batch, dim) float32 on any device.
            seeds: One seed a picture.
            options: Steps, guidance, scheduler.
            unconditional: Condition on what the unconditional pass is told.
            steering: Noise level and start of each picture.

        Returns:
            The pictures; one with latents or pixels that are not finite is black and marked.

        Raises:
            BadInputError: Embeddings are not (batch, dim) of this decoder, or seeds are of another number.
        """
        pixels = self.pixels(embeddings, seeds, options, unconditional, steering)
        finite = torch.isfinite(pixels).flatten(1).all(dim=1)
        return Drawn(to_uint8(pixels.where(finite[:, None, None, None], -1.0)).cpu(), finite.cpu())

    def pixels(
        self,
        embeddings: Tensor,
        seeds: list[int],
        options: SamplingOptions,
        unconditional: bool = False,
        steering: Steering = ALONE,
    ) -> Tensor:
        """Draw pictures before they are rounded; arguments and errors as of :meth:`draw`.

        Args:
            embeddings: Raw embeddings (batch, dim) float32 on any device.
            seeds: One seed a picture.
            options: Steps, guidance, scheduler.
            unconditional: Condition on what the unconditional pass is told.
            steering: Noise level and start of each picture.

        Returns:
            float32 (batch, 3, height, width), nominally -1..1, on the U-Net's device; a picture whose latents are not
            finite is NaN throughout.

        Raises:
            BadInputError: Embeddings are not (batch, dim) of this decoder, or seeds are of another number.
        """
        dim, name = (embeddings.shape[-1], "any") if self.space is None else (self.space.dim, self.space.name)
        if embeddings.shape != (len(seeds), dim):
            raise BadInputError(
                f"decoder takes ({len(seeds)}, {dim}) embeddings of {name!r}, got {tuple(embeddings.shape)}"
            )
        device = next(self.unet.parameters()).device
        generators = [torch_generator(seed) for seed in seeds]
        # The pipelines' order: noise of the embedding first, then latents, from the same generator.
        told = self.conditioning(embeddings.to(device, torch.float32), generators, options, unconditional, steering)
        latents = draw_noise(generators, self.latent_shape).to(device)
        scheduler = make_scheduler(options.scheduler, self._scheduler_config)
        start = None if steering.start is None else self.encode(steering.start)
        latents = denoise(self.unet, scheduler, latents, told, generators, options, start)
        finite = torch.isfinite(latents).flatten(1).all(dim=1)[:, None, None, None]
        # Zeros in place of what is not finite: a NaN would not stay in its own picture in every kernel.
        return self.decode(latents.where(finite, 0.0)).where(finite, torch.nan)

    def encode(self, pictures: Tensor) -> Tensor:
        """Encode start pictures, uint8 (batch, height, width, 3) of any size, to latents of unit scale."""
        return start_latents(self.vae, pictures, self.resolution)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (batch, channels, height, width) to pixels (batch, 3, height, width), nominally -1..1."""
        return decode_latents(self.vae, latents)

    def generate(self, embeddings: Tensor, seeds: list[int], options: SamplingOptions) -> Tensor:
        """Draw pictures as uint8 (batch, height, width, 3)."""
        return self.draw(embeddings, seeds, options).images
