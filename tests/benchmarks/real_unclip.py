"""Stable Diffusion 2.1 unCLIP with random weights: the architecture of the published model, nothing of its training."""

from __future__ import annotations

from typing import Any

import torch

DIM, TOKENS, TEXT_WIDTH = 1024, 77, 1024
UNET: dict[str, Any] = {
    "sample_size": 96,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": TEXT_WIDTH,
    "use_linear_projection": True,
    "class_embed_type": "projection",
    "projection_class_embeddings_input_dim": 2 * DIM,
}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 768,
    "scaling_factor": 0.18215,
}


def build_parts(device: torch.device, dtype: torch.dtype, px: int) -> dict[str, Any]:
    """Build all parts but the encoders, whose outputs are made up.

    Args:
        device: Where the weights are made and stay.
        dtype: Their precision.
        px: Side of the pictures.

    Returns:
        Keyword arguments of ``StableUnCLIPImg2ImgPipeline``.
    """
    from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    with torch.device(device):
        unet = UNet2DConditionModel(**{**UNET, "sample_size": px // 8}).to(dtype=dtype).eval()
        vae = AutoencoderKL(**VAE).to(dtype=dtype).eval()
        normalizer = StableUnCLIPImageNormalizer(DIM).to(torch_dtype=dtype)
    # The pipeline asks it for its dtype and nothing else.
    tower = CLIPVisionModelWithProjection(
        CLIPVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8,
                         patch_size=8)
    ).to(device, dtype)  # fmt: skip
    return {
        "feature_extractor": None,
        "image_encoder": tower,
        "image_normalizer": normalizer,
        "image_noising_scheduler": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        "tokenizer": None,
        "text_encoder": None,
        "unet": unet.requires_grad_(False),
        "vae": vae.requires_grad_(False),
        "scheduler": DDIMScheduler(
            prediction_type="v_prediction", beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
            clip_sample=False, set_alpha_to_one=False, steps_offset=1,
        ),
    }  # fmt: skip


def text_states(batch: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Stand for the states of the empty prompt, (batch, 77, 1024)."""
    states = torch.randn(1, TOKENS, TEXT_WIDTH, generator=torch.Generator().manual_seed(1))
    return states.expand(batch, -1, -1).to(device, dtype)


def count_flops(parts: dict[str, Any], px: int) -> tuple[float, float]:
    """Count operations of one U-Net pass of one picture and of decoding it, on a device without storage."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode

    side = px // 8
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**{**UNET, "sample_size": side}), AutoencoderKL(**VAE)
        latents = torch.empty(1, 4, side, side)
        with FlopCounterMode(display=False) as of_unet:
            unet(latents, torch.empty(1), torch.empty(1, TOKENS, TEXT_WIDTH), class_labels=torch.empty(1, 2 * DIM))
        with FlopCounterMode(display=False) as of_vae:
            vae.decode(latents)
    return float(of_unet.get_total_flops()), float(of_vae.get_total_flops())
