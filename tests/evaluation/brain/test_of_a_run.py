"""A small run of the real commands, scored with its brain: the repeat ceiling and brain correlation end to end."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from fmri_lightning.evaluation.brain.parts import open_brain, predict_every_trial
from fmri_lightning.evaluation.brain.repeats import agreement_of_repeats, project
from fmri_lightning.evaluation.brain.voxel_model import fit_voxel_model
from fmri_lightning.evaluation.command import evaluate
from fmri_lightning.evaluation.gallery import open_gallery, predictions_of
from fmri_lightning.evaluation.networks.opening import open_network
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.evaluation.runs import load_run
from fmri_lightning.index.stimuli import open_stimuli
from tests.doctor.leaks.small_run import predict, write_parts


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return write_parts(tmp_path_factory.mktemp("brain"))


@pytest.fixture(scope="module")
def run(parts):
    """A run of six stimuli with its shuffled control, scored with its brain."""
    folder = predict(parts, parts.folder / "recon")
    predict(parts, folder, model_condition="shuffled")
    evaluate(run=[folder], brain_correlation=True, resamples=100)
    return folder


def summary_of(run):
    return json.loads((run / "evaluation/demo/summary.json").read_text())


def test_the_mean_over_trials_of_predictions_is_the_prediction_of_a_linear_encoder(parts, run) -> None:
    loaded = load_run(run)
    predicted, ids = predict_every_trial(loaded, open_brain(loaded))
    means = np.stack([predicted[ids == i].mean(axis=0) for i in loaded.ids])
    assert means == pytest.approx(predictions_of(loaded).source, abs=1e-4)


def test_the_ceiling_of_the_centred_cosine_is_that_of_the_repeats(parts, run) -> None:
    loaded = load_run(run)
    entry = summary_of(run)["metrics"]["source_centred_cosine"]
    predicted, ids = predict_every_trial(loaded, open_brain(loaded))
    _, agreement = agreement_of_repeats(predicted, ids, open_gallery(loaded, None).mean)
    repeats = len(ids) / len(np.unique(ids))
    assert entry["ceiling_kind"] == "repeat_reliability"
    assert entry["ceiling"] == pytest.approx(np.sqrt(project(agreement.mean(), repeats)), abs=1e-9)
    assert entry["ceiling_ci"][0] <= entry["ceiling"] <= entry["ceiling_ci"][1]


def test_brain_correlation_has_a_row_for_every_set_of_pictures(run) -> None:
    found = summary_of(run)["brain_correlation"]
    assert found["network"] == "judge"
    whole = found["regions"]["all voxels"]
    assert set(whole["rows"]) == {"true_picture", "shuffled"}
    assert whole["n_voxels"] > 10
    assert -1 <= whole["ci_low"] <= whole["value"] <= whole["ci_high"] <= 1


def test_without_being_asked_it_is_not_computed(parts, run) -> None:
    before = summary_of(run)["metrics"]
    evaluate(run=[run], resamples=100, out=parts.folder / "again")
    again = json.loads((parts.folder / "again/demo/summary.json").read_text())
    assert "--brain_correlation true" in again["skipped"]["brain_correlation"]
    assert "brain_correlation" not in again
    assert again["metrics"] == before


def test_the_voxel_model_reads_training_trials_only(parts, run) -> None:
    loaded = load_run(run)
    brain = open_brain(loaded)
    stimuli = open_stimuli(root=loaded.summary["provenance"]["root"])
    use = PROTOCOLS["demo"].networks[0]
    arguments = (stimuli, PROTOCOLS["demo"], open_network(use), use)
    honest = fit_voxel_model(brain, *arguments)
    betas = np.array(brain.store.betas)
    for split, changes in (("test", False), ("val", False), ("train", True)):
        spoilt = betas.copy()
        spoilt[brain.table.split == split] *= -3.0
        store = SimpleNamespace(betas=spoilt, manifest=brain.store.manifest)
        fit = fit_voxel_model(replace(brain, store=store), *arguments).fit
        assert np.array_equal(fit.weights, honest.fit.weights) is not changes, split


def test_parts_of_another_run_are_named(parts, run, tmp_path) -> None:
    spoilt = json.loads((run / "decode_summary.json").read_text())
    kept = json.dumps(spoilt)
    try:
        for part in ("betas", "preproc", "encoder"):
            spoilt = json.loads(kept)
            spoilt["provenance"]["inputs"][part] = "0" * 64
            (run / "decode_summary.json").write_text(json.dumps(spoilt))
            evaluate(run=[run], resamples=100, out=tmp_path / part)
            skipped = json.loads((tmp_path / part / "demo/summary.json").read_text())["skipped"]
            assert "that" in skipped["repeat_reliability"] or "of" in skipped["repeat_reliability"]
    finally:
        (run / "decode_summary.json").write_text(kept)
