"""Load a fitted encoder for prediction, without Lightning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.encoder.network import LinearMap, NetworkMap, build_predictor
from fmri_lightning.encoder.stored import load_verified, read_checkpoint
from fmri_lightning.records import EmbeddingSpace

if TYPE_CHECKING:
    from fmri_lightning.encoder.data import EncoderRows

ROWS = 1024
"""Rows that are predicted at a time."""


class LoadedEncoder(nn.Module):
    """A fitted encoder, frozen and in evaluation mode.

    Attributes:
        name: "ridge" or "mlp".
        space: Embedding space of its output, raw scale.
        inputs: Content hashes of "preproc", "split" and "clip_cache" it was fitted on.
        subject: For instance "subj01".
        trial_mode: The use of repeats that validation assumed.
        content_hash: Hash over weights and description.
        n_features: Width of its input.
        fitted: What the fit found, for instance alpha.
    """

    def __init__(self, predictor: LinearMap | NetworkMap, description: dict[str, Any]) -> None:
        super().__init__()
        self.predictor = predictor.eval().requires_grad_(False)
        self.name = str(description["name"])
        self.subject = str(description["subject"])
        self.trial_mode = str(description["trial_mode"])
        self.space = EmbeddingSpace.from_json(str(description["space"]))
        self.inputs: dict[str, str] = dict(description["inputs"])
        self.content_hash = str(description["content_hash"])
        self.n_features = int(description["predictor"]["n_features"])
        self.fitted: dict[str, Any] = dict(description["fitted"])

    def forward(self, features: Tensor) -> Tensor:
        """Map preprocessed betas (n, n_features) float32 to raw embeddings (n, dim) float32."""
        result: Tensor = self.predictor(features)
        return result


def load_encoder(path: Path | str) -> LoadedEncoder:
    """Load an encoder checkpoint.

    Args:
        path: For instance checkpoints/ridge/subj01/ridge.ckpt.

    Returns:
        The encoder on the CPU, frozen.

    Raises:
        BadInputError: If the file is missing, damaged, or no encoder.
    """
    checkpoint = read_checkpoint(path, "encoder")
    description = checkpoint["fmri_lightning"]
    predictor = build_predictor(description["predictor"])
    load_verified(predictor, checkpoint, "predictor", Path(path))
    return LoadedEncoder(predictor, description)


def predict_rows(
    encoder: LoadedEncoder, rows: EncoderRows, average_outputs: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Predict rows in batches.

    Args:
        encoder: Loaded.
        rows: Features and targets.
        average_outputs: Average predictions over the rows of a picture.

    Returns:
        Predictions (n, dim), true embeddings (n, dim) and pictures (n,).
    """
    with torch.inference_mode():
        predicted = torch.cat([encoder(part) for part in rows.features.split(ROWS)]).numpy()
    true, ids = rows.targets.numpy(), rows.nsd_ids
    if not average_outputs:
        return predicted, true, ids
    unique, mean = average_repeats(predicted, ids)
    return mean, average_repeats(true, ids)[1], unique
