"""The report against independent calculations; test pictures are read after the fit and change nothing else."""

import json
import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge

from fmri_lightning.adapter.baselines import least_squares, scores_of
from fmri_lightning.adapter.data import EmbeddingPairs
from fmri_lightning.adapter.load import load_adapter
from fmri_lightning.adapter.network import AdapterNetwork
from fmri_lightning.adapter.report import NOT_COMPUTED
from fmri_lightning.adapter.timing import inference_time
from fmri_lightning.betas.preprocess import Preprocess
from fmri_lightning.embeddings.cache import EmbeddingCache, write_cache
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.errors import BadInputError, UsageError
from tests.adapter.fitting import fit, ids_of, pairs
from tests.encoder.fitting import fit_ridge_module
from tests.encoder.small_subject import write_small_subject

FIELDS = {
    "subject", "model", "parameters", "source_dim", "source_model", "target_dim", "target_model", "data_splits",
    "hyperparameters", "validation_metrics", "test_metrics", "baselines", "model_checkpoint", "content_hash", "inputs",
    "simulated", "versions",
}  # fmt: skip


def report_of(path):
    return json.loads((path.parent / "subj01_clip_adapter.json").read_text())


def brain(small):
    """Data arguments of the comparison from voxels."""
    return {name: str(small.folder / name) for name in ("betas", "preproc")}


@pytest.fixture(scope="module")
def encoder(small, tmp_path_factory):
    """A ridge from voxels to the source embedding."""
    return fit_ridge_module(small, tmp_path_factory.mktemp("encoder"))[1]


@pytest.fixture(scope="module")
def fitted(small, encoder, tmp_path_factory):
    """Checkpoint of an adapter whose report compares from voxels."""
    return fit(small, tmp_path_factory.mktemp("report"), model={"encoder_ckpt": str(encoder)}, **brain(small))[1]


def features(small, split):
    """Preprocessed mean betas of the pictures of a split, by plain numpy."""
    ids = ids_of(small, split)
    means = np.stack([small.betas[small.table.nsd_id == i].mean(axis=0) for i in ids])
    with torch.no_grad():
        return Preprocess.load(small.folder / "preproc" / "subj01").eval()(torch.from_numpy(means))


def centred(predicted, true, mean):
    a, b = torch.from_numpy(np.asarray(predicted) - mean), torch.from_numpy(true - mean)
    return float(torch.cosine_similarity(a.double(), b.double()).mean())


def test_compares_with_maps_that_cost_nothing(small, fitted):
    report, adapter = report_of(fitted), load_adapter(fitted)
    (source, target), (train_source, train_target) = pairs(small, "test"), pairs(small, "train")
    with torch.inference_mode():
        predicted = adapter(torch.from_numpy(source))
    cosine = torch.cosine_similarity(predicted, torch.from_numpy(target)).mean()
    assert report["test_metrics"]["cosine"] == pytest.approx(float(cosine), abs=1e-5)
    mean = torch.from_numpy(train_target.mean(axis=0))
    constant = torch.cosine_similarity(mean[None], torch.from_numpy(target)).mean()
    assert report["baselines"]["mean_vector"]["test"]["cosine"] == pytest.approx(float(constant), abs=1e-5)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train_source, source)]
    reference = LinearRegression().fit(unit[0], train_target).predict(unit[1])
    found = report["baselines"]["least_squares"]["test"]
    assert found["centred_cosine"] == pytest.approx(centred(reference, target, train_target.mean(axis=0)), abs=1e-4)
    assert report["data_splits"]["n_train"] == len(train_source)
    assert report["parameters"] == 16 * 24 + 24 + 2 * 24
    assert report["content_hash"] == adapter.content_hash
    for scores in (report["test_metrics"], report["validation_metrics"], found):
        assert {"cosine", "centred_cosine", "mean_vector_cosine", "top1", "top5", "cosine_std", "mse"} <= set(scores)
        assert scores["centred_cosine"] > 0.5
    assert set(report) >= FIELDS
    assert report["collapsed"] is False
    assert report["centred_cosine_interval"][0] > 0
    assert "collapsed_because" not in report
    assert report["trained_on"] == {"sources": "true embeddings"}
    assert not any(str(small.folder) in line for line in json.dumps(report).splitlines())


