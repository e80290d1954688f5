"""What a fit leaves beside its checkpoint: a report on validation pictures, and out-of-fold predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.encoder.data import EncoderDataModule, EncoderRows
from fmri_lightning.encoder.load import LoadedEncoder, load_encoder
from fmri_lightning.encoder.out_of_fold import write_out_of_fold
from fmri_lightning.encoder.validation import validate_embeddings
from fmri_lightning.manifest import read_json, versions, write_json

ROWS = 1024
"""Rows that are predicted at a time."""


def write_encoder_report(checkpoint: Path, data: EncoderDataModule, settings: dict[str, Any]) -> Path:
    """Score a fitted encoder on validation pictures and write ``{subject}_{encoder}.json`` beside it.

    Args:
        checkpoint: The encoder that was kept.
        data: Set up, with the rows it was fitted on.
        settings: Settings of the fit, plain types.

    Returns:
        The file written.
    """
    encoder = load_encoder(checkpoint)
    predicted, true, ids = predict_rows(encoder, data.val_rows(), data.trial_mode == "average_outputs")
    found = validate_embeddings(predicted, true, data.target_mean.numpy(), ids)
    path = checkpoint.with_name(f"{data.subject}_{encoder.name}.json")
    report = {
        "subject": data.subject,
        "encoder": encoder.name,
        "parameters": sum(tensor.numel() for name, tensor in encoder.predictor.state_dict().items() if _fitted(name)),
        "source_dim": data.n_features,
        "target_dim": encoder.space.dim,
        "target_space": encoder.space.name,
        "trial_mode": data.trial_mode,
        "train_mode": data.train_mode,
        "data_splits": {"n_train": len(np.unique(data.train_ids)), "n_val": len(np.unique(data.val_ids))},
        "fold": None if data.held_out_fold is None else "{}/{}".format(*data.held_out_fold),
        "settings": settings,
        "fitted": encoder.fitted,
        "validation_metrics": found.scores,
        "centred_cosine_interval": [found.centred.low, found.centred.high],
        "r2_per_dimension": [None if np.isnan(value) else float(value) for value in found.r2_per_dimension],
        "baselines": {"mean_vector": {"cosine": found.scores["mean_vector_cosine"], "centred_cosine": 0.0}},
        "collapsed": found.collapsed,
        "model_checkpoint": checkpoint.name,
        "content_hash": encoder.content_hash,
        "inputs": data.inputs,
        "simulated": data.simulated,
        "versions": versions(),
    }
    if found.collapsed:
        report["collapsed_because"] = collapse_sentence(encoder.name, found.centred.low)
    write_json(path, report)
    return path


def tell_report(checkpoint: Path, data: EncoderDataModule, settings: dict[str, Any]) -> None:
    """Write the report, print where it is, and say so in a line of its own where the fit collapsed."""
    path = write_encoder_report(checkpoint, data, settings)
    print(path)
    report = read_json(path)
    if report["collapsed"]:
        print(report["collapsed_because"])


def collapse_sentence(name: str, low: float) -> str:
    """Say in words that a map does not beat the mean.

    Args:
        name: The map.
        low: Lower bound of the centred cosine.
    """
    return (
        f"{name} has not been shown to predict val better than the mean training embedding does: the 95 % interval of "
        f"its centred cosine begins at {low:.4f}. Its plain cosine is that of a constant"
    )


def write_left_out(checkpoint: Path, whole: Path, data: EncoderDataModule) -> Path:
    """Predict the pictures of the fold that a fit held out.

    Args:
        checkpoint: The encoder of this fold.
        whole: Checkpoint of the encoder that is fitted on all training pictures; the file goes beside it.
        data: Set up for this fold.

    Returns:
        The file written.
    """
    encoder, fold = load_encoder(checkpoint), data.held_out_fold
    assert fold is not None
    # Modes with a row per trial: one prediction a picture, the mean of its trials' outputs.
    predicted, _, ids = predict_rows(encoder, data.left_out_rows(), data.trial_mode != "average")
    return write_out_of_fold(
        whole, fold.part, fold.n_parts, ids, predicted, data.space, data.inputs, encoder.name, data.subject,
        data.trial_mode,
    )  # fmt: skip


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


def _fitted(name: str) -> bool:
    return not name.startswith("target_")
