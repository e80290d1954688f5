"""A tiny Kandinsky 2.2 and the image encoder of its prior: the real classes, written as their repositories are."""

import warnings
from pathlib import Path

import torch

from tests.generation.tiny import N_TARGET, TARGET


def kandinsky_parts(dim: int = N_TARGET) -> dict:
    from diffusers import DDPMScheduler, UNet2DConditionModel, VQModel

    with torch.random.fork_rng():
        torch.manual_seed(21)
        unet = UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=8, layers_per_block=1, block_out_channels=(16, 32),
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), cross_attention_dim=16,
            attention_head_dim=4, norm_num_groups=8, resnet_time_scale_shift="scale_shift",
            addition_embed_type="image", encoder_hid_dim=dim, encoder_hid_dim_type="image_proj",
        )  # fmt: skip
        movq = VQModel(
            block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
            up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"), latent_channels=4, norm_num_groups=8,
            norm_type="spatial", num_vq_embeddings=12, vq_embed_dim=4,
        )  # fmt: skip
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample_range=2.0, thresholding=True,
        sample_max_value=2.0, variance_type="learned_range",
    )  # fmt: skip
    return {"unet": unet.eval(), "movq": movq.eval(), "scheduler": scheduler}


def write_kandinsky(folder: Path, dim: int = N_TARGET) -> Path:
    """A decoder's folder; of the usual width with the space it was trained on."""
    from diffusers import KandinskyV22Pipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        KandinskyV22Pipeline(**kandinsky_parts(dim)).save_pretrained(folder)
    if dim == N_TARGET:
        (folder / "embedding_space.json").write_text(TARGET.to_json())
    return folder


def write_prior(folder: Path, dim: int = N_TARGET) -> Path:
    """The part of a prior's folder that is read."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8,
        projection_dim=dim,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(22)
        CLIPVisionModelWithProjection(config).save_pretrained(folder / "image_encoder")
    return folder


def write_negative(folder: Path, negative: torch.Tensor) -> None:
    from safetensors.torch import save_file

    save_file({"negative": negative.contiguous()}, folder / "negative_embedding.safetensors")


def zero_embedding(folder: Path) -> torch.Tensor:
    """What the stock prior tells the unconditional half, by its own method, (1, dim)."""
    from types import SimpleNamespace

    from diffusers import KandinskyV22PriorPipeline
    from transformers import CLIPVisionModelWithProjection

    encoder = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder").eval()
    with torch.no_grad():
        return KandinskyV22PriorPipeline.get_zero_embed(SimpleNamespace(image_encoder=encoder, device="cpu"))
