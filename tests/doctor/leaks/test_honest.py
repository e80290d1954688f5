"""What honest runs show: every check passes, and what was not there to check is said."""

import re

import numpy as np

from fmri_lightning.doctor.runs import leaks
from fmri_lightning.embeddings.cache import write_cache
from tests.doctor.leaks.small_run import (
    copy_of,
    edit_predictions,
    ids_of,
    predict,
    refused,
    trials_of,
)
from tests.generation.tiny import TARGET


def test_an_honest_run_passes_every_check(run):
    lines = list(leaks(run))
    for words in (
        "split: no picture is in two",
        "T0: every session",
        "T1: every statistic",
        "clip_cache: 190 pictures as hashed, 20 test",
        "target_cache: 190",
        "ridge.ckpt: weights as hashed, inputs",
        r"ridge.ckpt: fitted on the \d+ training stimuli, by its record",
        r"ridge.ckpt: space.mean, space.std, space.median_norm are those of the \d+ training",
        r"ridge.ckpt: the residuals of its \d+ training rows add up to zero",
        "adapter.ckpt: source_mean, source_std",
        "adapter.ckpt: target_mean, target_std",
        "results: 6 items, all of them test",
        "gallery: 100 training stimuli",
        "run: made from the inputs at hand",
        "not there to check, for the run read none: calibration, reliability$",
    ):
        assert len([line for line in lines if re.search(words, line)]) == 1, words


def test_an_honest_calibrated_run_of_a_network_passes(parts, network_run):
    lines = list(leaks(network_run))
    n_val = len(ids_of(parts, "val"))
    for words in (
        "mlp.ckpt: space.mean, space.std, space.median_norm, target_mean, target_std are",
        "calibration .*: true_mean is that of the",
        f"calibration .*: predicted_mean is that of the predictions of {n_val} val stimuli",
    ):
        assert any(re.search(words, line) for line in lines), words


def test_a_run_without_pictures_is_checked_by_its_table(run, tmp_path):
    copied = copy_of(run, tmp_path)
    (copied / "decode_summary.json").unlink()
    assert any("no decode_summary.json there to check" in line for line in leaks(copied))


def test_given_embeddings_are_checked_as_far_as_they_go(parts, tmp_path):
    test = ids_of(parts, "test")
    write_cache(tmp_path / "given.parquet", test, np.random.default_rng(0).normal(size=(len(test), 16)), TARGET)
    given = {"data_embeddings": tmp_path / "given.parquet", "model_encoder_ckpt": None, "model_adapter_ckpt": None}
    run = predict(parts, tmp_path / "run", **given)
    lines = list(leaks(run))
    assert any(line.startswith("embeddings: 20 pictures as hashed") for line in lines)
    assert any(line.startswith("gallery: 100 training stimuli") for line in lines)
    assert lines[-1].endswith("read none: betas, encoder, adapter, calibration, reliability")
    edit_predictions(run, lambda table, _: table.nn_nsd_id.__setitem__(0, test[0]))
    refused(
        run, "nn_nsd_id: not training stimuli", rf"nsd_id {test[0]} \(test, global_trial {trials_of(parts, test[0])}\)"
    )


def test_a_control_is_checked_without_the_brain_it_never_read(parts, tmp_path):
    lines = list(leaks(predict(parts, tmp_path / "run", model_condition="true_target") / "controls" / "true_target"))
    assert lines[-1].endswith("read none: betas, encoder, calibration, reliability")
    assert any(line.startswith("split: no picture") for line in lines)
