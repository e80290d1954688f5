"""``reliability`` on brains whose noise is known: it orders errors where they differ, and claims nothing elsewhere."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from scipy.stats import spearmanr

from fmri_lightning.adapter.calibration import EmbeddingStatistics, fit_calibration, save_calibration
from fmri_lightning.adapter.load import load_adapter
from fmri_lightning.adapter.reliability.artefact import FILE, load_reliability
from fmri_lightning.cli import main
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.encoder.stored import record_of_stimuli
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.table import index_manifest
from fmri_lightning.manifest import read_manifest
from tests.adapter.fitting import fit, ids_of
from tests.encoder.fitting import fit_mlp_module, fit_ridge_module
from tests.encoder.small_subject import write_small_subject

N = 300


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """A third of the pictures were seen with eight times the noise."""
    noise = np.where(np.arange(N) % 3 == 1, 8.0, 1.0)
    return write_small_subject(tmp_path_factory.mktemp("uneven"), N, noise=noise, repeats=2)


@pytest.fixture(scope="module")
def parts(uneven, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    return fit_ridge_module(uneven, folder)[1], fit(uneven, folder)[1]


def run(subject, encoder, root, *words, adapter=None):
    inputs = subject.encoder_inputs()
    command = ["reliability", "--encoder_ckpt", str(encoder), "--root", str(root)]
    command += [word for name, value in inputs.items() for word in (f"--{name}", value)]
    if adapter is not None:
        command += ["--adapter_ckpt", str(adapter), "--target_cache", str(subject.folder / "target.parquet")]
    return main([*command, *words])


def hashes(subject, encoder, adapter=None, **more):
    split = index_manifest(subject.folder / "index", "subj01").config["split_hash"]
    found = {"encoder": load_encoder(encoder).content_hash, "split": split, **more}
    return found if adapter is None else {**found, "adapter": load_adapter(adapter).content_hash}


def noisy_ids(subject):
    return np.unique(subject.table.nsd_id)[np.arange(N) % 3 == 1]


def test_noisy_pictures_are_expected_to_be_further_off(uneven, parts, tmp_path, capsys):
    encoder, adapter = parts
    assert run(uneven, encoder, tmp_path, adapter=adapter) == 0
    told = capsys.readouterr().out
    folder = tmp_path / "reliability" / "ridge" / "subj01"
    assert f"use it with: fmri-lightning predict --model.reliability {folder}" in told
    found = load_reliability(folder, hashes(uneven, encoder, adapter), "average")
    assert found.ordering.low > 0.2
    evidence = found.evidence
    expected = found.error_map.errors(evidence.signals)
    noisy = np.isin(evidence.nsd_ids, noisy_ids(uneven))
    assert noisy.sum() == 20
    assert expected[noisy].mean() > 1.1 * expected[~noisy].mean()
    assert spearmanr(expected, evidence.errors).statistic > 0.3
    assert evidence.nsd_ids.tolist() == ids_of(uneven, "val").tolist()
    manifest = read_manifest(folder, "reliability")
    assert manifest.config["fitted_on"] == record_of_stimuli(ids_of(uneven, "val"))
    levels = found.levels(expected, "label_only")
    assert levels[noisy].mean() > levels[~noisy].mean()


def test_errors_are_those_of_the_target_embedding(uneven, parts, tmp_path):
    encoder, adapter = parts
    assert run(uneven, encoder, tmp_path, adapter=adapter) == 0
    evidence = load_reliability(
        tmp_path / "reliability" / "ridge" / "subj01", hashes(uneven, encoder, adapter), None
    ).evidence
    betas = np.load(uneven.folder / "betas" / "subj01" / "betas.npy")
    cache = EmbeddingCache.open(uneven.folder / "target.parquet")
    train = cache.rows(ids_of(uneven, "train"))
    shown = evidence.nsd_ids[7]
    mean = betas[uneven.table.nsd_id == shown].mean(axis=0)
    arrays = load_file(uneven.folder / "preproc" / "subj01" / "preproc.safetensors")
    features = (mean[arrays["columns"]] - arrays["mean"]) / arrays["scale"]
    with torch.no_grad():
        source = load_encoder(encoder)(torch.from_numpy(features.astype(np.float32))[None])
        predicted = load_adapter(adapter)(source)[0].numpy()
    expected = np.sqrt(np.square((predicted - cache.rows(np.array([shown]))[0]) / train.std(axis=0)).mean())
    assert evidence.errors[7] == pytest.approx(expected, rel=1e-4)


def test_fewer_repeats_are_expected_to_be_further_off(tmp_path, capsys):
    subject = write_small_subject(tmp_path / "brain", 400, noise=3.0, repeats=np.where(np.arange(400) % 3 == 0, 1, 6))
    encoder = fit_ridge_module(subject, tmp_path)[1]
    assert run(subject, encoder, tmp_path) == 0
    found = load_reliability(tmp_path / "reliability" / "ridge" / "subj01", hashes(subject, encoder), "average")
    counts = np.array([(subject.table.nsd_id == i).sum() for i in found.evidence.nsd_ids])
    expected = found.error_map.errors(found.evidence.signals)
    assert found.ordering.low > 0.2
    assert expected[counts == 1].mean() > 1.3 * expected[counts == 6].mean()
    repeats = found.evidence.signals[:, 1]
    assert repeats[counts == 1].min() > repeats[counts == 6].max()


def test_a_brain_of_constant_noise_gives_no_false_confidence(tmp_path, capsys):
    subject = write_small_subject(tmp_path / "brain", N, noise=3.0, repeats=2)
    encoder = fit_ridge_module(subject, tmp_path)[1]
    assert run(subject, encoder, tmp_path) == 0
    assert "ALL items get one level" in capsys.readouterr().out
    found = load_reliability(tmp_path / "reliability" / "ridge" / "subj01", hashes(subject, encoder), "average")
    expected = found.error_map.errors(found.evidence.signals)
    np.testing.assert_allclose(expected, np.sqrt(np.square(found.evidence.errors).mean()))
    assert len(np.unique(found.levels(expected, "add"))) == 1


def test_a_network_and_an_ensemble(uneven, tmp_path, capsys):
    first = fit_mlp_module(uneven, tmp_path / "a", max_epochs=2)[1]
    second = fit_mlp_module(uneven, tmp_path / "b", max_epochs=3)[1]
    signals = []
    for words in ([], ["--members", f"[{second}]"]):
        assert run(uneven, first, tmp_path, "--passes", "8", *words) == 0
        folder = tmp_path / "reliability" / "mlp" / "subj01"
        signals.append(load_reliability(folder, hashes(uneven, first), None).evidence.signals)
    assert "replaces the one there" in capsys.readouterr().out
    assert (signals[1][:, 0] > signals[0][:, 0]).all()
    assert np.array_equal(signals[1][:, 1:], signals[0][:, 1:])
    assert run(uneven, first, tmp_path, "--members", f"[{first}]") == 3
    assert "is the first one again" in capsys.readouterr().err
    plain = fit_mlp_module(uneven, tmp_path / "c", max_epochs=1, network={"dropout": 0.0})[1]
    assert run(uneven, plain, tmp_path) == 2
    assert "trained without dropout" in capsys.readouterr().err


def test_belongs_to_its_parts_and_its_use_of_repeats(uneven, parts, tmp_path):
    encoder, adapter = parts
    assert run(uneven, encoder, tmp_path, "--trial_mode", "single", "--scale", "0.7", adapter=adapter) == 0
    folder = tmp_path / "reliability" / "ridge" / "subj01"
    known = hashes(uneven, encoder, adapter)
    found = load_reliability(folder, known, "single")
    assert found.settings.scale == 0.7
    assert len(found.evidence.nsd_ids) == (uneven.table.split == "val").sum()
    with pytest.raises(BadInputError, match="is of trial_mode single, this run has average"):
        load_reliability(folder, known, "average")
    with pytest.raises(BadInputError, match="fitted on another adapter"):
        load_reliability(folder, {**known, "adapter": "b" * 64}, "single")
    with pytest.raises(BadInputError, match=r"this run has .'adapter', 'calibration'"):
        load_reliability(folder, {**known, "calibration": "c" * 64}, "single")
    arrays = load_file(folder / FILE)
    arrays["map.log_error"] = arrays["map.log_error"] - 0.1
    save_file(arrays, folder / FILE)
    with pytest.raises(BadInputError, match="does not match its manifest"):
        load_reliability(folder, known, "single")


def test_errors_are_after_the_calibration(uneven, parts, tmp_path):
    encoder, adapter = parts
    loaded = load_adapter(adapter)
    shift = EmbeddingStatistics(torch.full((24,), 50.0), torch.ones(24))
    made_from = {"encoder": load_encoder(encoder).content_hash, "adapter": loaded.content_hash}
    calibration = fit_calibration(torch.randn(40, 24), shift, made_from)
    save_calibration(tmp_path / "calibration", calibration)
    assert run(uneven, encoder, tmp_path, "--calibration", str(tmp_path / "calibration"), adapter=adapter) == 0
    folder = tmp_path / "reliability" / "ridge" / "subj01"
    known = hashes(uneven, encoder, adapter, calibration=calibration.content_hash)
    assert load_reliability(folder, known, None).evidence.errors.min() > 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--adapter_ckpt", "a.ckpt"], "--target_cache goes with --adapter_ckpt"),
        (["--scale", "-1"], "--scale is a factor of at least 0"),
        (["--max_level", "1000"], "--max_level lies in 0..999"),
        (["--passes", "1"], "--passes is at least 2"),
    ],
)
def test_flags_that_make_no_sense(uneven, parts, tmp_path, capsys, words, message):
    assert run(uneven, parts[0], tmp_path, *words) == 2
    assert message in capsys.readouterr().err
