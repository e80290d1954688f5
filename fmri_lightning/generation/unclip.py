"""unCLIP decoders: Stable Diffusion 2.1 unCLIP and the shipped mini model, one class for both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.decoder import DecoderConfig, Drawn, MemoryPreset
from fmri_lightning.generation.sampler import (
    SamplingOptions,
    decode_latents,
    denoise,
    draw_noise,
    make_scheduler,
    noised_condition,
    to_uint8,
)
from fmri_lightning.generation.unclip_folder import declared_space, fetch_folder, local_folder
from fmri_lightning.records import EmbeddingSpace
from fmri_lightning.seeding import torch_generator

COMPILED_SHAPES = 64
"""Shapes of a block that torch may compile before it gives up."""


class UnclipDecoder(nn.Module):
    """A frozen unCLIP model as parts of our own loop.

    Args:
        pipeline: ``StableUnCLIPImg2ImgPipeline``; U-Net, autoencoder, normaliser and schedulers are kept, encoders
            are used once for the empty prompt and dropped.
        space: Embedding space of its condition.
        resolution: Side of the pictures in pixels; None takes the trained size.

    Raises:
        BadInputError: The resolution does not fit the autoencoder, or the space the U-Net.
    """

    def __init__(self, pipeline: Any, space: EmbeddingSpace, resolution: int | None = None) -> None:
        super().__init__()
        self.unet = pipeline.unet
        self.vae = pipeline.vae
        self.normalizer = pipeline.image_normalizer
        self.space = space
        self.commit: str = ""
        self._noising = pipeline.image_noising_scheduler
        self._scheduler_config = pipeline.scheduler.config
        self._pixels_per_latent = int(pipeline.vae_scale_factor)
        trained = int(self.unet.config.sample_size) * self._pixels_per_latent
        self.resolution = resolution or trained
        if self.resolution % self._pixels_per_latent:
            raise BadInputError(
                f"resolution {self.resolution} is not a multiple of {self._pixels_per_latent}; trained at {trained} px"
            )
        width = self.unet.config.projection_class_embeddings_input_dim
        if width != 2 * space.dim:
            raise BadInputError(f"the U-Net takes {width} numbers, space {space.name!r} gives 2 x {space.dim}")
        self.text: Tensor | None
        # A buffer, so that it follows the U-Net to its device; not cast, because it is made in float32.
        self.register_buffer("text", _empty_prompt(pipeline), persistent=False)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape of one picture's latents."""
        side = self.resolution // self._pixels_per_latent
        return int(self.unet.config.in_channels), side, side

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
        self, embeddings: Tensor, seeds: list[int], options: SamplingOptions, unconditional: bool = False
    ) -> Drawn:
        """Draw one picture per embedding; see :class:`~fmri_lightning.generation.decoder.Decoder`.

        Args:
            embeddings: Raw embeddings (batch, dim) float32 on any device.
            seeds: One seed a picture.
            options: Steps, guidance, scheduler.
            unconditional: Condition on the zero vector instead.

        Returns:
            The pictures; one with latents or pixels that are not finite is black and marked.

        Raises:
            BadInputError: Embeddings are not (batch, dim) of this decoder, or seeds are of another number.
        """
        pixels = self.pixels(embeddings, seeds, options, unconditional)
        finite = torch.isfinite(pixels).flatten(1).all(dim=1)
        return Drawn(to_uint8(pixels.where(finite[:, None, None, None], -1.0)).cpu(), finite.cpu())

    def pixels(
        self, embeddings: Tensor, seeds: list[int], options: SamplingOptions, unconditional: bool = False
    ) -> Tensor:
        """Draw pictures before they are rounded; arguments and errors as of :meth:`draw`.

        Args:
            embeddings: Raw embeddings (batch, dim) float32 on any device.
            seeds: One seed a picture.
            options: Steps, guidance, scheduler.
            unconditional: Condition on the zero vector instead.

        Returns:
            float32 (batch, 3, height, width), nominally -1..1, on the U-Net's device; a picture whose latents are not
            finite is NaN throughout.

        Raises:
            BadInputError: Embeddings are not (batch, dim) of this decoder, or seeds are of another number.
        """
        if embeddings.shape != (len(seeds), self.space.dim):
            raise BadInputError(
                f"decoder takes ({len(seeds)}, {self.space.dim}) embeddings of {self.space.name!r}, "
                f"got {tuple(embeddings.shape)}"
            )
        device = next(self.unet.parameters()).device
        generators = [torch_generator(seed) for seed in seeds]
        # The pipeline's order: noise of the embedding first, then latents, from the same generator.
        noise = draw_noise(generators, (self.space.dim,))
        latents = draw_noise(generators, self.latent_shape)
        condition = noised_condition(
            embeddings.to(device, torch.float32),
            noise.to(device),
            options.noise_level,
            self.normalizer,
            self._noising,
            options.noise_mode,
        )
        if unconditional:
            condition = torch.zeros_like(condition)
        scheduler = make_scheduler(options.scheduler, self._scheduler_config)
        latents = denoise(self.unet, scheduler, latents.to(device), condition, self.text, generators, options)
        finite = torch.isfinite(latents).flatten(1).all(dim=1)[:, None, None, None]
        # Zeros in place of what is not finite: a NaN would not stay in its own picture in every kernel.
        return decode_latents(self.vae, latents.where(finite, 0.0)).where(finite, torch.nan)

    def generate(self, embeddings: Tensor, seeds: list[int], options: SamplingOptions) -> Tensor:
        """Draw pictures as uint8 (batch, height, width, 3)."""
        return self.draw(embeddings, seeds, options).images


