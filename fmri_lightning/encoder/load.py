"""Load a fitted encoder for prediction, without Lightning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fmri_lightning.encoder.network import LinearMap, NetworkMap, build_predictor
from fmri_lightning.encoder.stored import load_verified, read_checkpoint
from fmri_lightning.records import EmbeddingSpace


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
