"""Pipelines of diffusers around the published architectures, and our decoders around the same parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.benchmarks.real_models import SDXL_POOLED, TEXT_TOKENS, RealModel, build_unet, build_vae

_BETAS: dict[str, Any] = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
    "set_alpha_to_one": False, "steps_offset": 1,
}  # fmt: skip


def filled(build: Any, model: RealModel, device: torch.device, dtype: torch.dtype) -> Any:
    """Build a network in its precision at once, so that no second copy of the weights is ever in memory.

    Args:
        build: ``build_unet`` or ``build_vae``.
        model: Which.
        device: Where the weights lie.
        dtype: Their precision.

    Returns:
        The network with random weights.
    """
    with torch.device("meta"):
        network = build(model).to(dtype=dtype)
    network = network.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1:
            parameter.data.fill_(0.0 if name.endswith("bias") else 1.0)
        else:
            parameter.data.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
    return network


def build_pipeline(model: RealModel, device: torch.device, dtype: torch.dtype) -> Any:
    """Build the stock pipeline without encoders.

    Args:
        model: Which.
        device: Where the weights lie; "meta" for none.
        dtype: Precision of the U-Net; the autoencoder's follows.

    Returns:
        ``StableDiffusionPipeline``, ``StableDiffusionXLPipeline`` or ``StableUnCLIPImg2ImgPipeline``.
    """
    if device.type == "meta":
        with device:
            unet, vae = build_unet(model).to(dtype=dtype), build_vae(model).to(dtype=model.vae_dtype(dtype))
    else:
        unet = filled(build_unet, model, device, dtype)
        vae = filled(build_vae, model, device, model.vae_dtype(dtype))
    return _pipeline(model, unet, vae)


def _pipeline(model: RealModel, unet: Any, vae: Any) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline, StableUnCLIPImg2ImgPipeline

    kind = "epsilon" if model.ip_adapter else "v_prediction"
    scheduler = DDIMScheduler(prediction_type=kind, **_BETAS)
    parts = {"unet": unet, "vae": vae, "scheduler": scheduler, "tokenizer": None, "text_encoder": None}
    parts |= {"feature_extractor": None}
    if model.is_sdxl:
        empty = dict.fromkeys(("text_encoder_2", "tokenizer_2", "image_encoder"))
        pipeline = StableDiffusionXLPipeline(**parts, **empty, add_watermarker=False)
    elif model.ip_adapter:
        pipeline = StableDiffusionPipeline(**parts, safety_checker=None, requires_safety_checker=False)
    else:
        pipeline = StableUnCLIPImg2ImgPipeline(**parts, **_noising(model, unet.device, unet.dtype))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _noising(model: RealModel, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    from diffusers import DDPMScheduler
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    # The pipeline asks the tower for its precision and nothing else.
    tower = CLIPVisionModelWithProjection(
        CLIPVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8,
                         patch_size=8)
    ).to(device, dtype)  # fmt: skip
    return {
        "image_encoder": tower,
        "image_normalizer": StableUnCLIPImageNormalizer(model.dim).to(device, dtype),
        "image_noising_scheduler": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
    }


def text_states(model: RealModel) -> tuple[Tensor, Tensor]:
    """Stand for the states of the empty prompt, (1, 77, width), and its pooled vector (1, 1280)."""
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(1, TEXT_TOKENS, model.text_width, generator=generator)
    return states, torch.randn(1, SDXL_POOLED, generator=generator)


def draw_stock(pipeline: Any, model: RealModel, embeddings: Tensor, steps: int) -> None:
    """Draw by the stock pipeline.

    Args:
        pipeline: From :func:`build_pipeline`.
        model: Which.
        embeddings: (batch, dim); one row where an IP-Adapter is used, whose pipelines mix the rows of a batch.
        steps: Denoising steps.
    """
    device, dtype = pipeline.unet.device, pipeline.unet.dtype
    n = len(embeddings)
    states, pooled = (x.to(device, dtype).expand(n, *x.shape[1:]) for x in text_states(model))
    given = embeddings.to(device, dtype)
    words: dict[str, Any] = {"prompt_embeds": states, "negative_prompt_embeds": states}
    if model.is_sdxl:
        words |= {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": pooled}
    if model.ip_adapter:
        words["ip_adapter_image_embeds"] = [torch.cat([torch.zeros_like(given), given])[:, None]]
    else:
        words["image_embeds"] = given
    pipeline(
        **words, generator=[torch.Generator().manual_seed(i) for i in range(n)], num_inference_steps=steps,
        guidance_scale=model.guidance, height=model.px, width=model.px, output_type="np",
    )  # fmt: skip


class _Given:
    """A pipeline that has a text encoder, as our decoders see it."""

    text_encoder = tokenizer = text_encoder_2 = tokenizer_2 = True

    def __init__(self, pipeline: Any, model: RealModel) -> None:
        self._pipeline, self._model = pipeline, model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def encode_prompt(self, **options: Any) -> tuple[Tensor, ...]:
        states, pooled = text_states(self._model)
        return (states, states, pooled, pooled) if self._model.is_sdxl else (states, states)


def our_decoder(pipeline: Any, model: RealModel) -> nn.Module:
    """Build our decoder from the parts of a stock pipeline, as loading does.

    Args:
        pipeline: From :func:`build_pipeline`.
        model: Which.

    Returns:
        The decoder, on the pipeline's device.
    """
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

    from fmri_lightning.generation.families.unclip import UnclipDecoder
    from fmri_lightning.records import EmbeddingSpace

    name = {768: "vit-l-14", 1024: "vit-h-14", 1280: "vit-bigg-14"}[model.dim]
    space = EmbeddingSpace(name, name, "", model.dim, "projection", "raw")
    given: Any = _Given(pipeline, model)
    device = pipeline.unet.device
    if model.ip_adapter:
        from fmri_lightning.generation.families.ip_adapter import IPAdapterDecoder

        return IPAdapterDecoder(given, space, model.px).to(device)
    # Ours stays in float32 under every precision.
    given.image_normalizer = StableUnCLIPImageNormalizer(model.dim)
    return UnclipDecoder(given, space, model.px).to(device)


def arranged(model: RealModel, unet: Any, vae: Any, preset: Any) -> None:
    """Apply one of our decoders' memory presets to a U-Net and an autoencoder.

    Args:
        model: Whose parts these are.
        unet: Its U-Net.
        vae: Its autoencoder.
        preset: "default" or "low".
    """
    decoder: Any = our_decoder(_pipeline(model, unet, vae), model)
    decoder.prepare(preset, False)
