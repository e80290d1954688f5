"""The denoising loop: image embeddings to pictures with a frozen U-Net and autoencoder of diffusers.

The stock pipeline draws one batch with one set of options; this loop adds fixed batch shapes, a guidance interval
and noise per picture, and gives the same bits as ``StableUnCLIPImg2ImgPipeline`` where both can do the job.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from fmri_lightning.errors import UsageError
from fmri_lightning.generation.img2img import noised_start

SCHEDULERS: dict[str, str] = {
    "dpm++2m": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_a": "EulerAncestralDiscreteScheduler",
}
"""Names of ``--model.scheduler`` and the diffusers classes behind them."""


NoiseMode = Literal["add", "label_only"]
"""Whether a noise level is added to the embedding and told to the U-Net, as unCLIP does, or only told."""


@dataclass(frozen=True)
class SamplingOptions:
    """How a picture is drawn, the same for every picture of a run.

    Attributes:
        guidance_scale: Classifier-free guidance weight; 1 or less draws without the unconditional pass.
        num_inference_steps: Denoising steps.
        noise_level: Noise of the embedding, 0..999, as unCLIP was trained (Ramesh et al. 2022, section 2.1).
        noise_mode: "add" adds noise of that level and tells the U-Net; "label_only" only tells it: a predicted
            embedding is noisy already, and noise on top loses what was predicted.
        scheduler: A key of :data:`SCHEDULERS`.
        guidance_interval: Part of the steps, as fractions [from, to), in which guidance acts
            (Kynkäänniemi et al. 2024, arXiv 2404.07724); outside it only the conditional pass runs.
        strength: Share of the steps that are run, (0, 1], where a picture starts from another one; without a start
            all are.
    """

    guidance_scale: float = 5.0
    num_inference_steps: int = 25
    noise_level: int = 0
    scheduler: str = "dpm++2m"
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    noise_mode: NoiseMode = "add"
    strength: float = 0.75

    def __post_init__(self) -> None:
        if self.scheduler not in SCHEDULERS:
            raise UsageError(f"unknown scheduler {self.scheduler!r}; known: {', '.join(SCHEDULERS)}")
        if self.num_inference_steps < 1:
            raise UsageError(f"num_inference_steps is at least 1, not {self.num_inference_steps}")
        if not 0 <= self.noise_level < 1000:
            raise UsageError(f"noise_level lies in 0..999, not {self.noise_level}")
        if self.noise_mode not in get_args(NoiseMode):
            raise UsageError(f"unknown noise_mode {self.noise_mode!r}; known: {', '.join(get_args(NoiseMode))}")
        object.__setattr__(self, "guidance_interval", tuple(self.guidance_interval))  # YAML gives a list
        low, high = self.guidance_interval
        if not 0 <= low <= high <= 1:
            raise UsageError(f"guidance_interval is a part of 0..1, not {self.guidance_interval}")
        if not 0 < self.strength <= 1:
            raise UsageError(f"strength lies above 0 and not above 1, not {self.strength}")

    def guided(self, step: int) -> bool:
        """Tell whether a 0-based step runs the unconditional pass too."""
        low, high = self.guidance_interval
        return self.guidance_scale > 1 and low <= step / self.num_inference_steps < high

    def skipped(self) -> int:
        """Count the steps at the noisy end that are not run from a start picture; rounded as diffusers rounds."""
        return self.num_inference_steps - min(int(self.num_inference_steps * self.strength), self.num_inference_steps)

    def evaluations(self, from_start: bool = False) -> int:
        """Count U-Net evaluations of one picture.

        Args:
            from_start: It starts from another picture, and not from noise.
        """
        first = self.skipped() if from_start else 0
        return sum(2 if self.guided(step) else 1 for step in range(first, self.num_inference_steps))


def make_scheduler(name: str, config: Any) -> Any:
    """Build a fresh scheduler, so that no state leaks from batch to batch.

    Args:
        name: A key of :data:`SCHEDULERS`.
        config: Configuration of the scheduler that the weights came with; prediction type and betas are kept.

    Returns:
        A diffusers scheduler.
    """
    import diffusers

    return getattr(diffusers, SCHEDULERS[name]).from_config(config)


def draw_noise(generators: list[torch.Generator], shape: tuple[int, ...]) -> Tensor:
    """Draw standard normal noise, one generator a picture, so that a picture's noise is its own.

    Args:
        generators: One CPU generator a picture.
        shape: Shape of one picture's noise, without the batch.

    Returns:
        float32 (batch, *shape) on the CPU.
    """
    return torch.cat([torch.randn((1, *shape), generator=g, dtype=torch.float32) for g in generators])


def noised_condition(
    embeddings: Tensor,
    noise: Tensor,
    noise_level: int | Tensor,
    normalizer: Any,
    noising_scheduler: Any,
    noise_mode: NoiseMode = "add",
) -> Tensor:
    """Noise the embeddings in normalised units and append the noise level's sinusoids, as unCLIP was trained.

    Args:
        embeddings: Raw image embeddings (batch, dim) float32.
        noise: Standard normal (batch, dim) float32; used at level 0 too, where its share is 0.6 %.
        noise_level: 0..999; one for all, or int64 (batch,).
        normalizer: ``StableUnCLIPImageNormalizer`` of the decoder.
        noising_scheduler: DDPM scheduler of the noise augmentation.
        noise_mode: "label_only" adds noise of level 0 but appends the sinusoids of noise_level.

    Returns:
        float32 (batch, 2 * dim).
    """
    from diffusers.models.embeddings import get_timestep_embedding

    levels = torch.as_tensor(noise_level, dtype=torch.long, device=embeddings.device).expand(len(embeddings))
    added = levels if noise_mode == "add" else torch.zeros_like(levels)
    scaled = (embeddings - normalizer.mean) * 1.0 / normalizer.std
    noised = noising_scheduler.add_noise(scaled, timesteps=added, noise=noise)
    noised = noised * normalizer.std + normalizer.mean
    sinusoids = get_timestep_embedding(
        timesteps=levels, embedding_dim=embeddings.shape[-1], flip_sin_to_cos=True, downscale_freq_shift=0
    )
    return torch.cat((noised, sinusoids.to(noised.dtype)), dim=1)


@dataclass(frozen=True)
class Conditioning:
    """What a U-Net is told, for the unconditional and the conditional half of a batch.

    Attributes:
        hidden: Cross-attention states (2 batch, tokens, width), or None without cross-attention.
        class_labels: Class input (2 batch, width), or None.
        added: ``added_cond_kwargs`` of the U-Net: tensors (2 batch, ...), or lists of them; empty for none.
    """

    hidden: Tensor | None = None
    class_labels: Tensor | None = None
    added: Mapping[str, Tensor | list[Tensor]] = field(default_factory=dict)

    def arguments(self, guided: bool, dtype: torch.dtype) -> dict[str, Any]:
        """List the U-Net's keyword arguments.

        Args:
            guided: Both halves, or the conditional one alone.
            dtype: Of the U-Net.

        Returns:
            Arguments by name.
        """

        def taken(told: Tensor | list[Tensor] | None) -> Any:
            if isinstance(told, list):
                return [taken(one) for one in told]
            return None if told is None else (told if guided else told[len(told) // 2 :]).to(dtype)

        found = {"encoder_hidden_states": taken(self.hidden), "class_labels": taken(self.class_labels)}
        return found | ({"added_cond_kwargs": {k: taken(v) for k, v in self.added.items()}} if self.added else {})


def denoise(
    unet: nn.Module,
    scheduler: Any,
    latents: Tensor,
    conditioning: Conditioning,
    generators: list[torch.Generator],
    options: SamplingOptions,
    start: Tensor | None = None,
) -> Tensor:
    """Run the denoising loop with classifier-free guidance (Ho & Salimans 2022).

    Args:
        unet: ``UNet2DConditionModel``.
        scheduler: Fresh scheduler.
        latents: Standard normal (batch, channels, height, width) float32, unscaled.
        conditioning: What the U-Net is told.
        generators: One a picture, for schedulers that draw noise in each step.
        options: Steps and guidance, and the share of the steps that are run from a start.
        start: Latents of start pictures, of the shape of ``latents``, which is then the noise on top; None starts from
            noise alone.

    Returns:
        float32 (batch, channels, height, width). Latents stay float32 where the U-Net runs in half precision.
    """
    scheduler.set_timesteps(options.num_inference_steps, device=latents.device)
    if start is None:
        first, latents = 0, latents * scheduler.init_noise_sigma
    else:
        first = options.skipped()
        latents = noised_start(scheduler, start, latents, first)
    dtype = next(unet.parameters()).dtype
    told = {guided: conditioning.arguments(guided, dtype) for guided in (False, True)}
    draws = {"generator": generators} if "generator" in inspect.signature(scheduler.step).parameters else {}
    for step, timestep in enumerate(scheduler.timesteps[first * scheduler.order :], first):
        guided = options.guided(step)
        inputs = scheduler.scale_model_input(torch.cat([latents] * 2) if guided else latents, timestep)
        output = unet(inputs.to(dtype), timestep, **told[guided], return_dict=False)[0].float()
        # Some U-Nets predict a variance in further channels.
        output = output[:, : latents.shape[1]]
        if guided:
            unconditional, conditional = output.chunk(2)
            output = unconditional + options.guidance_scale * (conditional - unconditional)
        latents = scheduler.step(output, timestep, latents, **draws, return_dict=False)[0]
    return latents


def decode_latents(vae: nn.Module, latents: Tensor) -> Tensor:
    """Decode latents to pixels.

    Args:
        vae: Autoencoder of diffusers; its ``scaling_factor`` is undone first.
        latents: (batch, channels, height, width) float32.

    Returns:
        float32 (batch, 3, height, width), nominally -1..1; not finite where half precision overflowed.
    """
    config: Any = vae.config
    dtype = next(vae.parameters()).dtype
    pixels: Tensor = vae.decode((latents / config.scaling_factor).to(dtype), return_dict=False)[0]  # type: ignore[operator]
    return pixels.float()


def to_uint8(pixels: Tensor) -> Tensor:
    """Round pixels as the stock pipelines do.

    Args:
        pixels: float32 (batch, 3, height, width), -1..1.

    Returns:
        uint8 (batch, height, width, 3) on the same device.
    """
    unit = (pixels / 2 + 0.5).clamp(0, 1)
    return (unit.permute(0, 2, 3, 1) * 255).round().to(torch.uint8)
