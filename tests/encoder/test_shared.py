"""One network for several subjects: balanced steps, an encoder for each, and what must change nothing."""

import json

import numpy as np
import pytest
import torch

from fmri_lightning.encoder.data import EncoderDataModule
from fmri_lightning.encoder.load import load_encoder, predict_rows
from fmri_lightning.encoder.network import NetworkMap
from fmri_lightning.encoder.ranks import Share
from fmri_lightning.encoder.ridge import fit_ridge
from fmri_lightning.encoder.shared.batches import BalancedBatches, StackedShare
from fmri_lightning.encoder.shared.data import SharedDataModule
from fmri_lightning.encoder.shared.network import SharedMap, part_for
from fmri_lightning.encoder.shared.reading import fit_reading
from fmri_lightning.encoder.stored import read_checkpoint, record_of_stimuli
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.metrics.cosine import centred_cosine
from tests.encoder.fitting import Killed
from tests.encoder.shared_fits import fit_shared, small_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = small_world(tmp_path_factory.mktemp("world"))
    world.write_cache()
    world.write_subject(1)
    world.write_subject(2, sessions=2)
    return world


@pytest.fixture(scope="module")
def fitted(world, tmp_path_factory):
    """(trainer, folder of checkpoints), fitted once."""
    return fit_shared(world, tmp_path_factory.mktemp("shared"))


def rows_of(n, first=0):
    ids = torch.arange(first, first + n)
    return {"features": ids[:, None].float(), "targets": -ids[:, None].float(), "nsd_ids": ids}


def steps_of(tensors, rows, epoch=0):
    return [
        {name: one["nsd_ids"].tolist() for name, one in step.items()}
        for step in BalancedBatches(tensors, rows, lambda: epoch)
    ]


def test_every_step_holds_as_many_rows_of_every_subject():
    batches = BalancedBatches({"b": rows_of(23), "a": rows_of(7, 100)}, 5, lambda: 0)
    steps = list(batches)
    assert len(steps) == len(batches) == 5
    assert all(list(step) == ["a", "b"] for step in steps)
    assert {len(one["nsd_ids"]) for step in steps for one in step.values()} == {5}
    for step in steps:
        for one in step.values():
            assert torch.equal(one["features"][:, 0], one["nsd_ids"].float())
            assert torch.equal(one["targets"], -one["features"])


def test_the_largest_subject_gives_each_row_and_the_others_lap_by_lap():
    steps = steps_of({"a": rows_of(7), "b": rows_of(23)}, 5)
    large, small = (np.concatenate([step[name] for step in steps]) for name in ("b", "a"))
    assert sorted(large[:23]) == list(range(23))
    laps = [small[start : start + 7] for start in (0, 7, 14)]
    assert all(sorted(lap) == list(range(7)) for lap in laps)
    assert len({tuple(lap) for lap in laps}) == 3


def test_what_a_subject_gives_depends_on_name_and_epoch_alone():
    alone = steps_of({"a": rows_of(23)}, 5)
    joined = steps_of({"b": rows_of(11), "a": rows_of(23)}, 5)
    assert [step["a"] for step in joined] == [step["a"] for step in alone]
    assert steps_of({"a": rows_of(23)}, 5, epoch=1) != alone
    assert [step["b"] for step in steps_of({"b": rows_of(23)}, 5)] != [step["a"] for step in alone]


def test_refuses_a_step_without_rows():
    with pytest.raises(ValueError, match="rows >= 1"):
        BalancedBatches({"a": rows_of(3)}, 0, lambda: 0)
    with pytest.raises(ValueError, match="rows >= 1"):
        BalancedBatches({"a": rows_of(0)}, 2, lambda: 0)


def test_ranks_take_their_share_of_each_subject():
    rows = torch.arange(3 * 5)[:, None]
    parts = [StackedShare(3, 5, rank, 2).take(rows) for rank in range(2)]
    for rank, part in enumerate(parts):
        by_hand = torch.cat([Share(5, rank, 2).take(one) for one in rows.split(5)])
        assert torch.equal(part, by_hand)
    assert sorted(torch.cat(parts)[:, 0].tolist()) == list(range(15))
    whole = StackedShare(3, 5)
    assert torch.equal(whole.take(rows), rows)
    assert torch.equal(whole.gather(rows), rows)


