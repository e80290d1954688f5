"""What a checkpoint of ours says about itself: written into it, read and verified without running its code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import content_hash


def read_checkpoint(path: Path | str, kind: str) -> dict[str, Any]:
    """Read a checkpoint of ours without running any code in it.

    Args:
        path: The .ckpt file.
        kind: "encoder" or "adapter"; "trunk" or "new_subject" of a shared network.

    Returns:
        The Lightning checkpoint; ``["fmri_lightning"]`` describes what it is.

    Raises:
        BadInputError: If it is missing, damaged, holds more than tensors and plain types, or is of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInputError(f"{path} does not exist; make it with: fmri-lightning fit")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises several kinds for a damaged archive
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInputError(f"{path} cannot be read as a checkpoint ({first_line}); fit it again") from error
    found = checkpoint.get("fmri_lightning", {}).get("kind") if isinstance(checkpoint, dict) else None
    if found != kind:
        is_one = f"{_article(found)} {found}" if found else "no checkpoint of ours"
        raise BadInputError(f"{path} is {is_one}, expected {_article(kind)} {kind}")
    return dict(checkpoint)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def describe_state(description: dict[str, Any], state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Add the content hash to what a checkpoint says about itself.

    Args:
        description: Plain types: kind, space, inputs and so on.
        state: Weights of the map.

    Returns:
        The description with ``content_hash``.
    """
    plain = {key: value for key, value in description.items() if key != "content_hash"}
    parts: list[Any] = [json.dumps(plain, sort_keys=True)]
    for name, tensor in sorted(state.items()):
        parts += [name, tensor.detach().cpu().numpy()]
    return {**plain, "content_hash": content_hash(*parts)}


def record_of_stimuli(nsd_ids: NDArray[np.integer]) -> dict[str, Any]:
    """Describe a set of stimuli in few bytes, so that it can be compared and not be read.

    Args:
        nsd_ids: Stimuli in any order, repeats allowed, (n,).

    Returns:
        ``n_stimuli`` and ``hash`` of the sorted distinct ids.
    """
    ids = np.unique(nsd_ids).astype(np.int32)
    return {"n_stimuli": len(ids), "hash": content_hash(ids)}


def part_of_state(checkpoint: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """Take the weights of one submodule out of a checkpoint, its prefix removed."""
    return {
        name.removeprefix(f"{prefix}."): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(f"{prefix}.")
    }


def load_verified(module: nn.Module, checkpoint: Mapping[str, Any], prefix: str, path: Path) -> None:
    """Load a submodule's weights and compare the content hash.

    Args:
        module: Receives the weights.
        checkpoint: From :func:`read_checkpoint`.
        prefix: Name of the submodule in the LightningModule.
        path: For the message.

    Raises:
        BadInputError: If weights do not fit the module, or are not the ones that were saved.
    """
    state = part_of_state(checkpoint, prefix)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise BadInputError(f"{path} holds weights of another shape than it says; fit it again") from error
    stored = checkpoint["fmri_lightning"]
    if describe_state(stored, state)["content_hash"] != stored.get("content_hash"):
        raise BadInputError(f"{path} does not match its own content hash; it is damaged, fit it again")


def require_inputs(found: Mapping[str, str], expected: Mapping[str, str], what: str) -> None:
    """Refuse a checkpoint that was fitted on other inputs than those at hand.

    Args:
        found: Input hashes in the checkpoint.
        expected: Input hashes at hand.
        what: The checkpoint in words.

    Raises:
        BadInputError: If an input differs; the message names it.
    """
    for name, value in expected.items():
        if found.get(name) != value:
            was = str(found.get(name))[:12]
            raise BadInputError(
                f"{what} was fitted on another {name} ({was}, at hand is {value[:12]}); "
                "fit again without --ckpt_path, or give the inputs it was fitted on"
            )