def test_least_squares_equals_sklearn():
    rng = np.random.default_rng(0)
    source, target = rng.standard_normal((60, 7)), rng.standard_normal((60, 5))
    fit_map = least_squares(EmbeddingPairs(torch.from_numpy(source), torch.from_numpy(target), np.arange(60)))
    unit = source / np.linalg.norm(source, axis=1, keepdims=True)
    reference = LinearRegression().fit(unit, target)
    np.testing.assert_allclose(fit_map(torch.from_numpy(source)), reference.predict(unit), atol=1e-10)


def test_top1_and_top5_count_among_all_rows():
    true = np.eye(12) + 0.01
    predicted = true.copy()
    predicted[[0, 1]] = true[[1, 0]] + 0.5 * true[[0, 1]]
    predicted[2] = -true[2]
    scores = scores_of(predicted, true, np.zeros(12))
    assert scores["top1"] == pytest.approx(9 / 12)
    assert scores["top5"] == pytest.approx(11 / 12)


def test_straight_from_voxels_equals_sklearn(small, fitted):
    direct = report_of(fitted)["baselines"]["direct"]
    trials = small.table.split == "train"
    ids = small.table.nsd_id[trials]
    with torch.no_grad():
        x = Preprocess.load(small.folder / "preproc" / "subj01").eval()(torch.from_numpy(small.betas[trials]))
    y = EmbeddingCache.open(small.folder / "target.parquet").rows(ids)
    assert len(direct["alpha"]) == 1
    ridge = Ridge(alpha=direct["alpha"][0]).fit(x.numpy().astype(np.float64), y.astype(np.float64))
    mean = pairs(small, "train")[1].mean(axis=0)
    for split in ("val", "test"):
        predicted = ridge.predict(features(small, split).numpy().astype(np.float64))
        expected = centred(predicted, pairs(small, split)[1], mean)
        assert direct[split]["centred_cosine"] == pytest.approx(expected, abs=1e-4)


def test_encoder_and_adapter_on_the_same_pictures(small, encoder, fitted):
    found = report_of(fitted)["predicted_sources"]
    assert (found["encoder"], found["trial_mode"]) == ("ridge", "average")
    assert found["encoder_content_hash"] == load_encoder(encoder).content_hash
    mean = pairs(small, "train")[1].mean(axis=0)
    for split in ("val", "test"):
        with torch.inference_mode():
            predicted = load_adapter(fitted)(load_encoder(encoder)(features(small, split))).numpy()
        expected = centred(predicted, pairs(small, split)[1], mean)
        assert found["adapter"][split]["centred_cosine"] == pytest.approx(expected, abs=1e-5)
        assert found["least_squares"][split]["centred_cosine"] > 0


@pytest.mark.parametrize("mode", ["average_outputs", "single"])
def test_comparison_follows_the_encoders_use_of_repeats(small, tmp_path, mode):
    encoder = fit_ridge_module(small, tmp_path, trial_mode=mode)[1]
    run, path = fit(small, tmp_path, max_epochs=1, model={"encoder_ckpt": str(encoder)}, **brain(small))
    report, loaded = report_of(path), load_encoder(encoder)
    rows = np.flatnonzero(small.table.split == "test")
    with torch.inference_mode():
        x = Preprocess.load(small.folder / "preproc" / "subj01").eval()(torch.from_numpy(small.betas[rows]))
        source = loaded(x)
    ids = small.table.nsd_id[rows]
    if mode == "average_outputs":
        source = torch.stack([source[torch.from_numpy(ids == i)].mean(dim=0) for i in np.unique(ids)])
        ids = np.unique(ids)
    with torch.inference_mode():
        predicted = load_adapter(path)(source).numpy()
    true = EmbeddingCache.open(small.folder / "target.parquet").rows(ids)
    expected = centred(predicted, true, pairs(small, "train")[1].mean(axis=0))
    assert report["predicted_sources"]["trial_mode"] == mode
    assert report["predicted_sources"]["adapter"]["test"]["centred_cosine"] == pytest.approx(expected, abs=1e-5)
    assert np.isfinite(report["baselines"]["direct"]["test"]["centred_cosine"])
    # What the fit logs, and may be told to watch, is the score on val.
    logged = float(run.callback_metrics["val/predicted_centred_cosine"])
    assert logged == pytest.approx(report["predicted_sources"]["adapter"]["val"]["centred_cosine"], abs=1e-5)


