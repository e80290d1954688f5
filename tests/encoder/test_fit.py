import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.embeddings.cache import EmbeddingCache, write_cache
from fmri_lightning.encoder.data import EncoderDataModule
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.encoder.out_of_fold import read_out_of_fold
from fmri_lightning.encoder.ridge import fit_ridge
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.metrics.cosine import centred_cosine
from tests.encoder.fitting import Killed, fit_mlp_module, fit_ridge_module
from tests.encoder.small_subject import write_small_subject

DIRECTIONS = ("picture_from_brain", "brain_from_picture")


@pytest.fixture(scope="module")
def fitted(small, tmp_path_factory):
    """(trainer, checkpoint) by name, fitted once."""
    root = tmp_path_factory.mktemp("fits")
    return {"ridge": fit_ridge_module(small, root), "mlp": fit_mlp_module(small, root)}


def scaled(small, split, averaged):
    """Features and targets of a split, computed without the package's data module."""
    train = small.betas[small.table.split == "train"]
    rows = small.table.split == split
    betas, ids = small.betas[rows], small.table.nsd_id[rows]
    if averaged:
        unique = np.unique(ids)
        betas, ids = np.stack([betas[ids == i].mean(axis=0) for i in unique]), unique
    features = ((betas - train.mean(axis=0)) / train.std(axis=0))[:, 1:]
    return features, EmbeddingCache.open(small.folder / "clip.parquet").rows(ids), ids


def test_ridge_checkpoint_is_the_ridge_of_the_training_trials(small, fitted):
    encoder = load_encoder(fitted["ridge"][1])
    features, targets, ids = scaled(small, "train", averaged=False)
    chosen = fit_ridge(features, targets, ids)
    assert encoder.fitted["alpha"] == pytest.approx([chosen.alpha[0]], rel=1e-4)
    np.testing.assert_allclose(encoder.fitted["loo_r2"], chosen.loo_r2, atol=1e-3)
    reference = Ridge(alpha=encoder.fitted["alpha"][0]).fit(features, targets)
    val, _, _ = scaled(small, "val", averaged=True)
    with torch.inference_mode():
        predicted = encoder(torch.from_numpy(val)).numpy()
    np.testing.assert_allclose(predicted, reference.predict(val), atol=1e-4)


def test_alpha_is_chosen_in_the_use_of_repeats_that_predict_will_have(small, tmp_path):
    features, targets, ids = scaled(small, "train", averaged=False)
    for mode, averaged in (("single", False), ("average", True), ("average_outputs", True)):
        _, path = fit_ridge_module(small, tmp_path / mode, trial_mode=mode)
        expected = fit_ridge(features, targets, ids, average_repeats=averaged)
        np.testing.assert_allclose(load_encoder(path).fitted["scores"], expected.scores, rtol=1e-3)
    other = fit_ridge(features, targets, ids)
    single = fit_ridge(features, targets, ids, average_repeats=False)
    assert np.abs(single.scores / other.scores - 1).max() > 0.3


def test_ridge_leaves_predictions_of_pictures_it_was_not_fitted_on(small, fitted):
    _, path = fitted["ridge"]
    features, targets, ids = scaled(small, "train", averaged=False)
    found = read_out_of_fold(path.parent / "out_of_fold", ids)
    alpha = load_encoder(path).fitted["alpha"][0]
    for picture in np.unique(ids)[::11]:
        out = ids == picture
        model = Ridge(alpha=alpha).fit(features[~out], targets[~out])
        expected = model.predict(features[out]).mean(axis=0)
        np.testing.assert_allclose(found.predictions[found.nsd_ids == picture][0], expected, atol=2e-3)
    assert found.inputs == fitted["ridge"][0].datamodule.inputs


@pytest.mark.parametrize("name", ["ridge", "mlp"])
def test_checkpoint_says_what_it_is(small, fitted, name):
    trainer, path = fitted[name]
    data = trainer.datamodule
    encoder = load_encoder(path)
    assert (encoder.name, encoder.subject, encoder.trial_mode) == (name, "subj01", "average")
    assert encoder.inputs == data.inputs
    assert set(encoder.inputs) == {"preproc", "split", "clip_cache"}
    assert encoder.space.name == "clip"
    _, targets, ids = scaled(small, "train", averaged=False)
    first = np.unique(ids, return_index=True)[1]
    np.testing.assert_allclose(encoder.space.mean, targets[first].mean(axis=0), rtol=1e-5)
    assert torch.load(path, weights_only=True)["fmri_lightning"]["content_hash"] == encoder.content_hash
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize("name", ["ridge", "mlp"])
def test_logged_scores_are_those_of_the_loaded_encoder(small, fitted, name):
    trainer, path = fitted[name]
    features, targets, _ = scaled(small, "val", averaged=True)
    encoder = load_encoder(path)
    with torch.inference_mode():
        predicted = encoder(torch.from_numpy(features)).numpy()
    score = centred_cosine(predicted, targets, np.asarray(encoder.space.mean)).mean()
    best = trainer.checkpoint_callback.best_model_score
    logged = trainer.callback_metrics["val/centred_cosine"] if best is None else best
    assert float(logged) == pytest.approx(score, abs=1e-5)
    assert score > 0.7
    keys = {"cosine", "mean_vector_cosine", "centred_cosine", "centred_cosine_low", "two_way", "r2", "pool", "n"}
    keys |= {f"{way}_{key}" for way in DIRECTIONS for key in ("top1", "top5", "median_rank")}
    assert {f"val/{key}" for key in keys} <= set(trainer.callback_metrics)
    assert trainer.callback_metrics["val/two_way"] > 0.9


