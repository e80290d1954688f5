"""Recognise any artefact of ours by its path, and read what it records about itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fmri_lightning.doctor.lineage import checkpoint_file, named_inputs
from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import MADE_BY, Manifest, read_json, read_manifest

HASH = re.compile(r"[0-9a-f]{64}")
KNOWN = (
    "an index (subject=…), betas, preproc, a CLIP cache (.parquet), a checkpoint (.ckpt), out_of_fold, a calibration, "
    "a reliability, a LoRA, a run, an evaluation, ratings, a generator or image encoder, or a simulated data root"
)


@dataclass(frozen=True)
class Artefact:
    """What is known of an artefact without hashing it.

    Attributes:
        kind: A key of MADE_BY, or "generator", "image encoder", "out_of_fold" or "training checkpoint".
        path: The folder, or the file where it is one.
        content_hash: As recorded; "" where it records none.
        inputs: Name of each input and the content hash it had.
        config: Settings that decided its contents.
        versions: Library versions that made it.
        created: When, as text.
        named: Input to the path that the artefact recorded for it.
    """

    kind: str
    path: Path
    content_hash: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    created: str = ""
    named: dict[str, Path] = field(default_factory=dict)


def read_artefact(path: Path) -> Artefact:
    """Read an artefact.

    Args:
        path: Its folder, or one of its files.

    Returns:
        What it says about itself.

    Raises:
        BadInputError: Nothing there, nothing of ours, or its record is damaged.
    """
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        raise BadInputError(f"{path} does not exist; give {KNOWN}")
    if path.suffix == ".ckpt":
        return Artefact(path=path, **checkpoint_file.read(path), named=named_inputs.of_fit(path))
    if path.suffix == ".parquet" and not (path.parent / "manifest.json").is_file():
        return _of_cache(path)
    if path.name == "model_index.json" or (path.parent / "manifest.json").is_file():
        return _of_folder(path.parent)
    raise BadInputError(f"{path} is no artefact of ours and lies in none; give {KNOWN}")


def _of_folder(path: Path) -> Artefact:
    if (path / "manifest.json").is_file():
        return _of_manifest(path)
    if (path / "model_index.json").is_file():
        return _generator(path)
    if (path / "config.json").is_file() and any(path.glob("*.safetensors")):
        return Artefact("image encoder", path, config=_plain(path / "config.json"), created=_card_facts(path))
    if (path / "SIMULATED.json").is_file():
        found = _plain(path / "SIMULATED.json")
        return Artefact("simulation", path, config={k: v for k, v in found.items() if k not in ("recipe", "about")})
    parts = sorted(path.glob("*of*.parquet"))
    if parts:
        return _out_of_fold(path, parts)
    inside = _artefacts_inside(path)
    hint = f"give one of those inside: {', '.join(inside)}" if inside else f"give {KNOWN}"
    raise BadInputError(f"{path} holds no manifest of ours; {hint}")


def _of_manifest(path: Path) -> Artefact:
    file = path / "manifest.json"
    plain = read_json(file)
    kind = plain.get("kind") if isinstance(plain, dict) else None
    if kind not in MADE_BY:
        raise BadInputError(
            f"{file} is damaged or not ours: its kind is {kind!r}, expected one of {', '.join(MADE_BY)}"
        )
    manifest = read_manifest(path, kind)
    _require_whole(manifest, file)
    return Artefact(
        kind, path, manifest.content_hash, manifest.inputs, manifest.config, manifest.versions, manifest.created,
        named_inputs.of_manifest(path, manifest),
    )  # fmt: skip


def _require_whole(manifest: Manifest, file: Path) -> None:
    again = f"make it again with: fmri-lightning {MADE_BY[manifest.kind]}"
    for name, kind in (("content_hash", str), ("inputs", dict), ("config", dict), ("versions", dict), ("created", str)):
        if not isinstance(getattr(manifest, name), kind):
            raise BadInputError(f"{file} is damaged: {name} is no {kind.__name__}; {again}")
    if not HASH.fullmatch(manifest.content_hash):
        raise BadInputError(f"{file} is damaged: content_hash {manifest.content_hash[:80]!r} is no SHA-256; {again}")


def _of_cache(path: Path) -> Artefact:
    from fmri_lightning.embeddings.cache import read_cache_manifest

    manifest, space = read_cache_manifest(path)
    about = {"space": space.name, "dim": space.dim, "model_id": space.model_id, "revision": space.revision or None}
    inputs = manifest.config.get("inputs", {})  # of out-of-fold predictions: what their encoder was fitted on
    settings = {key: value for key, value in manifest.config.items() if key != "inputs"}
    return Artefact(
        "clip_cache", path, manifest.content_hash, {**manifest.inputs, **inputs}, {**about, **settings},
        manifest.versions, manifest.created, named_inputs.of_fit(path.parent / "x") if inputs else {},
    )  # fmt: skip


def _out_of_fold(path: Path, parts: list[Path]) -> Artefact:
    """Predictions in parts: one hash over all, as the adapter that was trained on them recorded it."""
    found = [_of_cache(part) for part in parts]
    digest = found[0].content_hash
    if len(parts) > 1:
        import numpy as np

        from fmri_lightning.embeddings.cache import EmbeddingCache
        from fmri_lightning.manifest import content_hash

        caches = [EmbeddingCache.open(part) for part in parts]
        ids = np.concatenate([cache.ids for cache in caches])
        order = np.argsort(ids, kind="stable")
        digest = content_hash(
            ids[order].astype(np.int32), np.concatenate([cache.embeddings for cache in caches])[order]
        )
    named = named_inputs.of_fit(path)
    first = found[0]
    return Artefact("out_of_fold", path, digest, first.inputs, first.config, first.versions, first.created, named)


def _generator(path: Path) -> Artefact:
    from fmri_lightning.generation.decoder import DecoderConfig
    from fmri_lightning.generation.families.repository import space_beside
    from fmri_lightning.generation.families.unclip_folder import weights_fingerprint

    digest = weights_fingerprint(DecoderConfig("unclip", str(path.absolute())))
    config: dict[str, Any] = {"pipeline": _plain(path / "model_index.json").get("_class_name")}
    space = space_beside(path)
    if space is not None:
        config |= {"space": space.name, "dim": space.dim}
    unet = _plain(path / "unet" / "config.json") if (path / "unet" / "config.json").is_file() else {}
    config |= {key: unet[key] for key in ("sample_size", "in_channels", "block_out_channels") if key in unet}
    return Artefact("generator", path, digest, config=config, created=_card_facts(path))


def _card_facts(folder: Path) -> str:
    """Training time and steps, as the model card of our own recipes tells them."""
    try:
        card = (folder / "README.md").read_text(encoding="utf-8")
    except OSError:
        return ""
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", card, flags=re.MULTILINE))
    told = [f"{rows[key].strip()} {unit}" for key, unit in (("steps", "steps"), ("device", "")) if key in rows]
    return f"trained by fit, {', '.join(told)}".strip() if told else ""


def _plain(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise BadInputError(f"{path} is damaged: it holds no JSON object")
    return found


def _artefacts_inside(path: Path) -> list[str]:
    """Name what lies one or two folders deeper, the first few."""
    found = []
    for depth in ("*", "*/*"):
        found += [file.parent for file in sorted(path.glob(f"{depth}/manifest.json"))]
        found += sorted(path.glob(f"{depth}.ckpt"))
        found += [file for file in sorted(path.glob(f"{depth}.parquet")) if file.parent not in found]
    named = [str(one) for one in dict.fromkeys(found)]
    return named[:5] + ([f"{len(named) - 5} more"] if len(named) > 5 else [])
