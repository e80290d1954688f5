"""Start from a picture instead of noise, by the arithmetic of diffusers' image-to-image pipelines (Meng et al. 2022).

The picture is encoded, noised to a later timestep of the schedule, and the steps from there on are run: its layout
stays, its details are drawn anew. The share of the steps that are run is the strength.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fmri_lightning.embeddings.preprocess_images import ImagePreprocessing, resize_and_crop
from fmri_lightning.errors import UsageError

if TYPE_CHECKING:
    from fmri_lightning.generation.sampler import SamplingOptions


def require_a_step(options: SamplingOptions) -> None:
    """Refuse a strength that leaves no step to run.

    Args:
        options: Steps and strength.

    Raises:
        UsageError: It would give the start picture back.
    """
    if options.skipped() >= options.num_inference_steps:
        raise UsageError(
            f"--model.strength {options.strength} of {options.num_inference_steps} steps runs none of them; "
            f"the least is {1 / options.num_inference_steps:.3g}"
        )


def start_latents(vae: nn.Module, pictures: Tensor, resolution: int) -> Tensor:
    """Encode start pictures with the decoder's own autoencoder, as the mode of the latent distribution.

    One by one, as the pipelines do: the latents of a picture depend on no other one, and a batch of encodings is the
    peak of memory.

    Args:
        vae: Autoencoder of diffusers; its ``scaling_factor`` is applied.
        pictures: uint8 (batch, height, width, 3), any size.
        resolution: Side in pixels that the decoder draws; shortest side resized, centre cropped.

    Returns:
        float32 (batch, channels, height, width), on the autoencoder's device.
    """
    config: Any = vae.config
    weight = next(vae.parameters())
    pixels = resize_and_crop(pictures, ImagePreprocessing(resolution, resolution)).to(weight.device) / 255 * 2 - 1
    modes = [vae.encode(one.to(weight.dtype)).latent_dist.mode() for one in pixels.split(1)]  # type: ignore[operator]
    latents: Tensor = torch.cat(modes).float() * config.scaling_factor
    return latents


def noised_start(scheduler: Any, start: Tensor, noise: Tensor, skipped: int) -> Tensor:
    """Noise the latents of start pictures to the first timestep that is run, and tell the scheduler where it begins.

    Args:
        scheduler: Scheduler of diffusers with its timesteps set.
        start: Latents of the pictures (batch, channels, height, width) float32.
        noise: Standard normal of the same shape.
        skipped: Steps at the noisy end that are not run.

    Returns:
        float32 of the same shape.
    """
    first = skipped * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    noised: Tensor = scheduler.add_noise(start, noise, scheduler.timesteps[first : first + 1].repeat(len(start)))
    return noised