def test_emits_raw_embeddings(small, fitted):
    _, targets, _ = scaled(small, "val", averaged=True)
    features = torch.from_numpy(scaled(small, "val", averaged=True)[0])
    for name in ("ridge", "mlp"):
        norm = load_encoder(fitted[name][1])(features).norm(dim=1).median()
        assert float(norm) == pytest.approx(float(np.median(np.linalg.norm(targets, axis=1))), rel=0.4)


@pytest.mark.parametrize("fit", [fit_ridge_module, fit_mlp_module])
def test_nothing_fitted_depends_on_test_rows(tmp_path, fit):
    states = []
    for name, permute in (("as_is", False), ("permuted", True)):
        subject = write_small_subject(tmp_path / name, permute_test=permute)
        trainer, path = fit(subject, tmp_path / f"{name}_checkpoints")
        scores = {key: float(value) for key, value in trainer.callback_metrics.items()}
        checkpoint = torch.load(path, weights_only=True)
        states.append((checkpoint["state_dict"], scores, checkpoint["fmri_lightning"]))
    (state, scores, said), (other, other_scores, other_said) = states
    assert all(torch.equal(state[key], other[key]) for key in state)
    assert scores == other_scores
    assert said == other_said


def test_interrupted_network_resumes_to_the_same_score(small, fitted, tmp_path):
    with pytest.raises(Killed):
        fit_mlp_module(small, tmp_path, stop_after=3)
    resumed, path = fit_mlp_module(small, tmp_path, ckpt_path=tmp_path / "mlp" / "subj01" / "last.ckpt")
    whole, whole_path = fitted["mlp"]
    assert resumed.current_epoch == whole.current_epoch
    score, expected = (float(run.callback_metrics["val/centred_cosine"]) for run in (resumed, whole))
    assert score == pytest.approx(expected, abs=1e-4)
    assert load_encoder(path).content_hash == load_encoder(whole_path).content_hash