def _empty_prompt(pipeline: Any) -> Tensor | None:
    """States of the empty prompt (1, tokens, width), or None for a U-Net without cross-attention."""
    config = pipeline.unet.config
    blocks = [*config.down_block_types, config.mid_block_type or "", *config.up_block_types]
    if not any("CrossAttn" in str(block) for block in blocks):
        return None
    if pipeline.text_encoder is None or pipeline.tokenizer is None:
        raise BadInputError("the U-Net has cross-attention but the decoder's folder has no text encoder")
    with torch.no_grad():
        states: Tensor = pipeline.encode_prompt(
            prompt="", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )[0]
    return states.float()


def load_unclip(config: DecoderConfig, data: object = None) -> UnclipDecoder:
    """Load an unCLIP model from a folder or the hub: safetensors only, no code from the repository.

    Args:
        config: The decoder.
        data: Ignored; pictures come from embeddings alone.

    Returns:
        The decoder in float32 on the CPU.

    Raises:
        BadInputError: Not found, not safetensors, or not an unCLIP model.
    """
    space = declared_space(config)
    folder = local_folder(config)
    commit = ""
    if folder is None:
        folder = fetch_folder(config)
        commit = folder.name
    decoder = UnclipDecoder(_load_pipeline(folder), space, config.resolution)
    decoder.commit = commit
    return decoder


def _load_pipeline(folder: Path) -> Any:
    from diffusers.utils import logging
    from transformers.utils import logging as transformers_logging

    # Importing the pipeline tells that torchvision is missing, for an image processor that is not used here.
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    from diffusers import StableUnCLIPImg2ImgPipeline

    transformers_logging.set_verbosity(verbosity)
    logging.disable_progress_bar()
    dropped = ["image_encoder", "feature_extractor"]
    dropped += [name for name in ("text_encoder", "tokenizer") if not (folder / name).is_dir()]
    try:
        return StableUnCLIPImg2ImgPipeline.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, **dict.fromkeys(dropped)
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        line = " ".join(str(error).split())[:300]
        raise BadInputError(f"decoder in {folder} cannot be loaded: {line}; fetch it again") from error
