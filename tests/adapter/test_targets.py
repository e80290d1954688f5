"""The three shipped targets, 768, 1024 and 1280-D: by their configurations from the fit to what predict loads."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fmri_lightning.adapter.calibration import load_calibration
from fmri_lightning.adapter.load import load_adapter
from fmri_lightning.cli import main
from fmri_lightning.embeddings.cache import EmbeddingCache, write_cache
from fmri_lightning.embeddings.spaces import SPACES
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.decoder import DecoderConfig, IPAdapterConfig, decoder_space
from fmri_lightning.records import require_same_space
from tests.adapter.fitting import ids_of
from tests.encoder.small_subject import write_small_subject

TARGETS = {"vit-l-14": 768, "vit-h-14": 1024, "vit-bigg-14": 1280}
SOURCE_DIM = 512


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working directory with the folders that the shipped configurations name, and a fitted ridge."""
    folder = tmp_path_factory.mktemp("targets")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        small = write_small_subject(folder / "outputs", n_stimuli=60, dim=SOURCE_DIM, target_dim=1280)
        (folder / "outputs" / "index").rename(folder / "outputs" / "nsd_index")
        (folder / "outputs" / "clip_cache").mkdir()
        source, target = (EmbeddingCache.open(small.folder / f"{name}.parquet") for name in ("clip", "target"))
        write(folder, "clip", "vit-b-32", source.ids, source.embeddings)
        for name, dim in TARGETS.items():
            write(folder, name, name, target.ids, np.asarray(target.embeddings)[:, :dim])
        assert main(["fit", "--config", "configs/encoder/ridge.yaml", *QUIET]) == 0
    return folder, small


QUIET = ["--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu", "--trainer.logger", "false"]


def write(folder, file, name, ids, vectors):
    space = replace(
        EmbeddingCache.open(folder / "outputs" / "target.parquet").space, name=name, model_id=SPACES[name].model_id,
        revision=SPACES[name].revision, dim=vectors.shape[1], median_norm=None, mean=None, std=None,
    )  # fmt: skip
    write_cache(folder / "outputs" / "clip_cache" / f"{file}.parquet", ids, np.array(vectors), space)


