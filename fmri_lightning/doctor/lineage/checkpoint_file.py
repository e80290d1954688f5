"""What a checkpoint says about itself; weights are mapped, not read."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import read_json

_OF_PARTS = ("encoder", "adapter", "trunk", "new_subject")


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours, or of training only.

    Args:
        path: The .ckpt file.

    Returns:
        Fields of :class:`~fmri_lightning.doctor.lineage.artefact.Artefact` but path and named.

    Raises:
        BadInputError: Damaged, or no Lightning checkpoint.
    """
    checkpoint = open_mapped(path)
    stored = checkpoint.get("fmri_lightning")
    given = {k: v for k, v in (checkpoint.get("hyper_parameters") or {}).items() if not k.startswith("_")}
    time = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).isoformat(timespec="seconds")
    found = {"created": f"{time} (of the file)", "versions": {"lightning": checkpoint["pytorch-lightning_version"]}}
    if stored is None:
        progress = {key: checkpoint.get(key) for key in ("epoch", "global_step")}
        return {"kind": "training checkpoint", "config": {**progress, **given}, **found}
    if stored.get("kind") not in _OF_PARTS or not isinstance(stored.get("inputs"), dict):
        raise BadInputError(f"{path} describes itself as {stored.get('kind')!r}, expected {' or '.join(_OF_PARTS)}")
    left_out = ("kind", "inputs", "content_hash", "space", "source_space", "target_space")
    config = {key: value for key, value in stored.items() if key not in left_out}
    for name in ("space", "source_space", "target_space"):
        if name in stored:
            space = json.loads(stored[name])
            config[name] = f"{space['name']} ({space['dim']}-D, {space['scale']})"
    digest = str(stored.get("content_hash", ""))
    return {
        "kind": stored["kind"],
        "content_hash": digest,
        "inputs": {str(key): str(value) for key, value in stored["inputs"].items()},
        "config": {**config, **given},
        **found,
        "versions": found["versions"] | _versions_in_report(path, digest),  # type: ignore[operator]
    }


def open_mapped(path: Path) -> dict[str, Any]:
    """Open a Lightning checkpoint without running code in it and without reading its weights.

    Raises:
        BadInputError: Damaged, or no Lightning checkpoint.
    """
    import torch

    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises several kinds for a damaged archive
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInputError(f"{path} cannot be read as a checkpoint ({first[:160]}); fit it again") from error
    if not isinstance(checkpoint, dict) or "pytorch-lightning_version" not in checkpoint:
        raise BadInputError(f"{path} is no Lightning checkpoint; give one that fmri-lightning fit wrote")
    return checkpoint


def _versions_in_report(path: Path, digest: str) -> dict[str, str]:
    """Versions in the report beside the checkpoint, where the report is of these weights."""
    for report in sorted(path.parent.glob("*.json")):
        try:
            found = read_json(report)
        except BadInputError:
            continue
        if isinstance(found, dict) and found.get("content_hash") == digest and isinstance(found.get("versions"), dict):
            return {str(key): str(value) for key, value in found["versions"].items()}
    return {}
