"""Whether a run was made from the inputs that lie there now, and from the settings it names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fmri_lightning.doctor.leaks.parts import NEXT, RunParts
from fmri_lightning.encoder.stored import read_checkpoint
from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.fingerprint import differences
from fmri_lightning.generation.predictions import FILE_NAME, read_predictions
from fmri_lightning.generation.summary import SUMMARY
from fmri_lightning.manifest import content_hash, read_json, read_manifest

OF_DATA = ("subject", "trial_mode", "test_set", "gallery_limit")
OF_MODEL = ("condition", "n_samples", "guidance_scale", "num_inference_steps", "noise_level", "scheduler")


def check_fingerprint(parts: RunParts) -> str:
    """Compare the run's records with one another and with the inputs at hand.

    Args:
        parts: The run.

    Returns:
        A line for the report.

    Raises:
        BadInputError: A hash or a setting differs; the message names each.
    """
    manifest, path = parts.manifest, parts.folder / "manifest.json"
    made = content_hash(json.dumps([manifest.config, manifest.inputs], sort_keys=True))
    if made != manifest.content_hash:
        raise BadInputError(
            f"{path} does not match its own content hash (found {made[:12]}, expected {manifest.content_hash[:12]}); "
            f"{NEXT}"
        )
    named = {key: parts.data.get(key) for key in OF_DATA} | {key: parts.model.get(key) for key in OF_MODEL}
    config = {key: manifest.config.get(key) for key in named}
    for what, found, expected in [(parts.folder / "predict.yaml", named, config), *_other_records(parts)]:
        if found != expected:
            listed = "; ".join(differences(expected, found)).replace("asked for", "here")
            raise BadInputError(f"{what} is of another run than {path} ({listed}); {NEXT}")
    at_hand = {name: _hash_at_hand(name, parts) for name in manifest.inputs}
    if at_hand != manifest.inputs:
        listed = "; ".join(differences(manifest.inputs, at_hand)).replace("asked for", "at hand")
        raise BadInputError(f"{path}: the run was made from other inputs ({listed}); {NEXT}")
    return f"run: made from the inputs at hand ({', '.join(sorted(at_hand))})"


def _other_records(parts: RunParts) -> Iterator[tuple[Any, dict[str, Any], dict[str, Any]]]:
    """Input hashes that other files of the run carry."""
    _, about = read_predictions(parts.folder / FILE_NAME)
    yield parts.folder / FILE_NAME, about["inputs"], parts.manifest.inputs
    path = parts.folder / SUMMARY
    if path.is_file():
        yield path, read_json(path)["provenance"]["inputs"], parts.manifest.inputs


def _hash_at_hand(name: str, parts: RunParts) -> str | None:
    if name in parts.caches:
        return parts.caches[name].content_hash
    if name in ("encoder", "adapter"):
        return str(read_checkpoint(parts.checkpoint_path(name), name)["fmri_lightning"]["content_hash"])
    if name == "low_level":
        return str(read_checkpoint(parts.checkpoint_path(name), "encoder")["fmri_lightning"]["content_hash"])
    if name in ("betas", "preproc"):
        return read_manifest(parts.folder_of(name), name).content_hash
    if name in ("calibration", "reliability") and parts.model.get(name) is not None:
        return read_manifest(parts.model[name], name).content_hash
    if parts.index is None:
        return None
    return {"index": parts.index.content_hash, "split": str(parts.index.config["split_hash"])}.get(name)
