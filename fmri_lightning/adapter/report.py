"""The adapter's report: its scores beside those of simpler maps, on true sources and on what an encoder predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fmri_lightning.adapter.baselines import LeastSquares, least_squares, scores_of
from fmri_lightning.adapter.data import AdapterDataModule, EmbeddingPairs
from fmri_lightning.adapter.load import LoadedAdapter, load_adapter
from fmri_lightning.adapter.timing import inference_time
from fmri_lightning.adapter.voxels import HeldOut, Voxels
from fmri_lightning.encoder.validation import collapse_sentence, validate_embeddings
from fmri_lightning.manifest import versions, write_json

NOT_COMPUTED = "not computed: name --data.betas, --data.preproc and --model.encoder_ckpt"
SPLITS: tuple[HeldOut, ...] = ("val", "test")


def write_report(
    checkpoint: Path, data: AdapterDataModule, settings: dict[str, Any], voxels: Voxels | None = None
) -> tuple[Path, dict[str, Any]]:
    """Score a fitted adapter on val and test and write ``{subject}_clip_adapter.json`` beside it.

    Args:
        checkpoint: The adapter that was kept.
        data: Set up, with the pairs it was fitted on.
        settings: Hyperparameters of the fit, plain types.
        voxels: An encoder and its betas, for the comparison from voxels; None leaves it out and says so.

    Returns:
        The file written and the report.
    """
    adapter = load_adapter(checkpoint)
    train, val, test = (data.pairs(split) for split in ("train", "val", "test"))
    linear = least_squares(train)
    mean = data.target_mean.numpy()
    parts = {"val": val, "test": test}
    own = {name: scores_of(_adapted(adapter, part.source), part.target.numpy(), mean) for name, part in parts.items()}
    squares = {name: scores_of(linear(part.source), part.target.numpy(), mean) for name, part in parts.items()}
    # The mean has centred cosine 0 and ranks at chance by definition.
    constant = {name: {"cosine": scores["mean_vector_cosine"]} for name, scores in own.items()}
    report = {
        "subject": data.subject,
        "model": _name_of(settings),
        "parameters": sum(parameter.numel() for parameter in adapter.network.parameters()),
        "source_dim": data.source_space.dim,
        "source_model": data.source_space.model_id,
        "target_dim": data.target_space.dim,
        "target_model": data.target_space.model_id,
        "data_splits": {"n_train": len(train.nsd_ids), "n_val": len(val.nsd_ids), "n_test": len(test.nsd_ids)},
        "hyperparameters": settings,
        "trained_on": _trained_on(data),
        "validation_metrics": own["val"],
        "test_metrics": own["test"],
        **_collapse(adapter, val, mean),
        "baselines": {
            "mean_vector": constant,
            "least_squares": squares,
            "direct": NOT_COMPUTED if voxels is None else _direct(voxels, data, mean),
        },
        "predicted_sources": NOT_COMPUTED if voxels is None else _from_encoder(voxels, adapter, linear, data, mean),
        "inference": inference_time(adapter.network, train.source),
        "model_checkpoint": checkpoint.name,
        "content_hash": adapter.content_hash,
        "inputs": data.inputs,
        "simulated": data.simulated,
        "versions": versions(),
    }
    path = checkpoint.with_name(f"{data.subject}_clip_adapter.json")
    write_json(path, report)
    return path, report


def headline(path: Path, report: dict[str, Any]) -> str:
    """Say in a few lines what a report found.

    Args:
        path: File of the report.
        report: From :func:`write_report`.

    Returns:
        Lines for the terminal.
    """
    test, squares = report["test_metrics"], report["baselines"]["least_squares"]["test"]
    lines = [
        f"{path}: test cosine {test['cosine']:.4f} (mean vector {test['mean_vector_cosine']:.4f}), "
        f"centred cosine {test['centred_cosine']:.4f} (least squares {squares['centred_cosine']:.4f})"
    ]
    if report["collapsed"]:
        lines.append(report["collapsed_because"])
    found = report["predicted_sources"]
    if isinstance(found, dict):
        direct = report["baselines"]["direct"]["test"]["centred_cosine"]
        lines.append(
            f"from voxels: {found['encoder']} and adapter, test centred cosine "
            f"{found['adapter']['test']['centred_cosine']:.4f} (ridge straight to the target {direct:.4f})"
        )
    return "\n".join(lines)


def _name_of(settings: dict[str, Any]) -> str:
    name = "Linear + residual MLP" if settings.get("form") == "residual" else "Linear"
    return f"{name} + LayerNorm" if settings["layer_norm"] else name


def _trained_on(data: AdapterDataModule) -> dict[str, Any]:
    if data.predicted is None:
        return {"sources": "true embeddings"}
    return {
        "sources": "true embeddings and out-of-fold predictions",
        "out_of_fold_share": data.out_of_fold_share,
        "out_of_fold_encoder": data.predicted.encoder,
        "out_of_fold_content_hash": data.predicted.content_hash,
    }


def _collapse(adapter: LoadedAdapter, val: EmbeddingPairs, mean: NDArray[np.floating]) -> dict[str, Any]:
    """Say whether the adapter has been shown to beat the mean on val, as the encoder's report does."""
    found = validate_embeddings(_adapted(adapter, val.source), val.target.numpy(), mean, val.nsd_ids)
    told = {"centred_cosine_interval": [found.centred.low, found.centred.high], "collapsed": found.collapsed}
    if not found.collapsed:
        return told
    return {**told, "collapsed_because": collapse_sentence("the adapter, on val,", found.centred)}


def _direct(voxels: Voxels, data: AdapterDataModule, mean: NDArray[np.floating]) -> dict[str, Any]:
    ridge = voxels.direct_ridge(data.targets_of)
    scores: dict[str, Any] = {}
    for split in SPLITS:
        predicted, ids = voxels.direct(ridge, split)
        scores[split] = scores_of(predicted, data.targets_of(ids), mean, ids)
    return {
        "model": "ridge from voxels to the target embedding",
        "alpha": np.unique(ridge.alpha).tolist(),
        "alpha_at_edge": ridge.at_edge,
        **scores,
    }


def _from_encoder(
    voxels: Voxels, adapter: LoadedAdapter, linear: LeastSquares, data: AdapterDataModule, mean: NDArray[np.floating]
) -> dict[str, Any]:
    scores: dict[str, dict[str, Any]] = {"adapter": {}, "least_squares": {}}
    for split in SPLITS:
        source, ids = voxels.predicted(split)
        true = data.targets_of(ids)
        scores["adapter"][split] = scores_of(_adapted(adapter, source), true, mean, ids)
        scores["least_squares"][split] = scores_of(linear(source), true, mean, ids)
    return {
        "encoder": voxels.encoder.name,
        "encoder_content_hash": voxels.encoder.content_hash,
        "trial_mode": voxels.encoder.trial_mode,
        **scores,
    }


def _adapted(adapter: LoadedAdapter, source: torch.Tensor) -> NDArray[np.float32]:
    with torch.inference_mode():
        return np.asarray(adapter(source).numpy())
