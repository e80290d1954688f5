"""Stable Diffusion told a text and no embedding: a null, for what pictures score that know nothing of a brain.

An embedding that is handed to Stable Diffusion 2.1 as a pooled state of the text, which that model does not have, is
dropped without a word, and every picture shows the text alone. Here that is done on purpose, and said.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fmri_lightning.generation.decoder import DecoderConfig, Steering
from fmri_lightning.generation.families.latent import LatentDecoder
from fmri_lightning.generation.families.loading import load_pipeline
from fmri_lightning.generation.families.prompts import of_each, prompt_states
from fmri_lightning.generation.families.text_null_folder import CLASSES, prompt, repository
from fmri_lightning.generation.sampler import Conditioning, SamplingOptions


class TextNullDecoder(LatentDecoder):
    """A frozen Stable Diffusion whose pictures depend on their seed and on one text.

    Args:
        pipeline: ``StableDiffusionPipeline``; its text encoder is used once and dropped.
        text: What every picture is told.
        resolution: Side of the pictures in pixels; None takes the trained size.

    Raises:
        BadInputError: The resolution does not fit the autoencoder.
    """

    def __init__(self, pipeline: Any, text: str, resolution: int | None = None) -> None:
        super().__init__(pipeline, None, resolution)
        self.text: Tensor
        self.register_buffer("text", prompt_states(pipeline, text)[0], persistent=False)

    def conditioning(
        self,
        embeddings: Tensor,
        generators: list[torch.Generator],
        options: SamplingOptions,
        unconditional: bool,
        steering: Steering,
    ) -> Conditioning:
        """Tell every picture the text, and the other half no text.

        Args:
            embeddings: Only counted.
            generators: Not drawn from.
            options: Ignored.
            unconditional: Tell no text in both halves.
            steering: Ignored.

        Returns:
            States of the text.
        """
        told = self.text[[0, 0]] if unconditional else self.text
        return Conditioning(of_each(told, len(embeddings)))


def load_text_null(config: DecoderConfig, data: object = None) -> TextNullDecoder:
    """Load Stable Diffusion 2.1 from a folder or the hub: safetensors only, no code from the repository.

    Args:
        config: The decoder.
        data: Ignored.

    Returns:
        The decoder in float32 on the CPU.

    Raises:
        BadInputError: Not found, not safetensors, or of another architecture.
    """
    place = repository(config)
    folder = place.fetch()
    decoder = TextNullDecoder(load_pipeline(CLASSES[0], folder), prompt(config), config.resolution)
    decoder.commit = folder.name if place.local() is None else ""
    return decoder
