"""A tiny unCLIP model with cross-attention: the parts of Stable Diffusion 2.1 unCLIP, text encoder and all."""

import json
from pathlib import Path

import torch

from tests.generation.tiny import N_TARGET, generator_parts

TEXT_WIDTH = 16


def text_parts(folder: Path) -> dict:
    """CLIP's text encoder and tokenizer over bytes, written without a hub."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    words = [*map(chr, range(33, 127)), *(f"{chr(i)}</w>" for i in range(33, 127)), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=8)
    config = CLIPTextConfig(
        vocab_size=len(words), hidden_size=TEXT_WIDTH, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=8, eos_token_id=len(words) - 1, bos_token_id=len(words) - 2,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(8)
        text_encoder = CLIPTextModel(config).eval()
    return {"tokenizer": tokenizer, "text_encoder": text_encoder}


def cross_attention_parts(folder: Path) -> dict:
    """The parts of a pipeline whose U-Net looks at text, as that of Stable Diffusion 2.1 does."""
    from diffusers import UNet2DConditionModel

    with torch.random.fork_rng():
        torch.manual_seed(9)
        unet = UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), mid_block_type="UNetMidBlock2DCrossAttn",
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=(2, 4), norm_num_groups=8, use_linear_projection=True,
            class_embed_type="projection", projection_class_embeddings_input_dim=2 * N_TARGET,
        )  # fmt: skip
    return {**generator_parts(), **text_parts(folder), "unet": unet.eval()}
