"""The file of a trunk: what it says about itself, and whether a new subject may borrow it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmri_lightning.encoder.shared.network import layers_of, mean_input
from fmri_lightning.encoder.stored import describe_state, part_of_state, read_checkpoint
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.records import EmbeddingSpace, TrialTable, require_same_space

BESIDE = "trunk"
"""Key of what a trunk's checkpoint holds beside the weights: scale of what it reads, pictures it has seen."""


@dataclass(frozen=True)
class Trunk:
    """What a new subject takes from a shared network.

    Attributes:
        path: The file.
        content_hash: Over weights, pictures and description.
        subjects: Whom it was trained on.
        space: Embedding space, without statistics.
        architecture: Arguments of NetworkMap but the widths.
        layers: Weights of the trunk, by the names of SharedMap.
        skip: Weights of the linear map around them.
        input_weight: Mean over its subjects of the trained input layer, (hidden, dim).
        input_bias: The same of its bias, (hidden,).
        reading_std: Standard deviation of what its subjects' ridges read of pictures left out, mean over subjects.
        train_ids: Pictures it was trained on, sorted.
        val_ids: Pictures by which its epoch was chosen, sorted.
    """

    path: Path
    content_hash: str
    subjects: tuple[str, ...]
    space: EmbeddingSpace
    architecture: dict[str, Any]
    layers: dict[str, Tensor]
    skip: dict[str, Tensor]
    input_weight: Tensor
    input_bias: Tensor
    reading_std: float
    train_ids: NDArray[np.int32]
    val_ids: NDArray[np.int32]


def beside_weights(reading_std: float, train_ids: NDArray[np.int32], val_ids: NDArray[np.int32]) -> dict[str, Tensor]:
    """Collect what goes into the checkpoint under :data:`BESIDE`."""
    return {
        "reading_std": torch.tensor(reading_std),
        "train_ids": torch.from_numpy(np.unique(train_ids).astype(np.int32)),
        "val_ids": torch.from_numpy(np.unique(val_ids).astype(np.int32)),
    }


def describe_trunk(description: dict[str, Any], checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Add the content hash over the weights and what stands beside them."""
    return describe_state(description, {**part_of_state(checkpoint, "predictor"), **checkpoint[BESIDE]})


def load_trunk(path: Path | str) -> Trunk:
    """Load the trunk of a shared network.

    Args:
        path: For instance checkpoints/shared/trunk/shared.ckpt.

    Returns:
        The trunk on the CPU.

    Raises:
        BadInputError: If the file is missing, damaged, or no trunk.
    """
    checkpoint = read_checkpoint(path, "trunk")
    stored, beside = checkpoint["fmri_lightning"], checkpoint[BESIDE]
    if describe_trunk(stored, checkpoint)["content_hash"] != stored.get("content_hash"):
        raise BadInputError(f"{path} does not match its own content hash; it is damaged, fit it again")
    state, subjects = part_of_state(checkpoint, "predictor"), tuple(stored["subjects"])
    weight, bias = mean_input(state, subjects)
    return Trunk(
        path=Path(path),
        content_hash=str(stored["content_hash"]),
        subjects=subjects,
        space=EmbeddingSpace.from_json(stored["space"]),
        architecture=dict(stored["architecture"]),
        layers=layers_of(state, "trunk"),
        skip=layers_of(state, "skip"),
        input_weight=weight,
        input_bias=bias,
        reading_std=float(beside["reading_std"]),
        train_ids=beside["train_ids"].numpy(),
        val_ids=beside["val_ids"].numpy(),
    )


def require_foreign(
    trunk: Trunk,
    subject: str,
    space: EmbeddingSpace,
    table: TrialTable,
    allow_own: bool = False,
) -> None:
    """Refuse a trunk that knows what the new subject is to be scored on, or speaks of other embeddings.

    Args:
        trunk: Loaded.
        subject: The new subject.
        space: Embedding space of its targets.
        table: Its index.
        allow_own: Take a trunk that was trained on this subject.

    Raises:
        UsageError: The trunk was trained on this subject and that was not allowed.
        BadInputError: The space differs, or the trunk saw a picture that is held out here.
    """
    what = f"trunk {trunk.path}"
    if subject in trunk.subjects and not allow_own:
        raise UsageError(
            f"{what} was trained on {subject} itself: take its own encoder, a trunk without it, or say that this is "
            "meant with --model.allow_own true"
        )
    require_same_space(trunk.space, space, what, f"the cache of {subject}")
    unproved = trunk.space.probe is None or space.probe is None
    if unproved and trunk.space.name != space.name:
        raise BadInputError(
            f"{what} was trained on embeddings {trunk.space.name!r}, the cache of {subject} holds {space.name!r}; "
            "give the cache that it was trained on"
        )
    held = {split: table.of_split(split).nsd_id for split in ("val", "test")}
    seen = [(split, "trained on", np.intersect1d(trunk.train_ids, ids)) for split, ids in held.items()]
    seen.append(("test", "chosen by", np.intersect1d(trunk.val_ids, held["test"])))
    for split, how, both in seen:
        if len(both):
            raise BadInputError(
                f"{what} was {how} {len(both)} pictures of the {split} of {subject} (nsd_id "
                f"{', '.join(map(str, both[:5]))}): its scores would be of pictures it knows; fit the trunk on an "
                "index with the same held-out pictures"
            )
