"""Networks with everything switched on: they resume, hold out folds, start from ridge, and refuse what is foreign."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging

from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.encoder.data import EncoderDataModule
from fmri_lightning.encoder.folds import Fold, held_out
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.encoder.network_module import MLPModule
from fmri_lightning.encoder.out_of_fold import out_of_fold_folder, read_out_of_fold, write_out_of_fold
from fmri_lightning.encoder.repeats import SampledRepeats
from fmri_lightning.errors import BadInputError, UsageError
from tests.encoder.fitting import Killed, fit_mlp_module, fit_ridge_module

RESIDUAL = {
    "name": "residual",
    "n_blocks": 2,
    "input_dropout": 0.1,
    "contrast_weight": 0.5,
    "contrast": "bimixco_softclip",
    "schedule": "one_cycle",
}


class RecordRates(Callback):
    def __init__(self):
        self.rates = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def fit_residual(small, root, callbacks=(), **arguments):
    callbacks = [EMAWeightAveraging(decay=0.9), *callbacks]
    return fit_mlp_module(small, root, network=RESIDUAL, callbacks=callbacks, train_mode="sampled", **arguments)


@pytest.fixture(scope="module")
def residual(small, tmp_path_factory):
    """(trainer, checkpoint), fitted once."""
    return fit_residual(small, tmp_path_factory.mktemp("residual"), [RecordRates()])


def train_ids(small):
    return np.unique(small.table.nsd_id[small.table.split == "train"])


def test_residual_network_learns_and_says_what_it_is(residual):
    run, path = residual
    encoder = load_encoder(path)
    assert encoder.name == "residual"
    assert float(run.checkpoint_callback.best_model_score) > 0.25
    assert {"train/loss", "train/cosine", "train/mse", "train/contrast"} <= set(run.callback_metrics)
    report = json.loads((path.parent / "subj01_residual.json").read_text())
    assert report["validation_metrics"]["centred_cosine"] == pytest.approx(
        float(run.checkpoint_callback.best_model_score), abs=1e-5
    )
    assert report["content_hash"] == encoder.content_hash
    assert report["parameters"] == sum(p.numel() for p in encoder.parameters())
    assert not report["collapsed"]
    assert report["settings"]["optimizer"]["class"] == "AdamW"
    assert (report["settings"]["contrast"], report["settings"]["max_epochs"]) == ("bimixco_softclip", 6)
    assert len(report["r2_per_dimension"]) == 16


def test_the_checkpoint_holds_the_averaged_weights(residual):
    checkpoint = torch.load(residual[1], weights_only=True)
    name = "predictor.layers.0.weight"
    assert not torch.equal(checkpoint["state_dict"][name], checkpoint["current_model_state"][name])


def test_one_cycle_rises_and_ends_at_nearly_nothing(residual):
    rates = next(c.rates for c in residual[0].callbacks if isinstance(c, RecordRates))
    assert len(rates) == 24
    assert max(rates) == pytest.approx(3e-3, rel=0.05)
    assert rates.index(max(rates)) in (1, 2)
    assert rates[-1] < 1e-5
    assert rates[2:] == sorted(rates[2:], reverse=True)


@pytest.mark.parametrize("epoch", [1, 4])
def test_interrupted_it_resumes_to_the_same_weights(small, residual, tmp_path, epoch):
    # Epoch 1 mixes voxels, epoch 4 is soft: the schedules go on where they were.
    with pytest.raises(Killed):
        fit_residual(small, tmp_path, stop_after=epoch)
    _, path = fit_residual(small, tmp_path, ckpt_path=tmp_path / "residual" / "subj01" / "last.ckpt")
    assert load_encoder(path).content_hash == load_encoder(residual[1]).content_hash


def test_sampled_repeats_are_means_of_subsets():
    ids = torch.tensor([5, 3, 5, 9, 5, 3])
    features = torch.eye(6)
    sampled = SampledRepeats(features, ids[:, None].float(), ids, 2, lambda: seen["epoch"])
    seen, subsets = {"epoch": 0}, {3: set(), 5: set(), 9: set()}
    for epoch in range(60):
        seen["epoch"] = epoch
        rows = [
            (int(i), f, t) for b in sampled for i, f, t in zip(b["nsd_ids"], b["features"], b["targets"], strict=True)
        ]
        assert sorted(row[0] for row in rows) == [3, 5, 9]
        for picture, mean, target in rows:
            assert int(target[0]) == picture
            used = mean.nonzero()[:, 0]
            assert (ids[used] == picture).all()
            torch.testing.assert_close(mean[used], torch.full((len(used),), 1 / len(used)))
            subsets[picture].add(tuple(used.tolist()))
    assert {key: len(value) for key, value in subsets.items()} == {3: 3, 5: 7, 9: 1}


def test_folds_divide_the_training_pictures():
    ids = np.random.default_rng(0).choice(5000, 103, replace=False)
    parts = [held_out(np.repeat(ids, 2), Fold(part, 5)) for part in range(1, 6)]
    assert sorted(np.concatenate(parts).tolist()) == sorted(ids.tolist())
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    with pytest.raises(UsageError, match="cannot make"):
        held_out(np.arange(3), Fold(1, 5))


@pytest.mark.parametrize("wrong", ["0/5", "6/5", "1/1", "half", "1-5"])
def test_refuses_what_is_no_fold(wrong):
    with pytest.raises(UsageError, match="a fold is written"):
        EncoderDataModule(fold=wrong)


def test_folds_write_predictions_of_pictures_they_never_saw(small, tmp_path):
    paths = []
    for part in (1, 2):
        with pytest.raises(BadInputError, match=("holds no out-of-fold", "lacks 1 of 2 folds")[part - 1]):
            read_out_of_fold(out_of_fold_folder(tmp_path / "mlp" / "subj01" / "mlp.ckpt"), train_ids(small))
        run, whole = fit_mlp_module(small, tmp_path, fold=f"{part}/2")
        paths.append(whole.parent / "folds" / f"{part}of2" / "mlp.ckpt")
        assert not np.isin(run.datamodule.train_ids, run.datamodule.left_out_rows().nsd_ids).any()
    found = read_out_of_fold(out_of_fold_folder(whole), train_ids(small))
    assert not whole.exists()
    np.testing.assert_array_equal(found.nsd_ids, train_ids(small))
    assert (found.encoder, found.subject, found.inputs) == ("mlp", "subj01", run.datamodule.inputs)
    train = small.betas[small.table.split == "train"]
    for part, path in enumerate(paths, start=1):
        ids = held_out(train_ids(small), Fold(part, 2))
        mine = np.isin(small.table.nsd_id, ids)
        unique, betas = average_repeats(small.betas[mine], small.table.nsd_id[mine])
        features = ((betas - train.mean(axis=0)) / train.std(axis=0))[:, 1:]
        with torch.inference_mode():
            expected = load_encoder(path)(torch.from_numpy(features)).numpy()
        rows = np.searchsorted(found.nsd_ids, unique)
        np.testing.assert_allclose(found.predictions[rows], expected, atol=1e-4)


def test_a_fold_is_not_resumed_as_another(small, tmp_path):
    fit_mlp_module(small, tmp_path, max_epochs=1, fold="1/2")
    last = tmp_path / "mlp" / "subj01" / "folds" / "1of2" / "last.ckpt"
    for fold in ("2/2", None):
        with pytest.raises(BadInputError, match="other training pictures of the same split"):
            fit_mlp_module(small, tmp_path, max_epochs=2, fold=fold, ckpt_path=last)
    fit_mlp_module(small, tmp_path, max_epochs=2, fold="1/2", ckpt_path=last)


def test_folds_of_another_learning_rate_do_not_belong_together(small, tmp_path):
    folder = tmp_path / "mlp" / "subj01" / "out_of_fold"
    slower = partial(torch.optim.AdamW, lr=1e-5)
    fit_mlp_module(small, tmp_path, max_epochs=1, fold="1/2")
    fit_mlp_module(small, tmp_path, max_epochs=1, fold="2/2", network={"optimizer": slower})
    with pytest.raises(BadInputError, match="differ in settings; fit the folds again"):
        read_out_of_fold(folder, train_ids(small))
    fit_mlp_module(small, tmp_path, max_epochs=1, fold="2/2")
    assert len(read_out_of_fold(folder, train_ids(small)).nsd_ids) == len(train_ids(small))


def test_refuses_out_of_fold_predictions_that_do_not_belong_together(small, tmp_path):
    ids, checkpoint = train_ids(small), tmp_path / "mlp.ckpt"
    space = EmbeddingCache.open(small.folder / "clip.parquet").space
    vectors = np.random.default_rng(0).standard_normal((len(ids), space.dim))

    def write(part, rows, inputs):
        write_out_of_fold(checkpoint, part, 2, ids[rows], vectors[rows], space, inputs, "mlp", "subj01")

    write(1, slice(0, 20), {"split": "a"})
    write(2, slice(20, None), {"split": "b"})
    with pytest.raises(BadInputError, match="differ in inputs"):
        read_out_of_fold(tmp_path / "out_of_fold", ids)
    write(2, slice(21, None), {"split": "a"})
    with pytest.raises(BadInputError, match="1 missing"):
        read_out_of_fold(tmp_path / "out_of_fold", ids)
    write(2, slice(20, None), {"split": "a"})
    np.testing.assert_allclose(read_out_of_fold(tmp_path / "out_of_fold", ids).predictions, vectors, atol=1e-6)
    write_out_of_fold(checkpoint, 1, 1, ids, vectors, space, {}, "ridge", "subj01")
    assert [path.name for path in (tmp_path / "out_of_fold").glob("*.parquet")] == ["1of1.parquet"]


def test_starts_from_the_ridge_of_the_same_pictures_only(small, tmp_path):
    _, ridge = fit_ridge_module(small, tmp_path)
    start = {"linear_path": True, "initial": str(ridge), "dropout": 0.0}
    run, path = fit_mlp_module(small, tmp_path, max_epochs=1, network={**start, "optimizer": _still})
    features = run.datamodule.val_rows().features
    torch.testing.assert_close(load_encoder(path)(features), load_encoder(ridge)(features), atol=1e-4, rtol=1e-4)
    assert load_encoder(path).fitted["started_from"] == load_encoder(ridge).content_hash
    with pytest.raises(BadInputError, match="other training pictures"):
        fit_mlp_module(small, tmp_path / "fold", max_epochs=1, network=start, fold="1/3")


def _still(parameters):
    return torch.optim.SGD(parameters, lr=0.0)


def test_ridge_takes_no_sampled_repeats(small, tmp_path):
    with pytest.raises(UsageError, match="ridge solves once"):
        fit_ridge_module(small, tmp_path, train_mode="sampled")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "Ridge"}, "name is made of"),
        ({"name": "ridge"}, "is not ridge"),
        ({"initial": "ridge.ckpt"}, "linear_path"),
        ({"scheduler": _still, "schedule": "one_cycle"}, "not both"),
    ],
)
def test_refuses_settings_that_contradict_each_other(wrong, message):
    with pytest.raises(UsageError, match=message):
        MLPModule(**wrong)


def test_a_fit_that_learns_nothing_says_that_it_collapsed(small, tmp_path, capsys):
    _, path = fit_mlp_module(small, tmp_path, max_epochs=1, network={"optimizer": _still, "linear_path": True})
    assert "on val, has not been shown to predict better than the mean" in capsys.readouterr().out
    report = json.loads((path.parent / "subj01_mlp.json").read_text())
    assert report["collapsed"]
    assert report["centred_cosine_interval"][0] <= 0
    assert report["collapsed_because"].startswith("mlp, on val, has not been shown")