def test_each_subjects_reading_is_its_own_ridge(world):
    data = EncoderDataModule(**world.inputs(), subject="subj02")
    data.setup("fit")
    rows, reading = data.train_rows(), fit_reading(data)
    ids, first = np.unique(rows.nsd_ids, return_index=True)
    std = data.target_std.numpy()
    targets = (rows.targets.numpy() - data.target_mean.numpy()) / std
    chosen = fit_ridge(rows.features.numpy(), targets, rows.nsd_ids)
    np.testing.assert_allclose(reading.weight, chosen.weights, atol=1e-5)
    out = rows.nsd_ids == ids[4]
    without = fit_ridge(rows.features.numpy()[~out], targets[~out], rows.nsd_ids[~out], alphas=[reading.alpha])
    predicted = (rows.features.numpy()[out] @ without.weights + without.intercept).mean(axis=0)
    np.testing.assert_allclose(reading.left_out[4], predicted, atol=2e-3)
    np.testing.assert_array_equal(reading.targets, rows.targets[first])


def test_a_subjects_encoder_gives_what_the_shared_network_gives(world, fitted):
    run, folder = fitted
    state = torch.load(folder / "trunk" / "shared.ckpt", weights_only=True)
    run.lightning_module.load_state_dict(state["state_dict"])
    network = run.lightning_module.predictor.eval()
    for subject in ("subj01", "subj02"):
        features = run.datamodule.parts[subject].val_rows().features
        with torch.inference_mode():
            assert torch.equal(load_encoder(folder / subject / "shared.ckpt")(features), network(subject, features))


def test_what_is_trained_is_what_is_exported(fitted):
    """Reading by the ridge first and entering the trunk then is the merged layer, up to rounding."""
    network = fitted[0].lightning_module.predictor.eval()
    features = fitted[0].datamodule.parts["subj01"].val_rows().features
    own = network.input_of("subj01")
    with torch.inference_mode():
        read = features @ own.ridge_weight + own.ridge_bias
        standardised = network.finish(network.enter("subj01", read), read)
        expected = standardised * network.target_std[0] + network.target_mean[0]
        torch.testing.assert_close(network("subj01", features), expected, atol=1e-4, rtol=1e-4)


def test_each_encoder_says_what_an_encoder_of_its_subject_says(world, fitted):
    folder = fitted[1]
    trunk = read_checkpoint(folder / "trunk" / "shared.ckpt", "trunk")["fmri_lightning"]
    for subject in ("subj01", "subj02"):
        alone = EncoderDataModule(**world.inputs(), subject=subject)
        alone.setup("fit")
        path = folder / subject / "shared.ckpt"
        encoder = load_encoder(path)
        said = read_checkpoint(path, "encoder")["fmri_lightning"]
        assert (encoder.name, encoder.subject, encoder.inputs) == ("shared", subject, alone.inputs)
        assert said["fitted_on"] == record_of_stimuli(alone.train_ids)
        assert encoder.space == alone.space
        torch.testing.assert_close(encoder.predictor.target_mean, alone.target_mean)
        assert encoder.fitted["trunk"] == {"content_hash": trunk["content_hash"], "subjects": ["subj01", "subj02"]}
        report = json.loads((path.parent / f"{subject}_shared.json").read_text())
        assert (report["content_hash"], report["simulated"]) == (encoder.content_hash, True)


def test_the_kept_epoch_is_the_best_mean_over_subjects(world, fitted):
    run, folder = fitted
    scores = []
    for subject in ("subj01", "subj02"):
        part = run.datamodule.parts[subject]
        predicted, true, _ = predict_rows(load_encoder(folder / subject / "shared.ckpt"), part.val_rows(), False)
        scores.append(np.nan_to_num(centred_cosine(predicted, true, part.target_mean.numpy())).mean())
    assert float(run.checkpoint_callback.best_model_score) == pytest.approx(np.mean(scores), abs=1e-5)
    last = {key: float(value) for key, value in run.callback_metrics.items()}
    assert last["val/centred_cosine"] == pytest.approx(
        np.mean([last["val/subj01/centred_cosine"], last["val/subj02/centred_cosine"]])
    )
    assert {"train/loss", "train/subj01/loss", "train/subj02/loss", "val/two_way"} <= set(last)


