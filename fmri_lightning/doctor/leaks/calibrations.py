"""Calibration: of this encoder and adapter, from predictions of val or out-of-fold pictures and never of test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.adapter.calibration import MAX_GAIN, Calibration, load_calibration
from fmri_lightning.adapter.load import load_adapter
from fmri_lightning.betas.preprocess import Preprocess
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.doctor.leaks.parts import RunParts
from fmri_lightning.doctor.leaks.statistics import Stored, agrees, floored_std_of, mean_of, require_of_training, std_of
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.encoder.out_of_fold import out_of_fold_folder, read_out_of_fold
from fmri_lightning.encoder.stored import require_inputs
from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.frontend import padded_forward, run_front_end
from fmri_lightning.generation.inputs import Inputs
from fmri_lightning.generation.plan import Items, TrialMode

TOLERANCE = 1e-4
"""Standard deviations of the predictions: batches of another shape move a prediction by 1e-6 of them, one foreign
picture among 1000 moves their mean by 1e-3."""
AGAIN = "fit it again: fmri-lightning calibrate"
MODES: tuple[TrialMode, ...] = ("average", "average_outputs", "single")


def check_calibration(parts: RunParts) -> list[str]:
    """Check the calibration of a run.

    Args:
        parts: The run, with a brain and an index.

    Returns:
        Lines for the report.

    Raises:
        BadInputError: Hash, inputs or numbers do not agree, or its predictions were of test pictures.
    """
    folder = Path(parts.model["calibration"])
    made_from = {"encoder": load_encoder(parts.checkpoint_path("encoder")).content_hash}
    if parts.used("adapter"):
        made_from["adapter"] = load_adapter(parts.checkpoint_path("adapter")).content_hash
    calibration = load_calibration(folder, made_from)
    what = f"calibration {folder}"
    lines = [f"{what}: numbers as hashed, of this encoder and adapter"]
    foreign = np.setdiff1d([] if calibration.nsd_ids is None else calibration.nsd_ids, parts.stimuli("train", "val"))
    if len(foreign):
        raise BadInputError(f"{what} was fitted on predictions of {parts.name_stimuli(foreign)}; {AGAIN}")
    name = "target_cache" if parts.used("adapter") else "clip_cache"
    cache = parts.caches.get(name)
    if cache is None:
        lines.append(f"{what}: the run names no {name}; its true_mean is not there to check")
    else:
        stored = [Stored("true_mean", calibration.true_mean.numpy(), mean_of)]
        require_of_training(what, stored, cache, parts, AGAIN)
        lines.append(f"{what}: true_mean is that of the {len(parts.train_ids)} training stimuli")
    return [*lines, _check_predictions(what, calibration, parts)]


def _check_predictions(what: str, calibration: Calibration, parts: RunParts) -> str:
    """Predict again and see whose predictions have this mean."""
    recorded = calibration.nsd_ids
    test, val = parts.stimuli("test"), parts.stimuli("val")
    if _matching_std(calibration, test, parts) is not None:
        raise BadInputError(
            f"{what}: predicted_mean is that of the predictions of the test split; it saw {parts.name_stimuli(test)}; "
            f"{AGAIN}"
        )
    if recorded is not None and not np.isin(recorded, val).all():
        return _check_out_of_fold(what, calibration, recorded, parts)
    ids = val if recorded is None else recorded
    std = _matching_std(calibration, ids, parts)
    if std is not None:
        _require_gain(what, calibration, std, parts)
        return f"{what}: predicted_mean is that of the predictions of {len(ids)} val stimuli"
    whose = "of the val split, and no stimuli are recorded" if recorded is None else f"of its {len(ids)} val stimuli"
    raise BadInputError(f"{what}: predicted_mean is not that of the predictions {whose}; it saw others; {AGAIN}")


def _check_out_of_fold(what: str, calibration: Calibration, recorded: NDArray[np.int32], parts: RunParts) -> str:
    """Compare with the out-of-fold predictions that lie beside the encoder, where some do."""
    folder = out_of_fold_folder(parts.checkpoint_path("encoder"))
    if not folder.is_dir():
        return (
            f"{what}: from predictions of {len(recorded)} stimuli, training stimuli among them, by its record; "
            f"out-of-fold predictions are not there to check ({folder} does not exist)"
        )
    found = read_out_of_fold(folder, parts.train_ids)
    if not np.array_equal(recorded, found.nsd_ids):
        others = np.setxor1d(recorded, found.nsd_ids)
        raise BadInputError(
            f"{what}: its record and the out-of-fold predictions {folder} differ in {parts.name_stimuli(others)}; "
            f"{AGAIN}"
        )
    require_inputs(found.inputs, load_encoder(parts.checkpoint_path("encoder")).inputs, f"the encoder of {folder}")
    predictions = found.predictions
    if parts.used("adapter"):
        predictions = padded_forward(load_adapter(parts.checkpoint_path("adapter")), predictions)
    values = predictions.astype(np.float64)
    std, mean = floored_std_of(values), calibration.predicted_mean.double().numpy()
    if not agrees(mean, values.mean(axis=0), std, TOLERANCE):
        worst = int(np.argmax(np.abs(mean - values.mean(axis=0)) / std))
        raise BadInputError(
            f"{what}: predicted_mean is not that of the {len(values)} out-of-fold predictions {folder} (dimension "
            f"{worst}: found {mean[worst]:.6g}, expected {values[:, worst].mean():.6g}); it saw others; {AGAIN}"
        )
    _require_gain(what, calibration, std, parts)
    return f"{what}: predicted_mean is that of the {len(values)} out-of-fold predictions {folder}"


def _matching_std(calibration: Calibration, ids: NDArray[np.int32], parts: RunParts) -> NDArray[np.float64] | None:
    """Deviation of the predictions of some pictures, in the use of repeats that gives the calibration's mean."""
    found = calibration.predicted_mean.double().numpy()
    for mode in MODES:
        predictions = _predict(parts, ids, mode).astype(np.float64)
        std = floored_std_of(predictions)
        if agrees(found, predictions.mean(axis=0), std, TOLERANCE):
            return std
    return None


