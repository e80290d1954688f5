"""Where unCLIP weights lie: the packaged mini model, a local folder, or the hub cache."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from fmri_lightning.embeddings.hub_files import HubFiles
from fmri_lightning.embeddings.packaged import packaged_path
from fmri_lightning.embeddings.spaces import SPACES
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.manifest import content_hash, file_fingerprint, read_json
from fmri_lightning.records import EmbeddingSpace

DEFAULT_ID = "sd2-community/stable-diffusion-2-1-unclip"
# The image encoder is never asked for: embeddings come from the brain.
_READ = ("model_index.json", "*/*.json", "*/*.txt", "unet/*.safetensors", "vae/*.safetensors",
         "text_encoder/*.safetensors", "image_normalizer/*.safetensors")  # fmt: skip
_ALWAYS = ("model_index.json", "unet/config.json", "unet/*.safetensors", "vae/config.json", "vae/*.safetensors",
           "image_normalizer/*.safetensors")  # fmt: skip
MINI_FOLDER = "checkpoints/mini/generator"
SPACE_FILE = "embedding_space.json"
"""Beside model_index.json of a model of ours: its EmbeddingSpace, with probe vectors."""

HUB_SPACES = {
    "sd2-community/stable-diffusion-2-1-unclip": "vit-h-14",
    "sd2-community/stable-diffusion-2-1-unclip-small": "vit-l-14",
}
# stabilityai took the Stable Diffusion 2 family off the hub in November 2025.
MOVED = {name.replace("sd2-community", "stabilityai"): name for name in HUB_SPACES}
CLASSES = ("StableUnCLIPImg2ImgPipeline", "StableUnCLIPPipeline")


def model_name(config: DecoderConfig) -> str:
    """Name the weights of a configuration as they go into summaries."""
    return config.model_id or ("mini" if config.family == "mini" else DEFAULT_ID)


def hub_files(config: DecoderConfig) -> HubFiles | None:
    """List what is read of a hub model; None for a model that lies in a folder.

    Args:
        config: The decoder.

    Raises:
        BadInputError: The packaged model or the folder is missing, or the id is known to be dead.
    """
    if local_folder(config) is not None:
        return None
    model_id = model_name(config)
    if model_id in MOVED:
        raise BadInputError(f"{model_id} was taken off the hub; set --model.decoder.model_id {MOVED[model_id]}")
    return HubFiles(model_id, config.revision, _READ, needed=_ALWAYS)


def local_folder(config: DecoderConfig) -> Path | None:
    """Find the folder of a packaged or local model.

    Args:
        config: The decoder.

    Returns:
        The folder, or None where the id belongs to the hub.

    Raises:
        BadInputError: The packaged model is missing, or the folder holds no unCLIP pipeline.
    """
    if config.model_id is None:
        folder = packaged_path(MINI_FOLDER) if config.family == "mini" else None
    else:
        folder = Path(config.model_id) if Path(config.model_id).is_dir() else None
        if folder is None and (config.family == "mini" or config.model_id.startswith((".", "/"))):
            raise BadInputError(f"decoder folder {config.model_id} does not exist; give a folder in diffusers format")
    if folder is not None:
        _require_unclip(folder)
    return folder


def _require_unclip(folder: Path) -> None:
    index = read_json(folder / "model_index.json")
    name = index.get("_class_name") if isinstance(index, dict) else None
    if name not in CLASSES:
        raise BadInputError(f"{folder} holds a {name}, expected {' or '.join(CLASSES)}; set --model.decoder.model_id")


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
    folder = local_folder(config)
    if folder is None:
        name = HUB_SPACES.get(model_name(config))
        if name is not None:
            return _space_of(name, SPACES[name].dim)
        folder = fetch_folder(config, ("model_index.json", "unet/config.json"))
        _require_unclip(folder)
    if (folder / SPACE_FILE).is_file():
        return EmbeddingSpace.from_json((folder / SPACE_FILE).read_text(encoding="utf-8"))
    unet = read_json(folder / "unet" / "config.json")
    width = unet.get("projection_class_embeddings_input_dim")
    if unet.get("class_embed_type") != "projection" or not width:
        raise BadInputError(f"{folder}/unet takes no image embedding; use an unCLIP model")
    guess = "mini-target" if config.family == "mini" else {768: "vit-l-14", 1024: "vit-h-14"}.get(width // 2, "unknown")
    return _space_of(guess, width // 2)


def _space_of(name: str, dim: int | None) -> EmbeddingSpace:
    spec = SPACES.get(name)
    assert dim is not None
    return EmbeddingSpace(
        name=name,
        model_id="" if spec is None else spec.model_id,
        revision="" if spec is None or spec.revision is None else spec.revision,
        dim=dim,
        pooling="projection",
        scale="raw",
    )


def fetch_folder(config: DecoderConfig, patterns: tuple[str, ...] = _READ) -> Path:
    """Put a hub model's files on this machine, or find them in its cache.

    Args:
        config: The decoder, with a hub id.
        patterns: Which files; by default all that are read.

    Returns:
        The snapshot folder; its name is the commit.

    Raises:
        BadInputError: The id is dead, gated or not in the cache of a machine without network; the message names the
            mirror and the download command.
        UsageError: The id cannot be a hub id.
    """
    from huggingface_hub.errors import HFValidationError

    files = hub_files(config)
    assert files is not None
    try:
        return (files if patterns == _READ else replace(files, allow=patterns, needed=patterns)).download()
    except HFValidationError as error:
        raise UsageError(f"decoder.model_id {files.model_id!r} is neither a folder nor a hub id") from error
    except (OSError, ValueError) as error:
        raise BadInputError(_not_found(files, error)) from error


def _not_found(files: HubFiles, error: Exception) -> str:
    reason = {
        "RepositoryNotFoundError": "is gone or gated",
        "GatedRepoError": "asks for an accepted licence",
        "RevisionNotFoundError": f"has no revision {files.revision}",
    }.get(type(error).__name__, "is not on this machine and the hub does not answer")
    mirror = "" if files.model_id == DEFAULT_ID else f" (mirror of Stable Diffusion 2.1 unCLIP: {DEFAULT_ID})"
    return f"decoder {files.model_id} {reason}{mirror}; where a network is, run: {files.command()}"


def weights_fingerprint(config: DecoderConfig, data: object = None) -> str:
    """Identify the weights a run would use: size, first and last MiB of each file, or the hub revision.

    Args:
        config: The decoder.
        data: Ignored.

    Returns:
        A hash for a folder, "revision" or "main" for the hub.
    """
    folder = local_folder(config)
    if folder is None:
        return config.revision or "main"
    parts = [json.dumps({"file": path.relative_to(folder).as_posix(), **file_fingerprint(path)}, sort_keys=True)
             for path in _files(folder)]  # fmt: skip
    return content_hash(*parts)


def has_transformer_blocks(config: DecoderConfig) -> bool:
    """Say whether the U-Net looks at text, which is where its transformer blocks are.

    Args:
        config: The decoder.

    Raises:
        BadInputError: Folder or hub id not found.
    """
    folder = local_folder(config) or fetch_folder(config, ("unet/config.json",))
    return "CrossAttn" in json.dumps(read_json(folder / "unet" / "config.json"))


def weights_are_here(config: DecoderConfig) -> bool:
    """Say whether the weights are on this machine, without asking the hub."""
    files = hub_files(config)
    if files is not None:
        return files.cached() is not None
    folder = local_folder(config)
    assert folder is not None
    return any((folder / "unet").glob("*.safetensors")) and any((folder / "vae").glob("*.safetensors"))


def weights_bytes(config: DecoderConfig) -> int | None:
    """Add up the weights that are kept in memory, as stored; None for a hub model not looked up yet."""
    folder = local_folder(config)
    return None if folder is None else sum(path.stat().st_size for path in _files(folder))


def _files(folder: Path) -> list[Path]:
    parts = ("unet", "vae", "image_normalizer", "scheduler", "image_noising_scheduler")
    return sorted(
        path for part in parts for path in (folder / part).glob("*") if path.suffix in (".safetensors", ".json")
    )
