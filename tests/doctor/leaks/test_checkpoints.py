"""Faults of encoder and adapter, planted with content hashes that fit."""

import shutil

import numpy as np
import pytest
import torch

from fmri_lightning.doctor.runs import leaks
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.encoder.ridge import fit_ridge
from fmri_lightning.encoder.stored import record_of_stimuli
from tests.doctor.leaks.small_run import (
    content_of_run,
    copy_of,
    edit_checkpoint,
    edit_json,
    features_of,
    ids_of,
    refused,
    trials_of,
)


def statistics_over(parts, *splits):
    """An edit: the adapter's target statistics over these splits, in buffers and in the description."""

    def edit(state, description):
        rows = EmbeddingCache.open(parts.brain["target_cache"]).rows(ids_of(parts, *splits)).astype(np.float64)
        state["predictor.target_mean"] = torch.from_numpy(rows.mean(axis=0)).float()
        state["predictor.target_std"] = torch.from_numpy(rows.std(axis=0)).float()

    return edit


@pytest.mark.parametrize("other", ["test", "val"])
def test_target_statistics_over_another_split_too_are_named(parts, run, tmp_path, other):
    path = edit_checkpoint(parts.adapter, tmp_path / "adapter.ckpt", statistics_over(parts, "train", other))
    first = ids_of(parts, other)[0]
    refused(
        copy_of(run, tmp_path, model_adapter_ckpt=path),
        r"adapter .*adapter.ckpt: target_mean is not that of the \d+ training stimuli \(dimension \d+: found",
        f"it is that of train and {other} and saw {len(ids_of(parts, other))} stimuli: nsd_id {first} .{other}, "
        f"global_trial {trials_of(parts, first)}.*fit --config configs/adapter.yaml",
    )


def test_one_test_picture_in_the_source_mean_is_solved_for(parts, run, tmp_path):
    leaked = int(ids_of(parts, "test")[4])

    def edit(state, description):
        rows = EmbeddingCache.open(parts.brain["clip_cache"]).rows(np.append(ids_of(parts, "train"), leaked))
        unit = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        state["predictor.source_mean"] = torch.from_numpy(unit.mean(axis=0)).float()

    path = edit_checkpoint(parts.adapter, tmp_path / "adapter.ckpt", edit)
    refused(
        copy_of(run, tmp_path, model_adapter_ckpt=path),
        rf"source_mean is not .* it saw 1 stimuli: nsd_id {leaked} \(test, global_trial {trials_of(parts, leaked)}\)",
    )


def test_a_deviation_over_test_too_is_found_beside_an_honest_mean(parts, run, tmp_path):
    def edit(state, description):
        mean = state["predictor.target_mean"]
        statistics_over(parts, "train", "test")(state, description)
        state["predictor.target_mean"] = mean

    path = edit_checkpoint(parts.adapter, tmp_path / "adapter.ckpt", edit)
    refused(copy_of(run, tmp_path, model_adapter_ckpt=path), "target_std is not .* is that of train and test and saw")


@pytest.mark.parametrize("name", ["ridge", "mlp"])
def test_an_encoder_with_the_caches_own_statistics_is_refused(parts, run, tmp_path, name):
    own = EmbeddingCache.open(parts.brain["clip_cache"]).space

    def edit(state, description):
        description["space"] = own.to_json()

    path = edit_checkpoint(getattr(parts, name), tmp_path / f"{name}.ckpt", edit)
    refused(
        copy_of(run, tmp_path, model_encoder_ckpt=path),
        r"space.mean is not that of the \d+ training stimuli .* is that of all 190 pictures of .*clip.parquet",
    )


def test_a_network_that_standardised_by_test_too_is_refused(parts, network_run, tmp_path):
    def edit(state, description):
        rows = EmbeddingCache.open(parts.brain["clip_cache"]).rows(ids_of(parts, "train", "test"))
        state["predictor.target_mean"] = torch.from_numpy(rows.mean(axis=0))

    path = edit_checkpoint(parts.mlp, tmp_path / "mlp.ckpt", edit)
    refused(copy_of(network_run, tmp_path, model_encoder_ckpt=path), "target_mean is not .* that of train and test and")


@pytest.mark.parametrize("kind", ["adapter", "encoder"])
def test_a_record_of_other_stimuli_is_named(parts, run, tmp_path, kind):
    leaked = int(ids_of(parts, "test")[2])
    ids = {"encoder": ids_of(parts, "train", "test"), "adapter": np.append(ids_of(parts, "train"), leaked)}[kind]
    words = {"encoder": "is that of train and test and saw 20", "adapter": rf"saw 1 stimuli: nsd_id {leaked} \(test"}
    original = {"encoder": parts.ridge, "adapter": parts.adapter}[kind]
    path = edit_checkpoint(original, tmp_path / "one.ckpt", lambda _, d: d.update(fitted_on=record_of_stimuli(ids)))
    copied = copy_of(run, tmp_path, **{f"model_{kind}_ckpt": path})
    refused(copied, rf"fitted_on records {len(ids)} stimuli \(\w+\), expected the", words[kind])