def test_says_what_was_not_computed(small, tmp_path, capsys):
    _, path = fit(small, tmp_path, max_epochs=1)
    report = report_of(path)
    assert report["baselines"]["direct"] == report["predicted_sources"] == NOT_COMPUTED
    assert NOT_COMPUTED == "not computed: name --data.betas, --data.preproc and --model.encoder_ckpt"
    scores = report["test_metrics"]
    line = next(line for line in capsys.readouterr().out.splitlines() if "subj01_clip_adapter.json" in line)
    assert line.endswith(
        f"test cosine {scores['cosine']:.4f} (mean vector {scores['mean_vector_cosine']:.4f}), centred cosine "
        f"{scores['centred_cosine']:.4f} (least squares "
        f"{report['baselines']['least_squares']['test']['centred_cosine']:.4f})"
    )


def test_a_wrong_comparison_ends_the_fit_before_it_starts(small, encoder, tmp_path):
    with pytest.raises(UsageError, match="name all three or none"):
        fit(small, tmp_path, model={"encoder_ckpt": str(encoder)})
    other = write_small_subject(tmp_path / "other", seed=1)
    with pytest.raises(BadInputError, match=r"encoder .* was fitted on another"):
        fit(other, tmp_path, model={"encoder_ckpt": str(encoder)}, **brain(other))
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_collapsed_adapter_says_so(small, tmp_path, capsys):
    """Targets that have nothing to do with the sources."""
    cache = EmbeddingCache.open(small.folder / "target.parquet")
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal(cache.embeddings.shape).astype(np.float32)
    val = cache.row_numbers(ids_of(small, "val"))
    # Val pictures lie opposite to where their own sources point by least squares.
    source, target = pairs(small, "train")[0], vectors[cache.row_numbers(ids_of(small, "train"))]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (source, pairs(small, "val")[0])]
    predicted = LinearRegression().fit(unit[0], target).predict(unit[1])
    vectors[val] = 2 * target.mean(axis=0) - predicted
    write_cache(tmp_path / "target.parquet", cache.ids, vectors, cache.space)
    _, path = fit(small, tmp_path, max_epochs=3, target_cache=str(tmp_path / "target.parquet"))
    report = report_of(path)
    assert report["validation_metrics"]["centred_cosine"] <= 0
    assert report["collapsed"] is True
    assert report["centred_cosine_interval"][0] <= 0
    assert "has not been shown to predict better than the mean training embedding does" in report["collapsed_because"]
    assert report["collapsed_because"] in capsys.readouterr().out


def test_inference_time_is_a_figure_with_its_conditions():
    threads = torch.get_num_threads()
    found = inference_time(AdapterNetwork(6, 4).eval(), torch.randn(7, 6), repeats=3)
    assert found["ms_per_vector"] > 0
    assert found["ms_per_1000_vectors"] > 0
    assert (found["device"], found["threads"], found["repeats"]) == ("cpu", 1, 3)
    assert torch.get_num_threads() == threads


def test_test_voxels_change_the_report_and_nothing_before_it(small, encoder, fitted, tmp_path):
    other = write_small_subject(tmp_path / "other", permute_test=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other_encoder = fit_ridge_module(other, tmp_path)[1]
    _, path = fit(other, tmp_path, model={"encoder_ckpt": str(other_encoder)}, **brain(other))
    state, whole = (torch.load(p, weights_only=True)["state_dict"] for p in (path, fitted))
    assert all(torch.equal(state[key], whole[key]) for key in whole)
    report, before = report_of(path), report_of(fitted)
    assert report["predicted_sources"]["adapter"]["val"] == before["predicted_sources"]["adapter"]["val"]
    assert report["baselines"]["direct"]["val"] == before["baselines"]["direct"]["val"]
    assert report["baselines"]["direct"]["test"] != before["baselines"]["direct"]["test"]
