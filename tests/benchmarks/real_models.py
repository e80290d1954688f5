"""The published architectures behind the decoders, with random weights: nothing of their training, nothing of a hub."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from tests.benchmarks.real_unclip import UNET as UNCLIP_UNET
from tests.benchmarks.real_unclip import VAE as SD_VAE

TEXT_TOKENS, IP_TOKENS, TIME_IDS = 77, 4, 6
PIXELS_PER_LATENT = 8
SD15_UNET: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
}
SDXL_UNET: dict[str, Any] = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
    "up_block_types": ("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",),
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SDXL_POOLED = 1280
SDXL_VAE: dict[str, Any] = {**SD_VAE, "sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True}


@dataclass(frozen=True)
class RealModel:
    """One published generator as it is shipped.

    Attributes:
        label: Row of the table.
        dim: Width of the image embedding it is steered by.
        px: Side of its pictures.
        steps: Denoising steps of its configuration.
        guidance: Guidance of its configuration; 1 or less runs no unconditional pass.
        unet: Arguments of ``UNet2DConditionModel``.
        vae: Arguments of ``AutoencoderKL``.
        ip_adapter: Whether the embedding comes in by an IP-Adapter.
    """

    label: str
    dim: int
    px: int
    steps: int
    guidance: float
    unet: dict[str, Any] = field(repr=False)
    vae: dict[str, Any] = field(repr=False)
    ip_adapter: bool

    @property
    def side(self) -> int:
        """Side of the latents."""
        return self.px // PIXELS_PER_LATENT

    @property
    def text_width(self) -> int:
        """Width of the states of the text."""
        return int(self.unet["cross_attention_dim"])

    @property
    def is_sdxl(self) -> bool:
        """True where the U-Net is also told the picture's size and a pooled text."""
        return self.unet.get("addition_embed_type") == "text_time"

    def vae_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Precision of the autoencoder: SDXL's own overflows in half precision and stays in float32."""
        return torch.float32 if self.vae.get("force_upcast") else dtype

    def evaluations(self, steps: int | None = None) -> int:
        """U-Net evaluations of one picture."""
        return (self.steps if steps is None else steps) * (2 if self.guidance > 1 else 1)


MODELS: dict[str, RealModel] = {
    "sd15-ip": RealModel("SD 1.5 + IP-Adapter", 1024, 512, 25, 5.0, SD15_UNET, SD_VAE, True),
    "unclip": RealModel("SD 2.1 unCLIP", 1024, 768, 25, 5.0, UNCLIP_UNET, SD_VAE, False),
    "sdxl-ip": RealModel("SDXL + IP-Adapter", 1024, 1024, 25, 5.0, SDXL_UNET, SDXL_VAE, True),
}


def build_unet(model: RealModel) -> Any:
    """Build the U-Net on the device of the context, with the IP-Adapter's projections and keys and values."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(**{**model.unet, "sample_size": model.side})
    if model.ip_adapter:
        unet._load_ip_adapter_weights([ip_adapter_weights(unet, model)], low_cpu_mem_usage=False)
    return unet.eval().requires_grad_(False)


def build_vae(model: RealModel) -> Any:
    """Build the autoencoder on the device of the context."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(**model.vae).eval().requires_grad_(False)


def ip_adapter_weights(unet: Any, model: RealModel) -> dict[str, dict[str, torch.Tensor]]:
    """Make up the file of an IP-Adapter: one linear layer to four tokens, keys and values of every cross-attention."""
    width = IP_TOKENS * model.text_width
    projection = {
        "proj.weight": torch.randn(width, model.dim) / model.dim**0.5,
        "proj.bias": torch.zeros(width),
        "norm.weight": torch.ones(model.text_width),
        "norm.bias": torch.zeros(model.text_width),
    }
    keys: dict[str, torch.Tensor] = {}
    for position, name in enumerate(unet.attn_processors):
        if name.endswith("attn1.processor"):
            continue
        inner = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
        for kind in ("k", "v"):
            weight = torch.randn(inner, model.text_width) / model.text_width**0.5
            # The published files count the processors twice: odd numbers are those of cross-attention.
            keys[f"{position}.to_{kind}_ip.weight"] = weight
    return {"image_proj": projection, "ip_adapter": keys}


def unet_inputs(model: RealModel, batch: int, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Make up arguments of one U-Net pass on the device of the context.

    Args:
        model: Whose pass.
        batch: Rows; two a picture under guidance.
        dtype: Their precision.

    Returns:
        Keyword arguments of the U-Net's ``forward``.
    """
    given: dict[str, Any] = {
        "sample": torch.zeros(batch, 4, model.side, model.side, dtype=dtype),
        "timestep": torch.zeros(batch, dtype=torch.long),
        "encoder_hidden_states": torch.zeros(batch, TEXT_TOKENS, model.text_width, dtype=dtype),
        "return_dict": False,
    }
    added: dict[str, Any] = {}
    if model.ip_adapter:
        added["image_embeds"] = [torch.zeros(batch, 1, model.dim, dtype=dtype)]
    else:
        given["class_labels"] = torch.zeros(batch, 2 * model.dim, dtype=dtype)
    if model.is_sdxl:
        added["text_embeds"] = torch.zeros(batch, SDXL_POOLED, dtype=dtype)
        added["time_ids"] = torch.zeros(batch, TIME_IDS, dtype=dtype)
    return {**given, "added_cond_kwargs": added} if added else given
