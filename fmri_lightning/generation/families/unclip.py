"""unCLIP decoders: Stable Diffusion 2.1 unCLIP and the shipped mini model, one class for both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.decoder import DecoderConfig, Steering
from fmri_lightning.generation.families.latent import LatentDecoder
from fmri_lightning.generation.families.loading import load_pipeline
from fmri_lightning.generation.families.unclip_folder import declared_space, repository
from fmri_lightning.generation.lora import merge_lora
from fmri_lightning.generation.sampler import Conditioning, SamplingOptions, draw_noise, noised_condition
from fmri_lightning.records import EmbeddingSpace


class UnclipDecoder(LatentDecoder):
    """A frozen unCLIP model as parts of our own loop.

    Args:
        pipeline: ``StableUnCLIPImg2ImgPipeline``; U-Net, autoencoder, normaliser and schedulers are kept, encoders
            are used once for the empty prompt and dropped.
        space: Embedding space of its condition.
        resolution: Side of the pictures in pixels; None takes the trained size.

    Raises:
        BadInputError: The resolution does not fit the autoencoder, or the space the U-Net.
    """

    space: EmbeddingSpace

    def __init__(self, pipeline: Any, space: EmbeddingSpace, resolution: int | None = None) -> None:
        super().__init__(pipeline, space, resolution)
        self.normalizer = pipeline.image_normalizer
        self._noising = pipeline.image_noising_scheduler
        width = self.unet.config.projection_class_embeddings_input_dim
        if width != 2 * space.dim:
            raise BadInputError(f"the U-Net takes {width} numbers, space {space.name!r} gives 2 x {space.dim}")
        self.text: Tensor | None
        # A buffer, so that it follows the U-Net to its device; not cast, because it is made in float32.
        self.register_buffer("text", _empty_prompt(pipeline), persistent=False)

    @property
    def noising(self) -> Any:
        """Scheduler that adds noise to embeddings."""
        return self._noising

    def conditioning(
        self,
        embeddings: Tensor,
        generators: list[torch.Generator],
        options: SamplingOptions,
        unconditional: bool,
        steering: Steering,
    ) -> Conditioning:
        """Noise the embeddings and join the level, as unCLIP was trained; the other half is told zeros.

        Args:
            embeddings: Raw embeddings (batch, dim) float32 on the U-Net's device.
            generators: One a picture.
            options: Noise level of all.
            unconditional: Tell zeros in both halves.
            steering: Noise level of each.

        Returns:
            Class input (2 batch, 2 dim) and states of the empty prompt.
        """
        noise = draw_noise(generators, (embeddings.shape[-1],)).to(embeddings.device)
        levels = options.noise_level if steering.noise_levels is None else steering.noise_levels
        told = noised_condition(embeddings, noise, levels, self.normalizer, self._noising, options.noise_mode)
        nothing = torch.zeros_like(told)
        text = None if self.text is None else self.text.expand(2 * len(told), -1, -1)
        return Conditioning(text, torch.cat([nothing, nothing if unconditional else told]))


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
        BadInputError: Not found, not safetensors, or not an unCLIP model; or its LoRA is of another one.
        UsageError: A LoRA without peft.
    """
    place = repository(config)
    folder = place.fetch()
    decoder = UnclipDecoder(
        load_pipeline("StableUnCLIPImg2ImgPipeline", folder), declared_space(config), config.resolution
    )
    decoder.commit = folder.name if place.local() is None else ""
    if config.lora is not None:
        # Before anything is cast: half a float16 weight would be lost in the sum.
        merge_lora(decoder.unet, config.lora)
    return decoder
