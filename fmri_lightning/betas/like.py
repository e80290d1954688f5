"""A store that is like another: the same voxels in the same order, for trials that only predictions are made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fmri_lightning.betas.store import BetaStore
from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import Manifest, content_hash

LIKE = "like"
"""In the settings of a store: which training store it is like, by content hash and by the hash of its voxels."""


def open_training_store(folder: Path, subject: str) -> BetaStore:
    """Open the store that others shall be like.

    Args:
        folder: Of the store, or of all subjects' stores.
        subject: Whose.

    Returns:
        The store.

    Raises:
        BadInputError: If it is missing or damaged, of another subject, not of NSD's volumes, or itself like another.
    """
    store = BetaStore.open(folder if (folder / "manifest.json").is_file() else folder / subject)
    config = store.manifest.config
    if config.get("subject") != subject:
        raise BadInputError(f"{store.folder} is the store of {config.get('subject')}, the index is of {subject}")
    if config.get("source", "nsd") != "nsd" or LIKE in config:
        raise BadInputError(
            f"{store.folder} is of the source {config.get('source')}; a store that encoders are trained on, with "
            "positions of voxels, is meant: fmri-lightning betas of --source nsd"
        )
    return store


def describe_like(store: BetaStore) -> dict[str, Any]:
    """Describe a training store for the settings of a store that is like it."""
    return {
        "betas": store.manifest.content_hash,
        "ijk": content_hash(store.ijk),
        "index": store.manifest.inputs["index"],
        "split": store.manifest.inputs["split"],
        "folder": store.folder.as_posix(),
    }


def require_like(store: BetaStore, preproc: Manifest) -> None:
    """Refuse a store whose voxels are not those that a preprocessing was fitted on, in the same order.

    Args:
        store: Of trials that are for prediction only.
        preproc: Manifest of the preprocessing.

    Raises:
        BadInputError: If the store is like another training store, of another subject, or its voxels are not the ones
            it recorded.
    """
    like = store.manifest.config.get(LIKE)
    again = "make it again with: fmri-lightning betas --like DIR"
    if not isinstance(like, dict):
        raise BadInputError(f"{store.folder} does not say which training store its voxels are those of; {again}")
    if like.get("betas") != preproc.inputs.get("betas"):
        raise BadInputError(
            f"{store.folder} is like the training store {str(like.get('betas'))[:12]}, the preprocessing was fitted on "
            f"{str(preproc.inputs.get('betas'))[:12]}; give --data.preproc of that store, or {again}"
        )
    if store.manifest.config.get("subject") != preproc.config.get("subject"):
        raise BadInputError(
            f"{store.folder} is of {store.manifest.config.get('subject')}, the preprocessing of "
            f"{preproc.config.get('subject')}"
        )
    if content_hash(store.ijk) != like.get("ijk"):
        raise BadInputError(
            f"the voxels of {store.folder} are not those of the training store, or not in its order; {again}"
        )
