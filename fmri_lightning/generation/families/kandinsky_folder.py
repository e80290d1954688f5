"""What is known of a Kandinsky 2.2 decoder, and of what it tells the unconditional half, without loading them."""

from __future__ import annotations

from pathlib import Path

from fmri_lightning.embeddings.hub_files import HubFiles
from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.families.repository import Home, Repository, files_of, space_beside, space_by_name
from fmri_lightning.manifest import read_json
from fmri_lightning.records import EmbeddingSpace

DEFAULT_ID = "kandinsky-community/kandinsky-2-2-decoder"
DEFAULT_REVISION = "9ae140d347fed8ce6e8bb3005dcc1f48543bb8e3"
PRIOR_ID = "kandinsky-community/kandinsky-2-2-prior"
PRIOR_REVISION = "9fc51ad5732afc5d031724219d22e6c42179c5a8"
CLASSES = ("KandinskyV22Pipeline",)
NEGATIVE_FILE = "negative_embedding.safetensors"
"""Beside model_index.json: the embedding of the empty picture, so that the image encoder is not needed."""

_READ = ("model_index.json", "*/*.json", "unet/*.safetensors", "movq/*.safetensors")
_NEEDED = ("model_index.json", "unet/config.json", "unet/*.safetensors", "movq/config.json", "movq/*.safetensors")
_ENCODER = ("image_encoder/config.json", "image_encoder/*.safetensors")
_PARTS = ("unet", "movq", "scheduler")
_SPACES = {1280: "vit-bigg-14"}


def model_name(config: DecoderConfig) -> str:
    """Name the weights of a configuration as they go into summaries."""
    return config.model_id or DEFAULT_ID


def repository(config: DecoderConfig) -> Repository:
    """Say where the decoder lies.

    Args:
        config: The decoder.

    Raises:
        BadInputError: The folder is missing or holds another pipeline, or the id is known to be dead.
    """
    home = Home(DEFAULT_ID, DEFAULT_REVISION, CLASSES)
    return home.place(config.model_id, config.revision, _READ, _NEEDED)


def prior(config: DecoderConfig) -> Repository | None:
    """Say where the image encoder lies whose embedding of the empty picture is told to the unconditional half.

    Args:
        config: The decoder.

    Returns:
        The place; None where that embedding lies in the decoder's folder and no prior is named.

    Raises:
        BadInputError: A folder that does not exist, or without an image encoder.
    """
    if negative_file(config) is not None:
        return None
    model_id = config.prior or PRIOR_ID
    revision = config.prior_revision or (PRIOR_REVISION if model_id == PRIOR_ID else None)
    place = Repository(model_id, revision, _ENCODER, _ENCODER, PRIOR_ID, "model.decoder.prior")
    folder = place.local()
    if folder is not None and not place.are_here():
        raise BadInputError(
            f"{folder} holds no image_encoder in safetensors for the embedding of the empty picture; set "
            f"--model.decoder.prior to a Kandinsky 2.2 prior, or put {NEGATIVE_FILE} into the decoder's folder"
        )
    return place


def negative_file(config: DecoderConfig) -> Path | None:
    """Find the stored embedding of the empty picture: in the decoder's folder, unless a prior is named."""
    folder = repository(config).local()
    if folder is None or config.prior is not None or not (folder / NEGATIVE_FILE).is_file():
        return None
    return folder / NEGATIVE_FILE


def declared_space(config: DecoderConfig, data: object = None) -> EmbeddingSpace:
    """Read the space of a Kandinsky decoder from its small files.

    Args:
        config: The decoder.
        data: Ignored; the space is that of the weights.

    Returns:
        The space that the U-Net's image projection was trained on; without probe vectors for models not ours.

    Raises:
        BadInputError: Folder or hub id not found, or not a Kandinsky 2.2 decoder.
    """
    place = repository(config)
    prior(config)
    folder = place.local()
    if folder is None:
        if place.model_id == DEFAULT_ID:
            return space_by_name(_SPACES[1280], None)
        folder = place.fetch(("model_index.json", "unet/config.json"))
        place.require_class(folder, CLASSES)
    declared = space_beside(folder)
    if declared is not None:
        return declared
    unet = read_json(folder / "unet" / "config.json")
    width = unet.get("encoder_hid_dim")
    if unet.get("encoder_hid_dim_type") != "image_proj" or unet.get("addition_embed_type") != "image" or not width:
        raise BadInputError(f"{folder}/unet takes no image embedding alone; use a Kandinsky 2.2 decoder")
    return space_by_name(_SPACES.get(width, "unknown"), width)


def hub_files(config: DecoderConfig) -> list[HubFiles]:
    """List what is read of the hub: the decoder's files, and the image encoder's where its one vector is not stored.

    Args:
        config: The decoder.

    Raises:
        BadInputError: A folder is missing, or an id is known to be dead.
    """
    places = [place for place in (repository(config), prior(config)) if place is not None]
    return [files for place in places if (files := place.hub_files()) is not None]


def local_folder(config: DecoderConfig) -> Path | None:
    """Find the folder of the decoder, or None; raises as :func:`repository` does."""
    return repository(config).local()


def weights_fingerprint(config: DecoderConfig, data: object = None) -> str:
    """Identify the weights a run would use: the decoder's, and where the empty picture's embedding comes from.

    Args:
        config: The decoder.
        data: Ignored.

    Returns:
        For each a hash of the folder's files, or the hub revision, joined by a plus.
    """
    place, other, stored = repository(config), prior(config), negative_file(config)
    folder = place.local()
    model = place.fingerprint([] if folder is None else files_of(folder, _PARTS))
    if other is None:
        assert stored is not None
        return f"{model}+{place.fingerprint([stored])}"
    own = other.local()
    return f"{model}+{other.fingerprint([] if own is None else files_of(own, ('image_encoder',)))}"


def further_fields(config: DecoderConfig) -> dict[str, object]:
    """List further settings that decide the bytes of a picture: whose embedding of the empty picture is told."""
    place = prior(config)
    return {"decoder.prior": None if place is None else place.model_id}


def has_transformer_blocks(config: DecoderConfig) -> bool:
    """Say whether there are blocks that compiling speeds up: its attention stands in blocks of another kind."""
    return False


def weights_are_here(config: DecoderConfig) -> bool:
    """Say whether all weights are on this machine, without asking the hub."""
    other = prior(config)
    return repository(config).are_here() and (other is None or other.are_here())


def weights_bytes(config: DecoderConfig) -> int | None:
    """Add up the weights that are kept in memory, as stored; None for a hub model not looked up yet."""
    folder = local_folder(config)
    return None if folder is None else sum(path.stat().st_size for path in files_of(folder, _PARTS))
