"""Pixels in the place of an autoencoder: space-to-depth, so that a generator can draw without a latent space."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional


class PixelSpace(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers combines them so
    """The interface of ``AutoencoderKL`` over blocks of pixels moved into channels; nothing is lost.

    A picture (3, height, width) becomes (3 factor², height / factor, width / factor). ``scaling_factor`` brings
    pixels in -1..1, whose standard deviation is near a half, to the unit scale that noise schedules expect.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, block_out_channels: tuple[int, ...] = (3, 3), latent_channels: int = 12, scaling_factor: float = 2.0
    ) -> None:
        """Set the block size.

        Args:
            block_out_channels: pipelines read only its length: blocks have a side of 2 ** (length - 1) pixels.
            latent_channels: 3 times the square of that side.
            scaling_factor: what latents are multiplied by before noise is added.

        Raises:
            ValueError: The two do not belong together.
        """
        super().__init__()
        self.factor = 2 ** (len(block_out_channels) - 1)
        if latent_channels != 3 * self.factor**2:
            raise ValueError(
                f"blocks of {self.factor} pixels make {3 * self.factor**2} channels, not {latent_channels}"
            )
        # diffusers stores a component by its weights and asks them for their type; there are no others.
        self.empty = nn.Parameter(torch.zeros(1), requires_grad=False)

    def encode(self, pictures: Tensor) -> Any:
        """Move blocks into channels.

        Args:
            pictures: (n, 3, height, width) in -1..1.

        Returns:
            An object whose ``latent_dist.mode()`` is (n, 3 factor², height / factor, width / factor), as that of
            ``AutoencoderKL`` is.
        """
        latents = functional.pixel_unshuffle(pictures, self.factor)
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: latents, sample=lambda: latents))

    def decode(self, latents: Tensor, return_dict: bool = True, **_: Any) -> Any:
        """Move channels back into blocks.

        Args:
            latents: (n, 3 factor², height, width), unscaled.
            return_dict: give an object with ``sample``, or a tuple.

        Returns:
            Pictures (n, 3, factor height, factor width).
        """
        pictures = functional.pixel_shuffle(latents, self.factor)
        return SimpleNamespace(sample=pictures) if return_dict else (pictures,)
