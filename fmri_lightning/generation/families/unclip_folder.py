"""What is known of unCLIP weights without loading them: the packaged mini model, a local folder, or the hub's."""

from __future__ import annotations

import json
from pathlib import Path

from fmri_lightning.embeddings.hub_files import HubFiles
from fmri_lightning.embeddings.packaged import packaged_path
from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.families.repository import Repository, files_of, space_beside, space_by_name
from fmri_lightning.manifest import read_json
from fmri_lightning.records import EmbeddingSpace

DEFAULT_ID = "sd2-community/stable-diffusion-2-1-unclip"
# The image encoder is never asked for: embeddings come from the brain.
_READ = ("model_index.json", "*/*.json", "*/*.txt", "unet/*.safetensors", "vae/*.safetensors",
         "text_encoder/*.safetensors", "image_normalizer/*.safetensors")  # fmt: skip
_NEEDED = ("model_index.json", "unet/config.json", "unet/*.safetensors", "vae/config.json", "vae/*.safetensors",
           "image_normalizer/*.safetensors")  # fmt: skip
_PARTS = ("unet", "vae", "image_normalizer", "scheduler", "image_noising_scheduler")
MINI_FOLDER = "checkpoints/mini/generator"
HUB_SPACES = {DEFAULT_ID: "vit-h-14", f"{DEFAULT_ID}-small": "vit-l-14"}
CLASSES = ("StableUnCLIPImg2ImgPipeline", "StableUnCLIPPipeline")


def model_name(config: DecoderConfig) -> str:
    """Name the weights of a configuration as they go into summaries."""
    return config.model_id or ("mini" if config.family == "mini" else DEFAULT_ID)


def repository(config: DecoderConfig) -> Repository:
    """Say where the weights lie.

    Args:
        config: The decoder.

    Raises:
        BadInputError: The packaged model or the folder is missing, or holds no unCLIP pipeline.
    """
    model_id = model_name(config)
    if config.family == "mini":
        model_id = str(packaged_path(MINI_FOLDER)) if config.model_id is None else str(Path(config.model_id).absolute())
    found = Repository(model_id, config.revision, _READ, _NEEDED, DEFAULT_ID)
    folder = found.local()
    if folder is not None:
        found.require_class(folder, CLASSES)
    return found


def hub_files(config: DecoderConfig) -> list[HubFiles]:
    """List what is read of the hub; nothing for a model that lies in a folder.

    Args:
        config: The decoder.

    Raises:
        BadInputError: The packaged model or the folder is missing, or the id is known to be dead.
    """
    files = repository(config).hub_files()
    return [] if files is None else [files]


def local_folder(config: DecoderConfig) -> Path | None:
    """Find the folder of a packaged or local model, or None; raises as :func:`repository` does."""
    return repository(config).local()


def declared_space(config: DecoderConfig, data: object = None) -> EmbeddingSpace:
    """Read the space of an unCLIP model from its small files.

    Args:
        config: The decoder.
        data: Ignored; the space is that of the weights.

    Returns:
        The space the U-Net's class embedding was trained on; without probe vectors for models that are not ours.

    Raises:
        BadInputError: Folder or hub id not found, or not an unCLIP model.
    """
    place = repository(config)
    folder = place.local()
    if folder is None:
        name = HUB_SPACES.get(model_name(config))
        if name is not None:
            return space_by_name(name, None)
        folder = place.fetch(("model_index.json", "unet/config.json"))
        place.require_class(folder, CLASSES)
    declared = space_beside(folder)
    if declared is not None:
        return declared
    unet = read_json(folder / "unet" / "config.json")
    width = unet.get("projection_class_embeddings_input_dim")
    if unet.get("class_embed_type") != "projection" or not width:
        raise BadInputError(f"{folder}/unet takes no image embedding; use an unCLIP model")
    guess = "mini-target" if config.family == "mini" else {768: "vit-l-14", 1024: "vit-h-14"}.get(width // 2, "unknown")
    return space_by_name(guess, width // 2)


def weights_fingerprint(config: DecoderConfig, data: object = None) -> str:
    """Identify the weights a run would use: size, first and last MiB of each file, or the hub revision.

    Args:
        config: The decoder.
        data: Ignored.

    Returns:
        A hash for a folder, "revision" or "main" for the hub.
    """
    place = repository(config)
    folder = place.local()
    return place.fingerprint([] if folder is None else files_of(folder, _PARTS))


def further_fields(config: DecoderConfig) -> dict[str, object]:
    """List further settings that decide the bytes of a picture: none."""
    return {}


def has_transformer_blocks(config: DecoderConfig) -> bool:
    """Say whether the U-Net looks at text, which is where its transformer blocks are.

    Args:
        config: The decoder.

    Raises:
        BadInputError: Folder or hub id not found.
    """
    folder = repository(config).fetch(("unet/config.json",))
    return "CrossAttn" in json.dumps(read_json(folder / "unet" / "config.json"))


def weights_are_here(config: DecoderConfig) -> bool:
    """Say whether the weights are on this machine, without asking the hub."""
    return repository(config).are_here()


def weights_bytes(config: DecoderConfig) -> int | None:
    """Add up the weights that are kept in memory, as stored; None for a hub model not looked up yet."""
    folder = local_folder(config)
    return None if folder is None else sum(path.stat().st_size for path in files_of(folder, _PARTS))
