"""What a fit leaves beside its checkpoint: a report on validation pictures, and out-of-fold predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fmri_lightning.encoder.data import EncoderDataModule
from fmri_lightning.encoder.load import load_encoder, predict_rows
from fmri_lightning.encoder.out_of_fold import write_out_of_fold
from fmri_lightning.encoder.validation import collapse_sentence, validate_embeddings
from fmri_lightning.manifest import read_json, versions, write_json

_OF_ONE_FOLD = ("initial", "seed", "epochs", "steps")
"""Settings in which the folds of one encoder may differ: its ridge, its draws, and when it stopped."""


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
        report["collapsed_because"] = collapse_sentence(f"{encoder.name}, on val,", found.centred)
    write_json(path, report)
    return path


def tell_report(checkpoint: Path, data: EncoderDataModule, settings: dict[str, Any]) -> None:
    """Write the report, print where it is, and say so in a line of its own where the fit collapsed."""
    path = write_encoder_report(checkpoint, data, settings)
    print(path)
    report = read_json(path)
    if report["collapsed"]:
        print(report["collapsed_because"])


def write_left_out(checkpoint: Path, whole: Path, data: EncoderDataModule, settings: dict[str, Any]) -> Path:
    """Predict the pictures of the fold that a fit held out.

    Args:
        checkpoint: The encoder of this fold.
        whole: Checkpoint of the encoder that is fitted on all training pictures; the file goes beside it.
        data: Set up for this fold.
        settings: Settings of the fit; all folds must share those that are not of one fold.

    Returns:
        The file written.
    """
    encoder, fold = load_encoder(checkpoint), data.held_out_fold
    shared = {name: value for name, value in settings.items() if name not in _OF_ONE_FOLD}
    assert fold is not None
    # Modes with a row per trial: one prediction a picture, the mean of its trials' outputs.
    predicted, _, ids = predict_rows(encoder, data.left_out_rows(), data.trial_mode != "average")
    return write_out_of_fold(
        whole, fold.part, fold.n_parts, ids, predicted, data.space, data.inputs, encoder.name, data.subject,
        data.trial_mode, shared,
    )  # fmt: skip


def _fitted(name: str) -> bool:
    return not name.startswith("target_")
