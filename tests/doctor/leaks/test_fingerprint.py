"""Runs whose records and inputs are not of one run."""

import pytest

from fmri_lightning.doctor.command import doctor
from fmri_lightning.errors import BadInputError
from tests.doctor.leaks.small_run import (
    content_of_run,
    copy_of,
    edit_json,
    edit_predictions,
    refused,
)


def test_a_run_made_from_other_inputs_is_refused(run, tmp_path):
    copied = content_of_run(copy_of(run, tmp_path), betas="0" * 64)
    refused(copied, r"the run was made from other inputs \(betas: 000000000000… there, \w{12}… at hand\); run fmri")


@pytest.mark.parametrize("file", ["decode_summary.json", "predictions.parquet"])
def test_files_of_two_runs_in_one_folder_are_refused(run, tmp_path, file):
    copied = copy_of(run, tmp_path)
    if file == "predictions.parquet":
        edit_predictions(copied, lambda _, about: about["inputs"].update(encoder="0" * 64))
    else:
        edit_json(copied / file, lambda s: s["provenance"]["inputs"].update(encoder="0" * 64))
    refused(copied, rf"{file} is of another run than .*manifest.json \(encoder: \w+… there, 000000000000… here\)")


def test_a_fingerprint_that_was_edited_is_refused(run, tmp_path):
    copied = copy_of(run, tmp_path)
    edit_json(copied / "manifest.json", lambda manifest: manifest["inputs"].update(betas="0" * 64))
    refused(copied, r"manifest.json does not match its own content hash \(found")


def test_settings_of_another_run_are_refused(run, tmp_path):
    refused(
        copy_of(run, tmp_path, model_condition="mean"), "predict.yaml is of another run than .*condition: predicted"
    )


def test_doctor_tells_what_passed_before_the_first_leak(run, tmp_path, capsys):
    copied = content_of_run(copy_of(run, tmp_path), betas="0" * 64)
    with pytest.raises(BadInputError, match="made from other inputs"):
        doctor(leaks=copied)
    assert "split: no picture is in two splits" in capsys.readouterr().out
