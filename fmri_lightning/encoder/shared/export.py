"""An encoder for each subject out of a shared network: a checkpoint that every later stage takes unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fmri_lightning.encoder.shared.data import SharedDataModule
from fmri_lightning.encoder.shared.network import part_for
from fmri_lightning.encoder.stored import describe_state, part_of_state, read_checkpoint, record_of_stimuli
from fmri_lightning.manifest import atomic_path


def export_encoders(trunk: Path, kind: str, data: SharedDataModule, path_of: Callable[[str], Path]) -> dict[str, Path]:
    """Write the encoder of every subject of a shared network.

    Args:
        trunk: Checkpoint of the shared network.
        kind: "trunk", or "new_subject" for a network whose trunk is borrowed and named in what was fitted.
        data: Set up, with the rows it was fitted on.
        path_of: Where a subject's encoder belongs.

    Returns:
        Subject to the file written.
    """
    checkpoint = read_checkpoint(trunk, kind)
    stored, state = checkpoint["fmri_lightning"], part_of_state(checkpoint, "predictor")
    own = {"trunk": {"content_hash": stored["content_hash"], "subjects": stored["subjects"]}}
    written = {}
    for subject, part in data.parts.items():
        weights = part_for(state, tuple(stored["subjects"]), subject)
        n_features, n_outputs = part.n_features, len(part.target_mean)
        description: dict[str, Any] = {
            "kind": "encoder",
            "name": stored["name"],
            "subject": subject,
            "inputs": dict(part.inputs),
            "fitted": {**own, **stored["fitted"], "alpha": [data.readings[subject].alpha]},
            "fitted_on": record_of_stimuli(part.train_ids),
            "predictor": {
                "kind": "network", "n_features": n_features, "n_outputs": n_outputs, **stored["architecture"],
                "linear_path": True,
            },
            "space": part.space.to_json(),
            "trial_mode": data.trial_mode,
            "train_mode": data.train_mode,
            "simulated": part.simulated,
        }  # fmt: skip
        encoder = {
            "state_dict": {f"predictor.{name}": value for name, value in weights.items()},
            "fmri_lightning": describe_state(description, weights),
            # What Lightning asks of a checkpoint that `validate --ckpt_path` is to read.
            **{key: checkpoint[key] for key in ("pytorch-lightning_version", "epoch", "global_step")},
        }
        written[subject] = path_of(subject)
        with atomic_path(written[subject]) as temporary:
            torch.save(encoder, temporary)
    return written
