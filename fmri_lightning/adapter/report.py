"""The adapter's report: its scores beside those of maps that cost nothing to train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from fmri_lightning.adapter.data import AdapterDataModule, EmbeddingPairs
from fmri_lightning.adapter.load import LoadedAdapter, load_adapter
from fmri_lightning.encoder.validation import embedding_scores
from fmri_lightning.manifest import versions, write_json
from fmri_lightning.metrics.cosine import cosine


def write_report(checkpoint: Path, data: AdapterDataModule, settings: dict[str, Any]) -> Path:
    """Score a fitted adapter on val and test and write ``{subject}_clip_adapter.json`` beside it.

    Args:
        checkpoint: The adapter that was kept.
        data: Set up, with the pairs it was fitted on.
        settings: Hyperparameters of the fit, plain types.

    Returns:
        The file written.
    """
    adapter = load_adapter(checkpoint)
    train, val, test = (data.pairs(split) for split in ("train", "val", "test"))
    linear = least_squares(train)
    mean = data.target_mean.numpy()
    parts = {"val": val, "test": test}
    # The mean has centred cosine 0 and ranks at chance by definition.
    constant = {name: {"cosine": _scores(adapter, part, mean)["mean_vector_cosine"]} for name, part in parts.items()}
    squares = {name: scores_of(linear(part.source), part.target.numpy(), mean) for name, part in parts.items()}
    path = checkpoint.with_name(f"{data.subject}_clip_adapter.json")
    report = {
        "subject": data.subject,
        "model": "Linear + LayerNorm" if settings["layer_norm"] else "Linear",
        "parameters": sum(parameter.numel() for parameter in adapter.network.parameters()),
        "source_dim": data.source_space.dim,
        "source_model": data.source_space.model_id,
        "target_dim": data.target_space.dim,
        "target_model": data.target_space.model_id,
        "data_splits": {"n_train": len(train.nsd_ids), "n_val": len(val.nsd_ids), "n_test": len(test.nsd_ids)},
        "hyperparameters": settings,
        "validation_metrics": _scores(adapter, val, mean),
        "test_metrics": _scores(adapter, test, mean),
        "baselines": {"mean_vector": constant, "least_squares": squares},
        "model_checkpoint": checkpoint.name,
        "content_hash": adapter.content_hash,
        "inputs": data.inputs,
        "simulated": data.simulated,
        "versions": versions(),
    }
    write_json(path, report)
    return path


def scores_of(
    predicted: NDArray[np.floating], true: NDArray[np.floating], training_mean: NDArray[np.floating]
) -> dict[str, float]:
    """Score predicted target embeddings.

    Args:
        predicted: Raw, (n, dim).
        true: Raw, (n, dim), one row a picture.
        training_mean: Mean target of the training pictures, (dim,).

    Returns:
        The scores of :func:`~fmri_lightning.encoder.validation.embedding_scores`, ``cosine_std`` over pictures and
        ``mse`` of raw vectors.
    """
    return {
        **embedding_scores(predicted, true, training_mean),
        "cosine_std": float(cosine(predicted, true).std()),
        "mse": float(np.mean(np.square(predicted.astype(np.float64) - true))),
    }


class LeastSquares:
    """Ordinary least squares from unit-length source to raw target, with intercept, in closed form.

    Args:
        weights: (n_source, n_target).
        source_mean: Mean unit-length source, (n_source,).
        target_mean: Mean target, (n_target,).
    """

    def __init__(
        self, weights: NDArray[np.float64], source_mean: NDArray[np.float64], target_mean: NDArray[np.float64]
    ) -> None:
        self.weights, self.source_mean, self.target_mean = weights, source_mean, target_mean

    def __call__(self, source: torch.Tensor) -> NDArray[np.float64]:
        """Map raw source embeddings (n, n_source) to raw target embeddings (n, n_target)."""
        return np.asarray((_unit(source) - self.source_mean) @ self.weights + self.target_mean)


def least_squares(pairs: EmbeddingPairs) -> LeastSquares:
    """Fit ordinary least squares; the solution of least norm when pairs are fewer than dimensions."""
    source, target = _unit(pairs.source), pairs.target.double().numpy()
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    weights = np.linalg.lstsq(source - source_mean, target - target_mean, rcond=None)[0]
    return LeastSquares(weights, source_mean, target_mean)


def _unit(source: torch.Tensor) -> NDArray[np.float64]:
    return np.asarray(functional.normalize(source.double(), dim=-1).numpy())


def _scores(adapter: LoadedAdapter, pairs: EmbeddingPairs, mean: NDArray[np.floating]) -> dict[str, float]:
    with torch.inference_mode():
        predicted = adapter(pairs.source).numpy()
    return scores_of(predicted, pairs.target.numpy(), mean)
