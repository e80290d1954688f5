"""Calibrations fitted on pictures that they must not see, with honest and with lying records."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fmri_lightning.adapter.calibration import FILE
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
    refused(copy_of(network_run, tmp_path, model_calibration=folder), words, "fit it again")


def test_a_calibration_whose_true_mean_saw_test_pictures_is_refused(parts, network_run, tmp_path):
    folder = calibrated(parts, tmp_path / "calibration", "val", true_of=("train", "test"))
    copied = copy_of(network_run, tmp_path, model_calibration=folder)
    refused(copied, "true_mean is not that of the .* is that of train and test and saw 20 stimuli: nsd_id")


def test_a_calibration_whose_gain_saw_test_pictures_is_refused(parts, network_run, tmp_path):
    folder = calibrated(parts, tmp_path / "calibration", "val", std_of=("train", "test"))
    copied = copy_of(network_run, tmp_path, model_calibration=folder)
    refused(copied, r"gain is not that of the \d+ training stimuli over its predictions \(dimension \d+: found")


def test_out_of_fold_predictions_are_believed_and_said_to_be(parts, network_run, tmp_path):
    folder = calibrated(parts, tmp_path / "calibration", "train")
    copied = copy_of(network_run, tmp_path, model_calibration=folder)
    refused(copied, "the run was made from other inputs .calibration: ")  # everything before it passed


def test_a_calibration_with_another_record_than_its_manifest_is_refused(parts, network_run, tmp_path):
    folder = calibrated(parts, tmp_path / "calibration", "test")
    arrays = load_file(folder / FILE)
    save_file({**arrays, "fitted_on.nsd_ids": ids_of(parts, "val").astype(np.int32)}, folder / FILE)
    refused(copy_of(network_run, tmp_path, model_calibration=folder), "does not match its manifest; fit it again")
