"""Where an artefact says that its inputs were: in predict.yaml, in fit.yaml, or in its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fmri_lightning.doctor.runs import folder_of_subject, read_run_settings
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.table import subject_folder
from fmri_lightning.manifest import Manifest

FILES = ("clip_cache", "target_cache", "low_level_cache", "embeddings", "out_of_fold")
PARTS = {
    "encoder": "encoder_ckpt",
    "adapter": "adapter_ckpt",
    "calibration": "calibration",
    "reliability": "reliability",
    "low_level": "low_level",
}


def of_manifest(path: Path, manifest: Manifest) -> dict[str, Path]:
    """Read the recorded places of the inputs of an artefact with a manifest.

    Args:
        path: Its folder.
        manifest: Its manifest.

    Returns:
        Paths by the names of the inputs; they need not exist any more.
    """
    if manifest.kind == "reconstructions":
        return _of_run(path)
    if manifest.kind == "evaluation":
        # An evaluation lies in {run}/evaluation/{protocol}; of a foreign folder it lies anywhere.
        run = path.parent.parent
        return {**_of_run(run), "run": run} if (run / "manifest.json").is_file() else {}
    return {}


def of_fit(path: Path) -> dict[str, Path]:
    """Read the recorded places of the inputs of a fitted part.

    Args:
        path: Its checkpoint, or the folder of its out-of-fold predictions; fit.yaml lies beside either.

    Returns:
        Paths by the names of the inputs.
    """
    for folder in (path.parent, path.parent.parent):
        if (folder / "fit.yaml").is_file():
            return _of_settings(*_settings(folder / "fit.yaml"))
    return {}


def _of_run(run: Path) -> dict[str, Path]:
    try:
        return _of_settings(*read_run_settings(run))
    except (BadInputError, KeyError, TypeError, ValueError):
        return {}


def _of_settings(data: dict[str, Any], model: dict[str, Any]) -> dict[str, Path]:
    subject = str(data.get("subject", ""))
    named = {name: Path(data[name]) for name in FILES if data.get(name)}
    if data.get("index_root"):
        named["index"] = named["split"] = subject_folder(data["index_root"], subject)
    named |= {name: folder_of_subject(data[name], subject) for name in ("betas", "preproc") if data.get(name)}
    lora = (model.get("decoder") or {}).get("lora")
    named |= {"lora": Path(lora)} if lora else {}
    return named | {name: Path(model[key]) for name, key in PARTS.items() if model.get(key)}


def _settings(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        return found["data"]["init_args"], found.get("model", {}).get("init_args", {})
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError):
        return {}, {}
