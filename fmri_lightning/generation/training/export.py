"""Writing a trained generator as a folder that diffusers' own pipeline class loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from torch import Tensor

from fmri_lightning.generation.pixel_space import PixelSpace
from fmri_lightning.records import EmbeddingSpace

SHARD_SIZE = "14MB"
"""Largest weight file, so that hosts and reviewers can open each one."""


_KEPT = ("vae", "scheduler", "image_noising_scheduler", "text_encoder", "tokenizer")
"""Parts that do not depend on what the U-Net is told."""


def write_pipeline(
    folder: Path,
    unet: Any,
    vae: Any,
    space: EmbeddingSpace,
    mean: Tensor,
    std: Tensor,
    scheduler: dict[str, Any],
) -> None:
    """Write U-Net, autoencoder, normaliser, schedulers and the declared embedding space.

    Args:
        folder: an existing folder.
        unet: the U-Net in float32; written in float16, in shards.
        vae: the ``AutoencoderKL`` or ``PixelSpace`` whose latents were learnt; written in float16.
        space: embedding space of the condition.
        mean: of the training embeddings, float32 (dim,).
        std: their standard deviation, float32 (dim,).
        scheduler: configuration of the noise schedule.
    """
    _write_changed(folder, unet, mean, std)
    vae.half().save_pretrained(folder / "vae")
    vae.float()
    noising: Any = DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", num_train_timesteps=scheduler["num_train_timesteps"]
    )
    noising.save_pretrained(folder / "image_noising_scheduler")
    sampling: Any = DDIMScheduler(**scheduler, set_alpha_to_one=True)
    sampling.save_pretrained(folder / "scheduler")
    (folder / "embedding_space.json").write_text(space.to_json() + "\n", encoding="utf-8")
    (folder / "model_index.json").write_text(json.dumps(_model_index(vae), indent=2) + "\n", encoding="utf-8")


def write_variant(folder: Path, source: Path, unet: Any, space: EmbeddingSpace, mean: Tensor, std: Tensor) -> None:
    """Write a pipeline that differs from another one in its U-Net and in the space that it reads.

    Args:
        folder: an existing folder.
        source: the other pipeline; its autoencoder, schedulers and, where it has them, text encoder are copied.
        unet: the U-Net in float32; written in float16, in shards.
        space: embedding space of the condition.
        mean: of the training embeddings, float32 (dim,).
        std: their standard deviation, float32 (dim,).
    """
    index = json.loads((source / "model_index.json").read_text(encoding="utf-8"))
    index |= {"feature_extractor": [None, None], "image_encoder": [None, None]}
    for name in _KEPT:
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / name)
    _write_changed(folder, unet, mean, std)
    (folder / "embedding_space.json").write_text(space.to_json() + "\n", encoding="utf-8")
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write_changed(folder: Path, unet: Any, mean: Tensor, std: Tensor) -> None:
    unet.half().save_pretrained(folder / "unet", max_shard_size=SHARD_SIZE)
    unet.float()
    normalizer = StableUnCLIPImageNormalizer(embedding_dim=len(mean))
    with torch.no_grad():
        normalizer.mean.copy_(mean[None])
        normalizer.std.copy_(std[None])
    normalizer.save_pretrained(folder / "image_normalizer")


def _model_index(vae: Any) -> dict[str, Any]:
    absent: list[None] = [None, None]
    return {
        "_class_name": "StableUnCLIPImg2ImgPipeline",
        "feature_extractor": absent,
        "image_encoder": absent,
        "image_normalizer": ["stable_diffusion", "StableUnCLIPImageNormalizer"],
        "image_noising_scheduler": ["diffusers", "DDPMScheduler"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": absent,
        "tokenizer": absent,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": [type(vae).__module__ if isinstance(vae, PixelSpace) else "diffusers", type(vae).__name__],
    }
