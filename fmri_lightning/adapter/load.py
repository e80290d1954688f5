"""Load a fitted adapter for prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fmri_lightning.adapter.network import AdapterNetwork
from fmri_lightning.encoder.stored import load_verified, read_checkpoint
from fmri_lightning.errors import BadInputError
from fmri_lightning.records import EmbeddingSpace


class LoadedAdapter(nn.Module):
    """A fitted adapter, frozen and in evaluation mode.

    Attributes:
        network: The map; its buffers hold the statistics of the training targets.
        source_space: Embedding space of the input, raw scale.
        target_space: Embedding space of the output, raw scale.
        inputs: Content hashes of "split", "clip_cache" and "target_cache" it was fitted on, and of "out_of_fold" where
            it was trained on predictions as well.
        subject: For instance "subj01".
        content_hash: Hash over weights and description.
    """

    def __init__(self, network: AdapterNetwork, description: dict[str, Any]) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.source_space = EmbeddingSpace.from_json(description["source_space"])
        self.target_space = EmbeddingSpace.from_json(description["target_space"])
        self.inputs: dict[str, str] = dict(description["inputs"])
        self.subject = str(description["subject"])
        self.content_hash = str(description["content_hash"])

    def forward(self, source: Tensor) -> Tensor:
        """Map raw source embeddings (n, n_source) to raw target embeddings (n, n_target)."""
        result: Tensor = self.network(source)
        return result


def load_adapter(path: Path | str) -> LoadedAdapter:
    """Load an adapter checkpoint.

    Args:
        path: For instance checkpoints/clip_adapter/subj01/vit-h-14/adapter.ckpt.

    Returns:
        The adapter on the CPU, frozen.

    Raises:
        BadInputError: If the file is missing, damaged, or no adapter.
    """
    checkpoint = read_checkpoint(path, "adapter")
    description = checkpoint["fmri_lightning"]
    try:
        network = AdapterNetwork(**description["network"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{path} is an adapter of another version; fit it again") from error
    load_verified(network, checkpoint, "predictor", Path(path))
    return LoadedAdapter(network, description)
