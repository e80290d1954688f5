"""A fitted preprocessing on disk: preproc.safetensors and its manifest; no torch needed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.fit import FittedPreprocess, PreprocessConfig, preprocess_hash
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import Manifest, atomic_path, content_hash, read_manifest, write_manifest

FILE = "preproc.safetensors"
_FITTED_ON = "fitted_on."


def preprocess_plan(store_hash: str, split_hash: str, config: PreprocessConfig) -> str:
    """Hash what decides a preprocessing, so that an equal one is not fitted again."""
    return content_hash(store_hash, split_hash, json.dumps(dataclasses.asdict(config), sort_keys=True))


def save_preprocess(folder: Path, fitted: FittedPreprocess, config: PreprocessConfig, store: BetaStore) -> Manifest:
    """Write a fitted preprocessing and its manifest.

    Args:
        folder: For instance ``outputs/preproc/subj01``.
        fitted: What was fitted.
        config: With which settings.
        store: On which store.

    Returns:
        The manifest.
    """
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    tensors = {name: np.ascontiguousarray(array) for name, array in fitted.arrays.items()}
    tensors |= {f"{_FITTED_ON}{name}": np.ascontiguousarray(trials) for name, trials in fitted.fitted_on.items()}
    with atomic_path(folder / FILE) as temporary:
        save_file(tensors, temporary)
    split = store.manifest.inputs["split"]
    manifest = Manifest(
        kind="preproc",
        content_hash=preprocess_hash(fitted.arrays),
        inputs={"betas": store.manifest.content_hash, "index": store.manifest.inputs["index"], "split": split},
        config={
            **dataclasses.asdict(config),
            **fitted.report,
            "subject": store.manifest.config["subject"],
            "n_voxels": store.betas.shape[1],
            "fitted_on": {
                name: {"n_trials": len(trials), "hash": content_hash(trials)}
                for name, trials in fitted.fitted_on.items()
            },
            "simulated": store.manifest.config["simulated"],
            "plan": preprocess_plan(store.manifest.content_hash, split, config),
        },
    )
    write_manifest(folder, manifest)
    return manifest


def read_preprocess(folder: Path | str) -> tuple[FittedPreprocess, Manifest]:
    """Read a fitted preprocessing.

    Args:
        folder: For instance ``outputs/preproc/subj01``.

    Returns:
        The fitted numbers and the manifest.

    Raises:
        BadInputError: If it is missing, damaged, or not the one its manifest describes.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    manifest = read_manifest(folder, "preproc")
    again = f"make it again with: fmri-lightning betas --subject {manifest.config.get('subject')} --overwrite"
    try:
        tensors: dict[str, NDArray[Any]] = load_file(folder / FILE)
    except (OSError, SafetensorError) as error:
        raise BadInputError(f"{folder / FILE} cannot be read ({error}); {again}") from error
    arrays = {name: array for name, array in tensors.items() if not name.startswith(_FITTED_ON)}
    fitted_on = {n.removeprefix(_FITTED_ON): a for n, a in tensors.items() if n.startswith(_FITTED_ON)}
    # Records are checked too: the leak linter believes them first.
    recorded = {name: content_hash(trials) for name, trials in fitted_on.items()}
    described = {name: entry["hash"] for name, entry in manifest.config["fitted_on"].items()}
    if preprocess_hash(arrays) != manifest.content_hash or recorded != described:
        raise BadInputError(f"{folder / FILE} is not the file its manifest describes; {again}")
    return FittedPreprocess(arrays, fitted_on, {}), manifest