def test_starts_as_the_ridges(world, tmp_path):
    still = {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.0)}
    run, folder = fit_shared(world, tmp_path, max_epochs=1, **still)
    part = run.datamodule.parts["subj01"]
    features, reading = part.val_rows().features, run.datamodule.readings["subj01"]
    expected = (features @ reading.weight + reading.bias) * part.target_std + part.target_mean
    torch.testing.assert_close(
        load_encoder(folder / "subj01" / "shared.ckpt")(features), expected, atol=1e-4, rtol=1e-4
    )


def test_the_order_of_subjects_changes_nothing(world, fitted, tmp_path):
    _, folder = fit_shared(world, tmp_path, subjects=("subj02", "subj01"))
    for place in ("trunk", "subj01", "subj02"):
        kind = "trunk" if place == "trunk" else "encoder"
        one, other = (read_checkpoint(where / place / "shared.ckpt", kind) for where in (folder, fitted[1]))
        assert one["fmri_lightning"] == other["fmri_lightning"]


@pytest.mark.parametrize("contrast", [0.0, 0.5])
def test_interrupted_it_resumes_to_the_same_weights(world, tmp_path, contrast):
    network = {"contrast_weight": contrast, "contrast": "bimixco_softclip", "schedule": "one_cycle"}
    _, whole = fit_shared(world, tmp_path / "whole", **network)
    with pytest.raises(Killed):
        fit_shared(world, tmp_path / "cut", stop_after=1, **network)
    last = tmp_path / "cut" / "shared" / "trunk" / "last.ckpt"
    _, resumed = fit_shared(world, tmp_path / "cut", ckpt_path=last, **network)
    for subject in ("subj01", "subj02"):
        hashes = [load_encoder(folder / subject / "shared.ckpt").content_hash for folder in (whole, resumed)]
        assert hashes[0] == hashes[1]


def test_nothing_of_the_network_depends_on_test_trials(world, fitted, tmp_path):
    other = small_world(tmp_path / "other")
    other.write_cache()
    other.write_subject(1)
    other.write_subject(2, sessions=2)
    for number in (1, 2):
        path = other.folder / "all" / "betas" / f"subj{number:02d}" / "betas.npy"
        betas = np.load(path)
        data = EncoderDataModule(**other.inputs(), subject=f"subj{number:02d}")
        test = data._open_checked()[0].split == "test"
        betas[test] *= -50
        np.save(path, betas)
    _, folder = fit_shared(other, tmp_path)
    for subject in ("subj01", "subj02"):
        a, b = (
            read_checkpoint(where / subject / "shared.ckpt", "encoder")["state_dict"] for where in (folder, fitted[1])
        )
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_refuses_training_pictures_that_are_held_out_for_another(tmp_path):
    world = small_world(tmp_path)
    world.write_cache()
    world.write_subject(1)
    world.write_subject(2, leak_test=True)
    with pytest.raises(BadInputError, match=r"training pictures of subj02 are in the test split of subj01 \(nsd_id"):
        SharedDataModule(**world.inputs(), subjects=["subj01", "subj02"]).setup("fit")


@pytest.mark.parametrize("subjects", [None, [], ["subj01", "subj01"], ["trunk"]])
def test_refuses_subjects_that_are_none(subjects):
    with pytest.raises(UsageError, match="subject"):
        SharedDataModule(subjects=subjects)


def test_a_subject_may_have_any_name():
    """Own scans name their subjects; torch takes neither a dot nor the name of a method for a module's."""
    widths = {"ann.b": 5, "keys": 6}
    network = SharedMap(widths, 3, {"hidden": 4, "n_blocks": 0, "dropout": 0.0})
    for subject, width in widths.items():
        torch.nn.init.normal_(network.input_of(subject).ridge_weight)
        alone = NetworkMap(width, 3, hidden=4, n_blocks=0, dropout=0.0, linear_path=True)
        alone.load_state_dict(part_for(network.state_dict(), network.subjects, subject))
        features = torch.randn(2, width)
        torch.testing.assert_close(alone(features), network(subject, features))
