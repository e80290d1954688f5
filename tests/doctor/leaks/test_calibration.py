"""Calibrations fitted on pictures that they must not see, with honest and with lying records."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from fmri_lightning.adapter.calibration import FILE, EmbeddingStatistics, fit_calibration, save_calibration
from fmri_lightning.adapter.load import load_adapter
from fmri_lightning.cli import main
from fmri_lightning.doctor.leaks.calibrations import check_calibration
from fmri_lightning.doctor.leaks.parts import RunParts
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.encoder.out_of_fold import write_out_of_fold
from tests.doctor.leaks.small_run import (
    calibrated,
    copy_of,
    ids_of,
    refused,
)


@pytest.mark.parametrize(
    ("split", "recorded", "words"),
    [
        ("test", "same", r"was fitted on predictions of 20 stimuli: nsd_id \d+ \(test, global_trial"),
        ("test", "val", r"predicted_mean is that of the predictions of the test split; it saw 20 stimuli: nsd_id"),
        ("test", "none", r"predicted_mean is that of the predictions of the test split"),
        ("train", "val", r"predicted_mean is not that of the predictions of its \d+ val stimuli; it saw others"),
        ("train", "none", r"predicted_mean is not .* of the val split, and no stimuli are recorded"),
    ],
)
def test_a_calibration_of_other_pictures_is_refused(parts, network_run, tmp_path, split, recorded, words):
    folder = calibrated(parts, tmp_path / "calibration", split, recorded)
    refused(copy_of(network_run, tmp_path, model_calibration=folder), words, "fit it again: fmri-lightning calibrate")


def test_a_calibration_whose_true_mean_saw_test_pictures_is_refused(parts, network_run, tmp_path):
    folder = calibrated(parts, tmp_path / "calibration", "val", true_of=("train", "test"))
    copied = copy_of(network_run, tmp_path, model_calibration=folder)
    refused(copied, "true_mean is not that of the .* is that of train and test and saw 20 stimuli: nsd_id")


def test_a_calibration_whose_gain_saw_test_pictures_is_refused(parts, network_run, tmp_path):
    folder = calibrated(parts, tmp_path / "calibration", "val", std_of=("train", "test"))
    copied = copy_of(network_run, tmp_path, model_calibration=folder)
    refused(copied, r"gain is not that of the \d+ training stimuli over its predictions \(dimension \d+: found")


def test_out_of_fold_predictions_that_are_gone_are_believed_and_said_to_be(parts, network_run, tmp_path):
    folder = calibrated(parts, tmp_path / "calibration", "train")
    copied = copy_of(network_run, tmp_path, model_calibration=folder)
    assert "out-of-fold predictions are not there to check" in check_calibration(RunParts.open(copied))[-1]
    refused(copied, "the run was made from other inputs .calibration: ")  # everything before it passed


def with_out_of_fold(parts, network_run, tmp_path, fitted_on, **changes):
    """A copy of the run whose encoder has out-of-fold predictions, calibrated on the ones of ``fitted_on``."""
    encoder = tmp_path / "encoder" / "mlp.ckpt"
    encoder.parent.mkdir()
    shutil.copy(parts.mlp, encoder)
    loaded, ids = load_encoder(encoder), ids_of(parts, "train")
    rng = np.random.default_rng(1)
    predictions = {name: rng.normal(size=(len(ids), loaded.space.dim)).astype(np.float32) for name in ("real", "fake")}
    about = {"inputs": loaded.inputs, "name": "mlp", "subject": "subj01", **changes}
    write_out_of_fold(encoder, 1, 1, ids, predictions["real"], loaded.space, **about)
    adapter = load_adapter(parts.adapter)
    true = torch.from_numpy(EmbeddingCache.open(parts.brain["target_cache"]).rows(ids))
    with torch.no_grad():
        fitted = fit_calibration(
            adapter(torch.from_numpy(predictions[fitted_on])),
            EmbeddingStatistics(true.mean(dim=0), true.std(dim=0, correction=0)),
            {"encoder": loaded.content_hash, "adapter": adapter.content_hash},
            ids,
        )
    folder = save_calibration(tmp_path / "calibration", fitted)
    return copy_of(network_run, tmp_path, model_encoder_ckpt=encoder, model_calibration=folder)


def test_out_of_fold_predictions_beside_the_encoder_are_compared(parts, network_run, tmp_path):
    copied = with_out_of_fold(parts, network_run, tmp_path, "real")
    line = check_calibration(RunParts.open(copied))[-1]
    assert f"predicted_mean is that of the {len(ids_of(parts, 'train'))} out-of-fold predictions" in line


def test_a_calibration_of_others_than_the_out_of_fold_predictions_is_refused(parts, network_run, tmp_path):
    copied = with_out_of_fold(parts, network_run, tmp_path, "fake")
    refused(copied, r"predicted_mean is not that of the \d+ out-of-fold predictions", "fmri-lightning calibrate")


def test_out_of_fold_predictions_of_another_split_prove_nothing(parts, network_run, tmp_path):
    copied = with_out_of_fold(parts, network_run, tmp_path, "real", inputs={"split": "s" * 64})
    refused(copied, "the encoder of .*out_of_fold was fitted on another")


def test_a_calibration_with_another_record_than_its_manifest_is_refused(parts, network_run, tmp_path):
    folder = calibrated(parts, tmp_path / "calibration", "test")
    arrays = load_file(folder / FILE)
    save_file({**arrays, "fitted_on.nsd_ids": ids_of(parts, "val").astype(np.int32)}, folder / FILE)
    refused(copy_of(network_run, tmp_path, model_calibration=folder), "does not match its manifest; fit it again")


def test_what_calibrate_writes_passes(parts, network_run, tmp_path):
    words = ["calibrate", "--encoder_ckpt", str(parts.mlp), "--adapter_ckpt", str(parts.adapter)]
    words += [word for name, value in parts.brain.items() for word in (f"--{name}", value)]
    assert main([*words, "--root", str(tmp_path)]) == 0
    folder = tmp_path / "calibration" / "mlp" / "subj01"
    lines = check_calibration(RunParts.open(copy_of(network_run, tmp_path, model_calibration=folder)))
    n_val = len(ids_of(parts, "val"))
    assert lines[-1] == f"calibration {folder}: predicted_mean is that of the predictions of {n_val} val stimuli"
