"""Decoder families: what turns an embedding into a picture, and which embedding space each one reads."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from fmri_lightning.errors import UsageError
from fmri_lightning.generation.sampler import SamplingOptions
from fmri_lightning.records import EmbeddingSpace

Family = Literal["unclip", "mini", "none"]


@dataclass(frozen=True)
class DecoderConfig:
    """Which decoder draws the pictures.

    Attributes:
        family: unclip (Stable Diffusion 2.1 unCLIP), mini (the model shipped with this package), or none
            (stop at predictions.parquet).
        model_id: Hub id or local folder of the family's weights; by default the family's own.
        revision: Hub commit; null takes the hub's main branch and records which commit that was.
        resolution: Side of the pictures in pixels; null takes the size the model was trained at.
    """

    family: Family = "unclip"
    model_id: str | None = None
    revision: str | None = None
    resolution: int | None = None


@dataclass(frozen=True)
class Drawn:
    """Pictures of one batch.

    Attributes:
        images: uint8 (batch, height, width, 3) on the CPU.
        finite: bool (batch,); False where latents were NaN or infinite, and the picture means nothing.
    """

    images: Tensor
    finite: Tensor


class Decoder(Protocol):
    """What every family offers.

    Attributes:
        space: Embedding space the decoder was trained on.
        resolution: Side of its pictures in pixels.
    """

    space: EmbeddingSpace
    resolution: int

    def draw(
        self, embeddings: Tensor, seeds: list[int], options: SamplingOptions, unconditional: bool = False
    ) -> Drawn:
        """Draw one picture per embedding.

        Args:
            embeddings: Raw embeddings (batch, dim) float32.
            seeds: One seed a picture.
            options: Steps, guidance, scheduler.
            unconditional: Replace the condition by the zero vector of the unconditional pass.

        Returns:
            The pictures.
        """

    def generate(self, embeddings: Tensor, seeds: list[int], options: SamplingOptions) -> Tensor:
        """Draw pictures as uint8 (batch, height, width, 3)."""

    def halves(self) -> list[torch.nn.Module]:
        """List the frozen parts that may run in half precision."""


LOADERS: dict[str, str] = {
    "unclip": "fmri_lightning.generation.unclip:load_unclip",
    "mini": "fmri_lightning.generation.unclip:load_unclip",
}
SPACES_OF: dict[str, str] = {
    "unclip": "fmri_lightning.generation.unclip_folder:declared_space",
    "mini": "fmri_lightning.generation.unclip_folder:declared_space",
}


def decoder_space(config: DecoderConfig) -> EmbeddingSpace | None:
    """Read which space a decoder needs, without loading its weights.

    Args:
        config: The decoder.

    Returns:
        Its space, or None for family "none".

    Raises:
        UsageError: Unknown family.
        BadInputError: The weights' folder or hub id cannot be found.
    """
    if config.family == "none":
        return None
    space: EmbeddingSpace = _resolve(SPACES_OF, config)(config)
    return space


def load_decoder(config: DecoderConfig) -> torch.nn.Module:
    """Load the frozen decoder of a configuration.

    Args:
        config: The decoder.

    Returns:
        A module that satisfies :class:`Decoder`, in float32 on the CPU, in evaluation mode.

    Raises:
        UsageError: Unknown family.
        BadInputError: The weights cannot be loaded.
    """
    decoder: torch.nn.Module = _resolve(LOADERS, config)(config)
    return decoder.eval().requires_grad_(False)


def _resolve(table: dict[str, str], config: DecoderConfig):  # type: ignore[no-untyped-def]  # noqa: ANN202
    if config.family not in table:
        raise UsageError(f"unknown decoder family {config.family!r}; known: {', '.join([*table, 'none'])}")
    module, name = table[config.family].split(":")
    return getattr(importlib.import_module(module), name)