def test_fitting_again_gives_the_same_encoder(small, fitted, tmp_path):
    _, path = fit_ridge_module(small, tmp_path)
    first = load_encoder(path).content_hash
    assert first == load_encoder(fitted["ridge"][1]).content_hash
    fit_ridge_module(small, tmp_path)
    assert load_encoder(path).content_hash == first
    before = path.read_bytes()
    fit_ridge_module(small, tmp_path, ckpt_path=path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["out_of_fold", "ridge.ckpt", "subj01_ridge.json"]


def test_each_trial_mode_is_validated_as_it_will_predict(small, tmp_path):
    encoders, logged = {}, {}
    for mode in ("average", "average_outputs", "single"):
        run, path = fit_ridge_module(small, tmp_path / mode, trial_mode=mode)
        encoders[mode], logged[mode] = load_encoder(path), float(run.callback_metrics["val/centred_cosine"])
        assert encoders[mode].trial_mode == mode
    features, targets, ids = scaled(small, "val", averaged=False)
    with torch.inference_mode():
        predicted, of_outputs = (
            encoders[mode](torch.from_numpy(features)).numpy() for mode in ("single", "average_outputs")
        )
    mean = np.asarray(encoders["single"].space.mean)
    assert logged["single"] == pytest.approx(centred_cosine(predicted, targets, mean).mean(), abs=1e-5)
    averaged, true = (average_repeats(rows, ids)[1] for rows in (of_outputs, targets))
    assert logged["average_outputs"] == pytest.approx(centred_cosine(averaged, true, mean).mean(), abs=1e-5)
    # A linear map: the mean of outputs is the output of the mean.
    assert logged["average"] == pytest.approx(logged["average_outputs"], abs=1e-4)
    assert logged["single"] < logged["average"]


def test_training_on_means_over_repeats(small):
    data = EncoderDataModule(**small.encoder_inputs(train_mode="average"))
    data.setup("fit")
    features, targets, ids = scaled(small, "train", averaged=True)
    np.testing.assert_allclose(data.train_rows().features, features, atol=1e-5)
    np.testing.assert_array_equal(data.train_rows().targets, targets)
    np.testing.assert_array_equal(data.train_rows().nsd_ids, ids)


def test_validating_reads_no_training_rows(small):
    data = EncoderDataModule(**small.encoder_inputs())
    data.setup("validate")
    assert len(data.val_rows().nsd_ids) == len(np.unique(small.table.nsd_id[small.table.split == "val"]))
    with pytest.raises(RuntimeError, match="not set up"):
        data.train_rows()


def test_refuses_a_checkpoint_of_other_inputs(small, fitted, tmp_path):
    other = write_small_subject(tmp_path / "other", seed=1)
    with pytest.raises(BadInputError, match="fitted on another preproc"):
        fit_mlp_module(other, tmp_path / "checkpoints", max_epochs=9, ckpt_path=fitted["mlp"][1])


@pytest.mark.parametrize("name", ["preproc", "split", "clip_cache"])
@pytest.mark.parametrize("kind", ["ridge", "mlp"])
def test_an_input_that_differs_is_named(small, fitted, tmp_path, name, kind):
    checkpoint = torch.load(fitted[kind][1], weights_only=True)
    checkpoint["fmri_lightning"]["inputs"][name] = "0" * 64
    torch.save(checkpoint, tmp_path / "foreign.ckpt")
    fit = fit_ridge_module if kind == "ridge" else fit_mlp_module
    with pytest.raises(BadInputError, match=f"was fitted on another {name} \\(000000000000, at hand is"):
        fit(small, tmp_path, ckpt_path=tmp_path / "foreign.ckpt")


def test_refuses_a_checkpoint_of_the_other_encoder(small, fitted, tmp_path):
    with pytest.raises(UsageError, match="holds ridge, this run fits mlp"):
        fit_mlp_module(small, tmp_path, ckpt_path=fitted["ridge"][1])


def test_refuses_inputs_that_do_not_belong_together(small, tmp_path):
    other = write_small_subject(tmp_path / "other", seed=1)
    for name, message in (
        ("betas", "betas was made from another index"),
        ("preproc", "preproc was made from another betas"),
        ("clip_cache", "lacks"),
    ):
        mixed = small.encoder_inputs(**{name: other.encoder_inputs()[name]})
        with pytest.raises(BadInputError, match=message):
            EncoderDataModule(**mixed).setup("fit")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"subject": "subj02"}, "no index of 'subj02'"), ({"clip_cache": "absent.parquet"}, "does not exist")],
)
def test_refuses_what_is_missing(small, tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match=message):
        EncoderDataModule(**small.encoder_inputs(**change)).setup("fit")
    assert list(tmp_path.iterdir()) == []


def test_refuses_nan_in_betas(tmp_path):
    subject = write_small_subject(tmp_path)
    betas = subject.betas.copy()
    betas[np.flatnonzero(subject.table.split == "train")[5], 3] = np.nan
    np.save(tmp_path / "betas" / "subj01" / "betas.npy", betas)
    with pytest.raises(BadInputError, match="train split hold NaN"):
        EncoderDataModule(**subject.encoder_inputs()).setup("fit")


def test_refuses_an_empty_split(tmp_path):
    subject = write_small_subject(tmp_path, n_stimuli=30)
    table = dataclasses.replace(subject.table, split=np.where(subject.table.split == "val", "train", "test"))
    from tests.encoder import small_subject

    for folder in ("index", "betas", "preproc"):
        (tmp_path / folder).rename(tmp_path / f"old_{folder}")
    small_subject.write_index(tmp_path / "index", "subj01", table, {}, {})
    small_subject._write_betas(tmp_path, subject.betas, table)
    with pytest.raises(BadInputError, match="the val split of subj01"):
        EncoderDataModule(**subject.encoder_inputs()).setup("fit")


def test_refuses_a_damaged_checkpoint(fitted, tmp_path):
    payload = fitted["ridge"][1].read_bytes()
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(payload[: len(payload) // 2])
    with pytest.raises(BadInputError, match=r"cut\.ckpt cannot be read"):
        load_encoder(cut)
    checkpoint = torch.load(fitted["ridge"][1], weights_only=True)
    checkpoint["state_dict"]["predictor.weights"][0, 0] += 1
    torch.save(checkpoint, tmp_path / "changed.ckpt")
    with pytest.raises(BadInputError, match="does not match its own content hash"):
        load_encoder(tmp_path / "changed.ckpt")
    with pytest.raises(BadInputError, match="does not exist"):
        load_encoder(tmp_path / "absent.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(BadInputError, match="no checkpoint of ours"):
        load_encoder(tmp_path / "foreign.ckpt")


def test_refuses_embeddings_of_another_width(small, fitted, tmp_path):
    cache = EmbeddingCache.open(small.folder / "clip.parquet")
    narrow = dataclasses.replace(cache.space, dim=8, mean=None, std=None)
    write_cache(tmp_path / "narrow.parquet", cache.ids, np.array(cache.embeddings[:, :8]), narrow)
    with pytest.raises(BadInputError, match="fitted on another clip_cache"):
        fit_ridge_module(small, tmp_path, ckpt_path=fitted["ridge"][1], clip_cache=str(tmp_path / "narrow.parquet"))