def _require_gain(what: str, calibration: Calibration, std: NDArray[np.float64], parts: RunParts) -> None:
    """Compare the gains with the ratio of both deviations, that of real embeddings over training stimuli."""
    cache = parts.caches.get("target_cache" if parts.used("adapter") else "clip_cache")
    if cache is None:
        return
    expected = np.minimum(std_of(cache.rows(parts.train_ids).astype(np.float64)) / std, MAX_GAIN)
    found = calibration.gain.double().numpy()
    worst = int(np.argmax(np.abs(found - expected) / expected.clip(1e-12)))
    if not agrees(found, expected, expected, TOLERANCE):
        raise BadInputError(
            f"{what}: gain is not that of the {len(parts.train_ids)} training stimuli over its predictions (dimension "
            f"{worst}: found {found[worst]:.6g}, expected {expected[worst]:.6g}); one deviation saw others; {AGAIN}"
        )


def _predict(parts: RunParts, ids: NDArray[np.int32], mode: TrialMode) -> NDArray[np.float32]:
    """Predict target embeddings of any of the subject's pictures as predict does, uncalibrated."""
    inputs = Inputs(
        items=_items(parts, ids, mode),
        chosen=np.empty(0, np.int64),
        store=BetaStore.open(parts.folder_of("betas")),
        preprocess=Preprocess.load(parts.folder_of("preproc")),
        encoder=load_encoder(parts.checkpoint_path("encoder")),
        adapter=load_adapter(parts.checkpoint_path("adapter")) if parts.used("adapter") else None,
    )
    inputs.chosen = np.arange(len(inputs.items))
    target = run_front_end(inputs, "predicted", mode, None, 0).predictions.target
    assert target is not None
    return target


def _items(parts: RunParts, ids: NDArray[np.int32], mode: TrialMode) -> Items:
    table = parts.table
    assert table is not None
    groups = [np.flatnonzero(table.nsd_id == nsd_id) for nsd_id in ids]
    if mode == "single":
        groups = [np.array([row]) for group in groups for row in group]
    numbers = np.arange(len(groups), dtype=np.int32)
    shown = np.array([table.nsd_id[group[0]] for group in groups], dtype=np.int32)
    return Items(numbers, shown, np.full(len(groups), -1, np.int32), tuple(groups))
