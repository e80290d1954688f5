"""Tiny Stable Diffusion 1.5 and XL with an IP-Adapter: the real classes, written as their repositories are."""

import warnings
from pathlib import Path

import torch

from tests.generation.tiny import N_TARGET, TARGET, generator_parts
from tests.generation.tiny_text import TEXT_WIDTH, text_parts

N_TOKENS = 4
WEIGHTS = "models/ip-adapter_tiny.safetensors"


def sd15_parts(folder: Path) -> dict:
    from diffusers import DDIMScheduler, UNet2DConditionModel

    with torch.random.fork_rng():
        torch.manual_seed(11)
        unet = UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), mid_block_type="UNetMidBlock2DCrossAttn",
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=(2, 4), norm_num_groups=8,
        )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    return {
        **text_parts(folder),
        "unet": unet.eval(),
        "vae": generator_parts()["vae"],
        "scheduler": scheduler,
        "safety_checker": None,
        "feature_extractor": None,
        "image_encoder": None,
    }


def sdxl_parts(folder: Path) -> dict:
    from diffusers import DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    first, second = text_parts(folder / "first"), text_parts(folder / "second")
    words = second["tokenizer"].vocab_size
    config = CLIPTextConfig(
        vocab_size=words, hidden_size=TEXT_WIDTH, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=8, eos_token_id=words - 1, bos_token_id=words - 2, projection_dim=12,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(12)
        text_encoder_2 = CLIPTextModelWithProjection(config).eval()
        unet = UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), mid_block_type="UNetMidBlock2DCrossAttn",
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=2 * TEXT_WIDTH,
            attention_head_dim=(2, 4), norm_num_groups=8, use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=12 + 6 * 8,
        )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    return {
        "tokenizer": first["tokenizer"],
        "text_encoder": _two_layers(first["text_encoder"]),
        "tokenizer_2": second["tokenizer"],
        "text_encoder_2": text_encoder_2,
        "unet": unet.eval(),
        "vae": generator_parts()["vae"],
        "scheduler": scheduler,
        "feature_extractor": None,
        "image_encoder": None,
    }


def _two_layers(text_encoder):
    """SDXL reads the last layer but one."""
    from transformers import CLIPTextModel

    config = text_encoder.config
    config.num_hidden_layers = 2
    with torch.random.fork_rng():
        torch.manual_seed(13)
        return CLIPTextModel(config).eval()


PARTS = {"sd15": sd15_parts, "sdxl": sdxl_parts}


def pipeline_of(family: str, folder: Path):
    """The stock pipeline without an IP-Adapter."""
    import diffusers

    parts = PARTS[family](folder)
    if family == "sd15":
        return diffusers.StableDiffusionPipeline(**parts, requires_safety_checker=False)
    return diffusers.StableDiffusionXLPipeline(**parts, add_watermarker=False)


def stock_pipeline(family: str, folder: Path):
    """The same, read from its folder: a scheduler's settings are all written there, defaults too."""
    import diffusers

    name = "StableDiffusionPipeline" if family == "sd15" else "StableDiffusionXLPipeline"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(diffusers, name).from_pretrained(folder, use_safetensors=True)


def ip_adapter_weights(unet, dim: int = N_TARGET) -> dict:
    """Weights in the format of h94/IP-Adapter: a projection to four tokens, keys and values per cross-attention."""
    width = unet.config.cross_attention_dim
    generator = torch.Generator().manual_seed(14)

    def normal(*shape):
        return torch.randn(shape, generator=generator) * 0.5

    found = {
        "image_proj.proj.weight": normal(N_TOKENS * width, dim),
        "image_proj.proj.bias": normal(N_TOKENS * width),
        "image_proj.norm.weight": 1 + normal(width),
        "image_proj.norm.bias": normal(width),
    }
    crossing = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for place, name in enumerate(crossing):
        keys = unet.get_submodule(name.removesuffix(".processor")).to_k
        for kind in ("k", "v"):
            found[f"ip_adapter.{2 * place + 1}.to_{kind}_ip.weight"] = normal(keys.out_features, width)
    return found


def write_base(family: str, folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline_of(family, folder / "words").save_pretrained(folder)
    return folder


def write_ip_adapter(family: str, folder: Path, dim: int = N_TARGET, name: str = WEIGHTS) -> Path:
    """A folder as that of h94/IP-Adapter, with the space it was trained on."""
    from safetensors.torch import save_file

    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(ip_adapter_weights(PARTS[family](folder / "words")["unet"], dim), path)
    if dim == N_TARGET:
        (path.parent / "embedding_space.json").write_text(TARGET.to_json())
    return folder


def config(ip_folders: dict, family: str, **changes):
    """Configuration of a tiny decoder."""
    from fmri_lightning.generation.decoder import DecoderConfig, IPAdapterConfig

    base, adapter = ip_folders[family]
    beside = IPAdapterConfig(str(adapter), weight_name=WEIGHTS)
    return DecoderConfig(**{"family": family, "model_id": str(base), "ip_adapter": beside, **changes})
