"""The embedding spaces the project knows by a short name.

A name stands for one model, one revision and one width, so that a cache built on two machines
holds the same vectors.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fmri_lightning.embeddings.hub_files import HubFiles
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.manifest import read_json

SpaceKind = Literal["embeddings", "latents"]
"""What a model gives of a picture: an embedding, which says what is seen, or latents, which say where."""

# Not *.safetensors: repositories carry the same weights for other libraries too.
_TOWER_FILES = ("config.json", "preprocessor_config.json", "model.safetensors", "model.safetensors.index.json",
                "model-*-of-*.safetensors")  # fmt: skip
_AUTOENCODER_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
AUTOENCODER_CLASS = "AutoencoderKL"


@dataclass(frozen=True)
class SpaceSpec:
    """Where the image encoder, or the autoencoder, of one embedding space comes from.

    Attributes:
        name: short name, as given to ``--space``.
        model_id: hub repository, or a folder written by ``save_pretrained``.
        revision: 40-hex commit of the hub repository; None for folders.
        dim: width of the projected image embedding, or number of latents; None where only the model can tell.
        preprocessing: in words, what is done to a picture before the model sees it.
        packaged: True when ``model_id`` is a folder that ships with this package.
        kind: "embeddings" of a CLIP image tower, or "latents" of an autoencoder.
    """

    name: str
    model_id: str
    revision: str | None
    dim: int | None
    preprocessing: str
    packaged: bool = False
    kind: SpaceKind = "embeddings"

    @property
    def is_folder(self) -> bool:
        """True when the weights are read from a folder instead of the hub cache."""
        return self.packaged or Path(self.model_id).is_dir()

    def location(self) -> str:
        """What ``from_pretrained`` is given: a hub id or an existing folder.

        Raises:
            BadInputError: the packaged folder is missing.
        """
        if not self.packaged:
            return self.model_id
        from fmri_lightning.embeddings.packaged import packaged_path

        return str(packaged_path(self.model_id))

    def hub_files(self) -> HubFiles:
        """What the loader reads of the hub repository."""
        if self.kind == "latents":
            return HubFiles(self.model_id, self.revision, _AUTOENCODER_FILES, needed=_AUTOENCODER_FILES)
        return HubFiles(self.model_id, self.revision, _TOWER_FILES, needed=("config.json", "model*.safetensors"))

    def download_command(self) -> str:
        """The command that puts the weights on this machine."""
        return self.hub_files().command()


_CLIP = "shortest side bicubic (antialias) to 224 px, centre crop, CLIP mean and std"
_MINI = "shortest side bicubic (antialias) to 64 px, centre crop, CLIP mean and std"


def _latents_of(side_px: int) -> str:
    return f"shortest side bicubic (antialias) to {side_px} px, centre crop, -1..1"


# vit-b-32: the main branch holds pytorch_model.bin only; this commit is the hub's own conversion
# to safetensors, which is the one format loaded here.
SPACES: dict[str, SpaceSpec] = {
    spec.name: spec
    for spec in (
        SpaceSpec(
            "vit-b-32",
            "openai/clip-vit-base-patch32",
            "c237dc49a33fc61debc9276459120b7eac67e7ef",
            512,
            _CLIP,
        ),
        SpaceSpec(
            "vit-l-14",
            "openai/clip-vit-large-patch14",
            "32bd64288804d66eefd0ccbe215aa642df71cc41",
            768,
            _CLIP,
        ),
        SpaceSpec(
            "vit-h-14",
            "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
            "1c2b8495b28150b8a4922ee1c8edee224c284c0c",
            1024,
            _CLIP,
        ),
        SpaceSpec(
            "vit-bigg-14",
            "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
            "743c27bd53dfe508a0ade0f50698f99b39d03bec",
            1280,
            _CLIP,
        ),
        SpaceSpec("mini-source", "checkpoints/mini/source_encoder", None, 512, _MINI, packaged=True),
        SpaceSpec("mini-target", "checkpoints/mini/target_encoder", None, 1024, _MINI, packaged=True),
        SpaceSpec(
            "sd-vae",
            "stabilityai/sd-vae-ft-mse",
            "31f26fdeee1355a5c34592e401dd41e45d25a493",
            4096,
            _latents_of(256),
            kind="latents",
        ),
        SpaceSpec(
            "mini-vae",
            "checkpoints/mini/generator/vae",
            None,
            1024,
            _latents_of(64),
            packaged=True,
            kind="latents",
        ),
    )
}


def resolve_space(space: str | None = None, model_id: str | None = None, revision: str | None = None) -> SpaceSpec:
    """Turn what the user typed into one model.

    Args:
        space: short name from ``SPACES``, or a folder with ``config.json``: of an image tower, or of an AutoencoderKL.
        model_id: hub id or folder of a CLIP model that has no short name.
        revision: commit of the hub repository; overrides the pinned one.

    Raises:
        UsageError: both or neither of ``space`` and ``model_id``, an unknown name, or a hub id
            without a revision.

    Example:
        >>> resolve_space("vit-b-32").dim
        512
    """
    if (space is None) == (model_id is None):
        raise UsageError("give either --space NAME or --model_id ID (with --revision SHA)")
    if space is not None and space in SPACES:
        spec = SPACES[space]
        if revision is None or spec.packaged:
            return spec
        return replace(spec, revision=revision)
    given = space if space is not None else str(model_id)
    if Path(given).is_dir():
        if not (Path(given) / "config.json").is_file():
            raise BadInputError(f"{given} has no config.json: give a folder written by save_pretrained")
        config = read_json(Path(given) / "config.json")
        if isinstance(config, dict) and config.get("_class_name") == AUTOENCODER_CLASS:
            steps = _latents_of(int(config.get("sample_size", 32)))
            return SpaceSpec(Path(given).name, given, None, None, steps, kind="latents")
        return SpaceSpec(Path(given).name, given, None, None, "as its preprocessor_config.json")
    if space is not None:
        close = difflib.get_close_matches(space, SPACES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(SPACES)}"
        raise UsageError(f"unknown space {space!r}: {hint} (or --model_id ID --revision SHA)")
    if revision is None:
        raise UsageError(f"--model_id {given} needs --revision SHA, so that the cache can be built again")
    return SpaceSpec(given, given, revision, None, "as its preprocessor_config.json")
