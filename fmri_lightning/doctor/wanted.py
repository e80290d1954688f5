"""Which hub models a configuration or a named space would load, without loading anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmri_lightning.embeddings.hub_files import HubFiles
from fmri_lightning.embeddings.packaged import packaged_path
from fmri_lightning.embeddings.spaces import SPACES, SpaceSpec, resolve_space
from fmri_lightning.errors import BadInputError

if TYPE_CHECKING:
    from fmri_lightning.generation.decoder import DecoderConfig

PREDICTS = "fmri_lightning.generation.module.ReconstructionModule"
CHOOSER = "vit-b-32"
"""Space of ``clip-cache`` by default, whose encoder chooses among samples."""
AUTOENCODER = "sd-vae"
"""Space of configs/encoder/low_level.yaml, whose latents the low-level path predicts."""


@dataclass(frozen=True)
class Wanted:
    """One hub model.

    Attributes:
        what: What loads it, for instance "decoder of predict.yaml".
        files: Which files.
    """

    what: str
    files: HubFiles


def shipped() -> list[Wanted]:
    """List the hub models of the shipped decoder configurations and of the named spaces.

    Raises:
        BadInputError: The configurations are not in this installation.
    """
    paths = [packaged_path("configs/predict.yaml"), *sorted(packaged_path("configs/decoder").glob("*.yaml"))]
    found: dict[HubFiles, list[str]] = {}
    for path in paths:
        for one in of_configs([path]):
            found.setdefault(one.files, []).append(path.name)
    decoders = [Wanted(f"decoder of {', '.join(names)}", files) for files, names in found.items()]
    return decoders + [_of_space(spec) for spec in SPACES.values() if not spec.is_folder]


def of_words(words: Sequence[str]) -> list[Wanted]:
    """List the hub models of configuration files, merged in order as predict merges them, and of named spaces.

    Args:
        words: Paths of YAML files, ``configs/...`` also from the installed package, or names as of ``--space``.

    Returns:
        Models, each once.

    Raises:
        BadInputError: A file is missing, not YAML, or configures no prediction.
    """
    names = [word for word in words if word in SPACES]
    paths = [_config(word) for word in words if word not in SPACES]
    found = of_configs(paths) if paths else []
    found += [_of_space(SPACES[name]) for name in names if not SPACES[name].is_folder]
    return list({one.files: one for one in found}.values())


def of_configs(paths: Sequence[Path]) -> list[Wanted]:
    """List the hub models that predict would load with these configuration files.

    Args:
        paths: YAML files, later ones on top.

    Returns:
        The decoder's model, and the encoder that chooses where a picture has several samples.

    Raises:
        BadInputError: A file is missing, not YAML, or configures no prediction.
    """
    from fmri_lightning.generation.decoder import RETRIEVAL, family_files

    merged: dict[str, Any] = {}
    for path in paths:
        _merge(merged, _read(path))
    names = ", ".join(path.name for path in paths)
    model, data = merged.get("model", {}), merged.get("data", {})
    if not isinstance(model, dict) or model.get("class_path", "").rsplit(".", 1)[-1] != PREDICTS.rsplit(".", 1)[-1]:
        raise BadInputError(f"{names}: no model of predict there; give configs/predict.yaml or configs/decoder/*.yaml")
    settings, config = model.get("init_args", {}), _decoder_config(model.get("init_args", {}), names)
    found = []
    if config.family not in ("none", RETRIEVAL):
        found += [Wanted(f"decoder of {names}", files) for files in family_files(config).hub_files(config)]
    if settings.get("low_level"):
        found += _autoencoder(settings["low_level"])
    if (settings.get("n_samples") or 1) > 1:
        found += _chooser(data.get("init_args", {}).get("clip_cache"))
    return found


def _decoder_config(settings: dict[str, Any], names: str) -> DecoderConfig:
    from fmri_lightning.generation.decoder import DecoderConfig, IPAdapterConfig

    given = dict(settings.get("decoder") or {})
    try:
        given |= {"ip_adapter": IPAdapterConfig(**(given.get("ip_adapter") or {}))}
        return replace(DecoderConfig(), **given)
    except TypeError as error:
        raise BadInputError(f"{names}: model.init_args.decoder has a key that no decoder has ({error})") from error


def _chooser(clip_cache: str | None) -> Iterable[Wanted]:
    """The encoder that embeds drawn samples: that of the CLIP cache, or of the default one before it is made."""
    from fmri_lightning.embeddings.cache import read_cache_manifest

    spec = SPACES[CHOOSER]
    if clip_cache is not None and Path(clip_cache).is_file():
        space = read_cache_manifest(Path(clip_cache))[1]
        spec = SPACES.get(space.name) or resolve_space(None, space.model_id, space.revision or None)
    return [] if spec.is_folder else [replace(_of_space(spec), what=f"chooses among samples, {spec.name}")]


def _autoencoder(checkpoint: str) -> Iterable[Wanted]:
    """The autoencoder whose latents an encoder predicts, or the default one before it is fitted."""
    from fmri_lightning.encoder.load import load_encoder

    spec = SPACES[AUTOENCODER]
    if Path(checkpoint).is_file():
        space = load_encoder(checkpoint).space
        spec = SPACES.get(space.name) or resolve_space(space.model_id)
    return [] if spec.is_folder else [replace(_of_space(spec), what=f"low-level path, {spec.name}")]


def _of_space(spec: SpaceSpec) -> Wanted:
    return Wanted(f"space {spec.name}", spec.hub_files())


def _config(word: str) -> Path:
    path = Path(word)
    return packaged_path(word) if word.startswith("configs/") and not path.exists() else path


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(SPACES)
        raise BadInputError(f"{path} does not exist; give a YAML file of predict, or a space ({known})") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInputError(f"{path} cannot be read as YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found, dict):
        raise BadInputError(f"{path} holds no configuration; give a YAML file of predict")
    return found


def _merge(below: dict[str, Any], on_top: dict[str, Any]) -> None:
    for key, value in on_top.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = value