@pytest.fixture(scope="module")
def fitted(place):
    """Checkpoint of an adapter by the name of its target, fitted by the shipped configurations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place[0])
        for name in TARGETS:
            words = ["fit", "--config", "configs/adapter.yaml", "--config", f"configs/adapter/{name}.yaml"]
            assert main([*words, *QUIET, "--trainer.max_epochs", "2"]) == 0
    return {name: place[0] / "checkpoints" / "clip_adapter" / "subj01" / name / "adapter.ckpt" for name in TARGETS}


def true_targets(place, name, split):
    return EmbeddingCache.open(place[0] / "outputs" / "clip_cache" / f"{name}.parquet").rows(ids_of(place[1], split))


@pytest.mark.parametrize("name", TARGETS)
def test_from_the_fit_to_the_calibrated_embedding(place, fitted, name, monkeypatch, capsys):
    monkeypatch.chdir(place[0])
    dim, real = TARGETS[name], true_targets(place, name, "train").astype(np.float64)

    report = json.loads((fitted[name].parent / "subj01_clip_adapter.json").read_text())
    assert (report["source_dim"], report["target_dim"]) == (SOURCE_DIM, dim)
    assert report["target_model"] == SPACES[name].model_id
    assert SPACES[name].dim == dim
    # Linear(512, dim) and LayerNorm(dim).
    assert report["parameters"] == SOURCE_DIM * dim + dim + 2 * dim

    adapter = load_adapter(fitted[name])
    assert (adapter.target_space.name, adapter.target_space.dim, adapter.target_space.scale) == (name, dim, "raw")
    np.testing.assert_allclose(adapter.target_space.mean, real.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(adapter.network.target_mean, real.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(adapter.network.target_std, real.std(axis=0), rtol=1e-4)
    norms = np.linalg.norm(real, axis=1)
    assert adapter.target_space.median_norm == pytest.approx(np.median(norms), rel=1e-4)

    encoder = "checkpoints/ridge/subj01/ridge.ckpt"
    root = f"checkpoints/to_{name}"
    words = ["calibrate", "--encoder_ckpt", encoder, "--adapter_ckpt", str(fitted[name])]
    words += ["--target_cache", f"outputs/clip_cache/{name}.parquet", "--predictions", "out_of_fold", "--root", root]
    assert main(words) == 0, capsys.readouterr()
    made_from = {"encoder": load_encoder(encoder).content_hash, "adapter": adapter.content_hash}
    calibration = load_calibration(f"{root}/calibration/ridge/subj01", made_from)
    assert calibration.gain.shape == (dim,)
    np.testing.assert_allclose(calibration.true_mean, real.mean(axis=0), atol=1e-4)
    # What was measured comes out with the mean of real embeddings.
    centre = calibration(calibration.predicted_mean[None])[0]
    np.testing.assert_allclose(centre, real.mean(axis=0), atol=1e-4)
    with torch.inference_mode():
        assert calibration(adapter(torch.ones(1, SOURCE_DIM))).shape == (1, dim)


@pytest.mark.parametrize("other", ["vit-h-14", "vit-bigg-14"])
def test_a_calibration_to_another_width_is_refused(place, fitted, other, monkeypatch, capsys):
    monkeypatch.chdir(place[0])
    words = ["calibrate", "--encoder_ckpt", "checkpoints/ridge/subj01/ridge.ckpt", "--root", "checkpoints/wrong"]
    words += ["--adapter_ckpt", str(fitted["vit-l-14"]), "--target_cache", f"outputs/clip_cache/{other}.parquet"]
    assert main(words) == 3
    assert "another target_cache" in capsys.readouterr().err
    assert not (place[0] / "checkpoints" / "wrong").exists()


SMALL = DecoderConfig(model_id="sd2-community/stable-diffusion-2-1-unclip-small")
BIGG = DecoderConfig("sdxl", ip_adapter=IPAdapterConfig(weight_name="sdxl_models/ip-adapter_sdxl.safetensors"))
DECODERS = {
    "vit-l-14": [SMALL],
    "vit-h-14": [DecoderConfig(), DecoderConfig("sd15"), DecoderConfig("sdxl")],
    "vit-bigg-14": [BIGG],
}
"""Decoders by the space they read; their weights are on no test machine, their spaces are known without them."""


@pytest.mark.parametrize("name", TARGETS)
def test_a_decoder_of_another_width_is_refused_by_name(fitted, name):
    space = load_adapter(fitted[name]).target_space
    for wanted, decoders in DECODERS.items():
        for decoder in decoders:
            read = decoder_space(decoder)
            assert read.name == wanted
            if wanted == name:
                require_same_space(space, read, "the adapter", "the decoder")
                continue
            with pytest.raises(BadInputError) as refused:
                require_same_space(space, read, "the adapter", "the decoder")
            assert f"the adapter works in {name!r} ({TARGETS[name]}-D" in str(refused.value)
            assert f"the decoder in {wanted!r} ({TARGETS[wanted]}-D" in str(refused.value)


def test_predict_refuses_a_768_d_adapter_before_a_1024_d_decoder(place, fitted, monkeypatch, capsys):
    monkeypatch.chdir(place[0])
    command = ["predict", "--config", "configs/predict.yaml", "--model.adapter_ckpt", str(fitted["vit-l-14"])]
    assert main([*command, *QUIET[2:], "--output_dir", "outputs/refused"]) == 3
    message = " ".join(capsys.readouterr().err.split())
    assert "'vit-l-14' (768-D" in message
    assert "'vit-h-14' (1024-D" in message
    assert not (place[0] / "outputs" / "refused").exists()


@pytest.mark.parametrize("name", ["vit-l-14", "vit-bigg-14"])
def test_embeddings_are_predicted_in_the_target_space(place, fitted, name, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.chdir(place[0])
    command = ["predict", "--config", "configs/predict.yaml", "--model.adapter_ckpt", str(fitted[name])]
    command += ["--model.decoder.family", "none", "--data.target_cache", f"outputs/clip_cache/{name}.parquet"]
    assert main([*command, *QUIET[2:], "--output_dir", f"outputs/to_{name}"]) == 0
    schema = pq.read_schema(f"outputs/to_{name}/predictions.parquet")
    widths = {field.type.list_size for field in schema if hasattr(field.type, "list_size")}
    assert widths == {SOURCE_DIM, TARGETS[name]}