def test_checkpoints_of_earlier_versions_are_judged_by_their_numbers(parts, run, tmp_path):
    path = edit_checkpoint(parts.ridge, tmp_path / "ridge.ckpt", lambda _, d: d.pop("fitted_on"))
    copied = copy_of(run, tmp_path, model_encoder_ckpt=path)
    refused(copied, "the run was made from other inputs .encoder: ")  # everything before it passed
    sound = content_of_run(copied, encoder=load_encoder(path).content_hash)
    assert any("no record of the stimuli it was fitted on" in line for line in leaks(sound))


def ridge_of(parts, *splits):
    """An edit: weights of a ridge fitted on these splits; description and record stay as they were."""

    def edit(state, description):
        rows = np.flatnonzero(np.isin(parts.table.split, splits))
        ids = parts.table.nsd_id[rows]
        targets = EmbeddingCache.open(parts.brain["clip_cache"]).rows(ids)
        fit = fit_ridge(features_of(parts, rows).numpy(), targets, ids, [50.0])
        state["predictor.weights"] = torch.from_numpy(fit.weights)
        state["predictor.intercept"] = torch.from_numpy(fit.intercept)

    return edit


def test_a_ridge_fitted_on_test_trials_gives_itself_away_though_all_records_lie(parts, run, tmp_path):
    leaky = edit_checkpoint(parts.ridge, tmp_path / "leaky.ckpt", ridge_of(parts, "train", "test"))
    trials = parts.table.global_trial[parts.table.split == "test"]
    refused(
        copy_of(run, tmp_path, model_encoder_ckpt=leaky),
        r"the intercept is not that of the \d+ training rows \(dimension \d+: mean residual",
        rf"it saw {len(trials)} trials outside train: global_trial {trials[0]} \(test\), {trials[1]} \(test\)",
    )


@pytest.mark.parametrize("kind", ["adapter", "encoder"])
def test_a_checkpoint_of_another_split_is_refused(parts, run, tmp_path, kind):
    original = {"encoder": parts.ridge, "adapter": parts.adapter}[kind]
    path = edit_checkpoint(original, tmp_path / "one.ckpt", lambda _, d: d["inputs"].update(split="0" * 64))
    refused(
        copy_of(run, tmp_path, **{f"model_{kind}_ckpt": path}),
        rf"{kind} .*one.ckpt was fitted on another split \(000000000000, at hand is \w{{12}}\); fit again",
    )


@pytest.mark.parametrize(
    ("kind", "name"), [("encoder", "clip_cache"), ("encoder", "preproc"), ("adapter", "target_cache")]
)
def test_a_checkpoint_of_another_input_is_refused(parts, run, tmp_path, kind, name):
    original = {"encoder": parts.ridge, "adapter": parts.adapter}[kind]
    path = edit_checkpoint(original, tmp_path / "one.ckpt", lambda _, d: d["inputs"].update({name: "0" * 64}))
    refused(copy_of(run, tmp_path, **{f"model_{kind}_ckpt": path}), f"fitted on another {name}")


@pytest.mark.parametrize("kind", ["adapter", "encoder"])
def test_changed_weights_are_refused(parts, run, tmp_path, kind):
    original = {"encoder": parts.ridge, "adapter": parts.adapter}[kind]

    def edit(state, _):
        name = next(name for name in state if name.endswith(("weights", "linear.weight")))
        state[name][0, 0] += 1e-3

    path = edit_checkpoint(original, tmp_path / "one.ckpt", edit, rehash=False)
    refused(copy_of(run, tmp_path, **{f"model_{kind}_ckpt": path}), "one.ckpt does not match its own content hash")


def test_a_checkpoint_of_another_subject_is_refused(parts, run, tmp_path):
    path = edit_checkpoint(parts.adapter, tmp_path / "one.ckpt", lambda _, d: d.update(subject="subj02"))
    refused(copy_of(run, tmp_path, model_adapter_ckpt=path), "one.ckpt is of subj02, the run is of subj01")


def test_counts_in_the_adapters_report_must_be_those_of_the_index(parts, run, tmp_path):
    for name in ("adapter.ckpt", "subj01_clip_adapter.json"):
        shutil.copy(parts.adapter.with_name(name), tmp_path)
    edit_json(tmp_path / "subj01_clip_adapter.json", lambda report: report["data_splits"].update(n_train=146))
    refused(copy_of(run, tmp_path, model_adapter_ckpt=tmp_path / "adapter.ckpt"), "data_splits are .*'n_train': 146")
