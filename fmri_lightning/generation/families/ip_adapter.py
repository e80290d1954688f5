"""IP-Adapter decoders: Stable Diffusion 1.5 and SDXL that look at one image embedding beside an empty prompt.

The stock pipelines repeat a batch of embeddings once a picture and fold the surplus into the token axis, so that each
picture attends to the embeddings of all (huggingface/diffusers issue 9813). Here each picture is told its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.decoder import ALONE, DecoderConfig, Drawn, MemoryPreset, Steering
from fmri_lightning.generation.families.ip_adapter_folder import (
    adapter_file,
    base,
    declared_space,
    pipeline_class,
)
from fmri_lightning.generation.families.latent import LatentDecoder
from fmri_lightning.generation.families.loading import load_pipeline, quiet_libraries
from fmri_lightning.generation.families.prompts import of_each, prompt_states
from fmri_lightning.generation.families.safety import SafetyChecker, load_safety_checker
from fmri_lightning.generation.sampler import Conditioning, SamplingOptions
from fmri_lightning.records import EmbeddingSpace


class IPAdapterDecoder(LatentDecoder):
    """A frozen Stable Diffusion with an IP-Adapter (Ye et al. 2023, arXiv 2308.06721) as parts of our own loop.

    Args:
        pipeline: ``StableDiffusionPipeline`` or ``StableDiffusionXLPipeline`` with an IP-Adapter loaded; its text
            encoders are used once for the prompt and dropped.
        space: Embedding space of the IP-Adapter.
        resolution: Side of the pictures in pixels; None takes the trained size.
        prompt: Text that stands beside the embedding.
        safety: Checker of Stable Diffusion 1.x, or None.

    Raises:
        BadInputError: The resolution does not fit the autoencoder, or the space the IP-Adapter.
    """

    def __init__(
        self,
        pipeline: Any,
        space: EmbeddingSpace,
        resolution: int | None = None,
        prompt: str = "",
        safety: SafetyChecker | None = None,
    ) -> None:
        super().__init__(pipeline, space, resolution)
        width = self.unet.encoder_hid_proj.image_projection_layers[0].image_embeds.in_features
        if width != space.dim:
            raise BadInputError(f"the IP-Adapter takes {width} numbers, space {space.name!r} gives {space.dim}")
        self.safety = safety
        text, pooled = prompt_states(pipeline, prompt)
        self.text: Tensor
        self.pooled: Tensor | None
        # Buffers, so that they follow the U-Net to its device; not cast, because they are made in float32.
        self.register_buffer("text", text, persistent=False)
        self.register_buffer("pooled", pooled, persistent=False)

    def conditioning(
        self,
        embeddings: Tensor,
        generators: list[torch.Generator],
        options: SamplingOptions,
        unconditional: bool,
        steering: Steering,
    ) -> Conditioning:
        """Tell each picture its own embedding, and the other half zeros, as the IP-Adapter was trained.

        Args:
            embeddings: Raw embeddings (batch, dim) float32 on the U-Net's device.
            generators: Not drawn from.
            options: Ignored: an IP-Adapter knows no noise level.
            unconditional: Tell zeros in both halves.
            steering: Ignored.

        Returns:
            States of the prompt, and the embeddings as one picture each.
        """
        n = len(embeddings)
        nothing = torch.zeros_like(embeddings)
        images = torch.cat([nothing, nothing if unconditional else embeddings])[:, None]
        added: dict[str, Tensor | list[Tensor]] = {"image_embeds": [images]}
        if self.pooled is not None:
            side = float(self.resolution)
            # Original size, top left corner of the crop, target size (Podell et al. 2023, section 2.2).
            sizes = torch.tensor([[side, side, 0.0, 0.0, side, side]], device=embeddings.device)
            added |= {"text_embeds": of_each(self.pooled, n), "time_ids": sizes.expand(2 * n, -1)}
        return Conditioning(of_each(self.text, n), added=added)

    def halves(self) -> list[nn.Module]:
        """List the frozen parts that may run in half precision; SDXL's own autoencoder overflows in float16."""
        upcast = self.pooled is not None and self.vae.config.force_upcast
        return [self.unet] if upcast else [self.unet, self.vae]

    def prepare(self, memory: MemoryPreset, compiled: bool) -> None:
        """Arrange memory and kernels; see :class:`~fmri_lightning.generation.decoder.Decoder`.

        Args:
            memory: "low" decodes one picture at a time; slices of attention would take the IP-Adapter out.
            compiled: Compile the transformer blocks of the U-Net, each shape once.
        """
        super().prepare("default", compiled)
        if memory == "low":
            self.vae.enable_slicing()

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
            unconditional: Tell zeros in place of the embedding.
            steering: Start of each picture.

        Returns:
            The pictures; one that the safety checker held back is marked, and is no result.
        """
        drawn = super().draw(embeddings, seeds, options, unconditional, steering)
        if self.safety is None:
            return drawn
        return Drawn(drawn.images, drawn.finite, held_back=self.safety.flagged(drawn.images))


def load_ip_adapter(config: DecoderConfig, data: object = None) -> IPAdapterDecoder:
    """Load Stable Diffusion and its IP-Adapter from folders or the hub: safetensors only, no code from the repository.

    Args:
        config: The decoder.
        data: Ignored; pictures come from embeddings alone.

    Returns:
        The decoder in float32 on the CPU.

    Raises:
        BadInputError: Not found, not safetensors, or of another architecture.
    """
    place, path = base(config), adapter_file(config)
    folder = place.fetch()
    pipeline = load_pipeline(pipeline_class(config), folder)
    _add_ip_adapter(pipeline, path, config.ip_adapter.scale)
    safety = load_safety_checker(folder) if config.safety_checker else None
    decoder = IPAdapterDecoder(pipeline, declared_space(config), config.resolution, config.prompt or "", safety)
    decoder.commit = folder.name if place.local() is None else ""
    return decoder


def _add_ip_adapter(pipeline: Any, path: Any, scale: float) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
        parts: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
        for name, tensor in weights.items():
            part, rest = name.split(".", 1)
            parts[part][rest] = tensor
        with quiet_libraries():
            pipeline.load_ip_adapter(parts, subfolder="", weight_name="", image_encoder_folder=None)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        line = " ".join(str(error).split())[:300]
        raise BadInputError(f"IP-Adapter {path} does not fit the U-Net: {line}; use one made for it") from error
    pipeline.set_ip_adapter_scale(scale)
