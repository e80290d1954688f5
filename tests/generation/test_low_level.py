"""The low-level path of predict: latents of item i in row i, both inputs steer, and the same bytes everywhere."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from fmri_lightning.embeddings.cache import EmbeddingCache, write_cache
from fmri_lightning.errors import BadInputError, StageError, UsageError
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.predictions import read_predictions
from fmri_lightning.generation.sampler import SamplingOptions
from tests.generation.conftest import Predict, pictures, summary
from tests.generation.tiny import N_TEST, TARGET, write_generator
from tests.generation.tiny_low_level import SIDE_PX, write_low_level


@pytest.fixture(scope="module")
def low(tmp_path_factory, brain):
    return write_low_level(tmp_path_factory.mktemp("low"), brain)


class StartedPredict(Predict):
    """Predict with a low-level path."""

    def __init__(self, brain, generator, low):
        super().__init__(brain, generator)
        self.low = low

    def __call__(self, out, **options):
        return super().__call__(out, **{"low_level": str(self.low.checkpoint), "strength": 0.5, **options})


@pytest.fixture(scope="module")
def started(brain, generator, low):
    return StartedPredict(brain, generator, low)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, started):
    return started(tmp_path_factory.mktemp("whole") / "run")


def layouts(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "low_level").glob("*.png"))}


def pixels_of(path):
    with Image.open(path) as picture:
        return np.asarray(picture).copy()


def latents_by_hand(brain, low, nsd_id):
    """The low-level encoder on the mean of a picture's trials, by plain numpy but for the two small maps."""
    from fmri_lightning.betas.preprocess import Preprocess
    from fmri_lightning.encoder.load import load_encoder

    betas = np.load(brain.folder / "betas" / "betas.npy")[brain.table.nsd_id == nsd_id].mean(0, keepdims=True)
    features = Preprocess.load(brain.data["preproc"])(torch.from_numpy(betas)).numpy()
    found = load_encoder(low.checkpoint).predictor
    return (features @ found.weights.numpy() + found.intercept.numpy())[0]


def test_row_i_holds_the_latents_of_stimulus_i(whole, brain, low):
    table, _ = read_predictions(whole / "predictions.parquet")
    assert table.low_level.shape == (N_TEST, low.autoencoder.dim)
    by_hand = np.stack([latents_by_hand(brain, low, nsd_id) for nsd_id in table.nsd_id])
    np.testing.assert_allclose(table.low_level, by_hand, atol=1e-4)
    distances = ((table.low_level[:, None] - by_hand[None]) ** 2).sum(-1)
    assert distances.argmin(1).tolist() == list(range(N_TEST)), "and of no other"


def test_blurry_pictures_are_the_decoded_latents(whole, low):
    table, _ = read_predictions(whole / "predictions.parquet")
    assert len(layouts(whole)) == N_TEST
    vae = low.autoencoder.vae
    for row, nsd_id in enumerate(table.nsd_id):
        latents = torch.from_numpy(table.low_level[row].reshape(1, *low.autoencoder.latent_shape).copy())
        with torch.no_grad():
            decoded = vae.decode(latents / vae.config.scaling_factor).sample[0]
        expected = ((decoded.clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy()
        found = pixels_of(whole / f"low_level/nsd{nsd_id}_low_level.png")
        assert found.shape == (SIDE_PX, SIDE_PX, 3)
        assert np.abs(found - expected).max() <= 0.51


def test_pictures_start_from_their_own_blurry_picture(whole, started):
    from fmri_lightning.generation.decoder import Steering, load_decoder
    from fmri_lightning.seeding import sample_seed

    table, _ = read_predictions(whole / "predictions.parquet")
    decoder = load_decoder(DecoderConfig("mini", str(started.generator)))
    rows = [3, 4, 5]  # the second batch
    start = np.stack([pixels_of(whole / f"low_level/nsd{table.nsd_id[r]}_low_level.png") for r in rows])
    seeds = [sample_seed(42, int(table.trial_id[r]), 0) for r in rows]
    options = SamplingOptions(guidance_scale=3.0, num_inference_steps=2, strength=0.5)
    with torch.no_grad():
        drawn = decoder.draw(
            torch.from_numpy(table.target[rows]), seeds, options, steering=Steering(start=torch.from_numpy(start))
        )
    for place, row in enumerate(rows):
        found = pixels_of(whole / f"images/nsd{table.nsd_id[row]}_generated.png")
        assert np.array_equal(found, drawn.images[place].numpy())


def test_embeddings_are_those_of_a_run_without(tmp_path, whole, predict):
    alone = predict(tmp_path)
    mine, theirs = (read_predictions(folder / "predictions.parquet")[0] for folder in (whole, alone))
    assert np.array_equal(mine.target, theirs.target)
    assert theirs.low_level is None
    assert not (alone / "low_level").exists()
    assert "low_level" not in summary(alone)
    assert all(pictures(whole)[name] != data for name, data in pictures(alone).items())


def test_limit_order_and_shards_give_the_same_bytes(tmp_path, whole, started, brain):
    ids = np.unique(brain.table.of_split("test").nsd_id)[[5, 1]].tolist()
    for name, options in (("limit", {"data_limit": 3}), ("ids", {"data_nsd_ids": ids}), ("shape", {"batch_size": 2})):
        run = started(tmp_path / name, **options)
        assert layouts(run) == {k: v for k, v in layouts(whole).items() if k in layouts(run)}
        if name != "shape":
            assert pictures(run) == {k: v for k, v in pictures(whole).items() if k in pictures(run)}
    for shard in ("2/2", "1/2"):
        started(tmp_path / "shards", data_shard=shard)
    assert pictures(tmp_path / "shards") == pictures(whole)
    assert layouts(tmp_path / "shards") == layouts(whole)
    assert summary(tmp_path / "shards")["low_level"] == summary(whole)["low_level"]


def test_a_resumed_run_has_both_pictures_of_every_item(tmp_path, whole, started):
    run = started(tmp_path)
    names, blurry = list(pictures(run)), sorted((run / "low_level").glob("*.png"))
    (run / names[0]).unlink()
    blurry[4].unlink()
    started(tmp_path)
    assert pictures(run) == pictures(whole)
    assert layouts(run) == layouts(whole)
    runs = json.loads((run / "run.json").read_text())["runs"]
    assert [r["pictures_to_draw"] for r in runs] == [N_TEST, 2]


def test_samples_of_an_item_share_their_start(tmp_path, whole, started, monkeypatch):
    monkeypatch.setattr("fmri_lightning.generation.module.load_chooser", lambda *a: None)
    monkeypatch.setattr("fmri_lightning.generation.summary.choose_samples", lambda *a: [])
    run = started(tmp_path, n_samples=2, data_limit=2)
    assert len(layouts(run)) == 2
    drawn = pictures(run)
    first = summary(whole)["results"][0]["image_path"].removeprefix("images/").removesuffix("_generated.png")
    assert drawn[f"samples/{first}_k0.png"] == pictures(whole)[f"images/{first}_generated.png"]
    assert len(set(drawn.values())) == 4


def test_the_summary_says_it_in_words(whole, low):
    told = summary(whole)["low_level"]
    assert told["checkpoint"] == str(low.checkpoint)
    assert (told["strength"], told["steps_run"], told["blend"]) == (0.5, 1, 0.0)
    assert "1 of 2 denoising steps" in told["in_words"]
    assert "mix" not in told["in_words"]
    assert summary(whole)["provenance"]["spaces"]["low_level"]["dim"] == low.autoencoder.dim
    assert {"low_level"} <= summary(whole)["provenance"]["inputs"].keys()


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_blend_is_the_weighted_mean_and_is_reported(tmp_path, whole, started, share):
    run = started(tmp_path, low_level_blend=share, data_limit=3)
    for result in summary(run)["results"]:
        drawn = pixels_of(whole / result["image_path"]).astype(float)
        blurry = Image.fromarray(pixels_of(run / f"low_level/nsd{result['nsdId']}_low_level.png"))
        large = np.asarray(blurry.resize((16, 16), Image.Resampling.BICUBIC)).astype(float)
        found = pixels_of(run / result["image_path"])
        assert np.abs(found - ((1 - share) * drawn + share * large)).max() <= 1.1
        assert not np.array_equal(found, drawn)
    told = summary(run)["low_level"]
    assert told["blend"] == share
    assert f"pixel by pixel, with a share of {share:g}" in told["in_words"]


def test_a_blank_picture_stays_a_failure_when_it_is_blended(tmp_path, started):
    from safetensors.torch import load_file, save_file

    flat = write_generator(tmp_path / "flat")
    weights = load_file(flat / "vae" / "diffusion_pytorch_model.safetensors")
    weights["decoder.conv_out.weight"].zero_()
    save_file(weights, flat / "vae" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(StageError, match="2 of 2 pictures are missing"):
        started(tmp_path / "run", data_limit=2, low_level_blend=0.5, decoder=DecoderConfig("mini", str(flat)))
    assert [f["reason"][:5] for f in summary(tmp_path / "run")["failures"]] == ["blank"] * 2


def test_shuffled_latents_come_from_the_embeddings_partner(tmp_path, whole, started):
    run = started(tmp_path, condition="shuffled")
    table, _ = read_predictions(run / "predictions.parquet")
    predicted, _ = read_predictions(whole / "predictions.parquet")
    at = np.searchsorted(predicted.nsd_id, table.drawn_from_nsd_id)
    assert np.array_equal(table.low_level, predicted.low_level[at])
    assert np.array_equal(table.target, predicted.target[at])


def test_true_conditions_start_from_the_true_layout(tmp_path, started, low):
    cache = EmbeddingCache.open(low.cache)
    for condition in ("true_target", "true_source"):
        with pytest.raises(UsageError, match=r"--data.low_level_cache FILE"):
            started(tmp_path / "none", condition=condition, encoder_ckpt=None)
        run = started(
            tmp_path, condition=condition, encoder_ckpt=None, data_limit=2, data_low_level_cache=str(low.cache)
        )
        table, _ = read_predictions(run / "predictions.parquet")
        assert np.array_equal(table.low_level, cache.rows(table.nsd_id))
        assert summary(run)["low_level"]["cache"] == str(low.cache)


def test_the_mean_starts_from_the_mean_layout(tmp_path, started, low):
    from fmri_lightning.encoder.load import load_encoder

    table, _ = read_predictions(started(tmp_path, condition="mean", data_limit=2) / "predictions.parquet")
    mean = np.asarray(load_encoder(low.checkpoint).space.mean, np.float32)
    assert np.array_equal(table.low_level, np.stack([mean, mean]))


def test_repeats_are_used_as_for_the_embeddings(tmp_path, started, whole):
    single = started(tmp_path / "single", data_trial_mode="single", decoder=DecoderConfig("none"))
    outputs = started(tmp_path / "outputs", data_trial_mode="average_outputs", decoder=DecoderConfig("none"))
    by_trial, mean = (read_predictions(folder / "predictions.parquet")[0] for folder in (single, outputs))
    for row, nsd_id in enumerate(mean.nsd_id):
        expected = by_trial.low_level[by_trial.nsd_id == nsd_id].mean(0)
        assert np.allclose(mean.low_level[row], expected, atol=1e-4)
    assert not (single / "low_level").exists(), "nothing is drawn, so nothing is decoded"
    drawn = started(tmp_path / "drawn", data_trial_mode="single", data_limit=1)
    assert [name.split("_")[1][:5] for name in layouts(drawn)] == ["trial"]


@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({"condition": "unconditional"}, UsageError, "leave --model.low_level out"),
        ({"decoder": DecoderConfig("nearest_neighbour")}, UsageError, "finds pictures and starts from none"),
        ({"strength": 0.4}, UsageError, "runs none of them"),
        ({"strength": 0.0}, UsageError, "strength lies above 0"),
        ({"low_level_blend": 1.0}, UsageError, "low_level_blend lies in 0 to below 1"),
        ({"low_level": None, "low_level_blend": 0.25}, UsageError, "mixes in what"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, started, changed, error, text):
    with pytest.raises(error, match=text):
        started(tmp_path / "run", data_limit=1, **changed)
    assert not (tmp_path / "run").exists()


def test_embeddings_and_latents_are_not_mistaken_for_each_other(tmp_path, started, predict, brain, low):
    with pytest.raises(BadInputError, match=r"low-level encoder .* holds embeddings of 'tiny-source'"):
        started(tmp_path, low_level=brain.model["encoder_ckpt"])
    with pytest.raises(BadInputError, match=r"encoder .* holds latents of the autoencoder 'autoencoder'"):
        predict(tmp_path, encoder_ckpt=str(low.checkpoint))
    for name in ("clip_cache", "target_cache"):
        with pytest.raises(BadInputError, match=rf"{name} .* holds latents"):
            predict(tmp_path, **{f"data_{name}": str(low.cache)})
    with pytest.raises(BadInputError, match=r"embeddings .* holds latents"):
        predict(tmp_path, data_embeddings=str(low.cache), encoder_ckpt=None)
    with pytest.raises(BadInputError, match=r"low-level cache .* holds embeddings of 'tiny-target'"):
        started(tmp_path, condition="true_target", data_low_level_cache=brain.data["target_cache"])
    assert list(tmp_path.iterdir()) == []


def test_given_embeddings_have_no_brain_to_read_a_layout_from(tmp_path, started, brain):
    with pytest.raises(UsageError, match="give one of the two"):
        started(tmp_path, data_embeddings=brain.data["clip_cache"], encoder_ckpt=None)


def test_an_encoder_of_another_preprocessing_or_subject_is_refused(tmp_path, started, low):
    from fmri_lightning.encoder.stored import describe_state, part_of_state

    def changed(**fields):
        checkpoint = torch.load(low.checkpoint, weights_only=True)
        description = {**checkpoint["fmri_lightning"], **fields}
        checkpoint["fmri_lightning"] = describe_state(description, part_of_state(checkpoint, "predictor"))
        path = tmp_path / "changed.ckpt"
        torch.save(checkpoint, path)
        return str(path)

    inputs = torch.load(low.checkpoint, weights_only=True)["fmri_lightning"]["inputs"]
    for name in ("preproc", "split"):
        path = changed(inputs={**inputs, name: "0" * 64})
        with pytest.raises(BadInputError, match=f"fitted on another {name}"):
            started(tmp_path / "run", low_level=path)
    with pytest.raises(BadInputError, match="is of subj02"):
        started(tmp_path / "run", low_level=changed(subject="subj02"))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"strength": 1.0}, "strength"),
        ({"low_level_blend": 0.25}, "low_level_blend"),
        ({"low_level": None}, "low_level"),
    ],
)
def test_the_folder_of_another_low_level_path_is_refused(tmp_path, started, changed, field):
    started(tmp_path, data_limit=1)
    with pytest.raises(BadInputError, match=f"{field}: "):
        started(tmp_path, data_limit=1, **changed)


def test_a_run_without_low_level_path_has_the_fingerprint_it_had(tmp_path, predict):
    run = predict(tmp_path, data_limit=1, strength=0.3)
    config = json.loads((run / "manifest.json").read_text())["config"]
    assert not {"strength", "low_level", "low_level_blend"} & config.keys()


def test_the_bill_counts_the_steps_that_are_run(tmp_path, started, capsys):
    started(tmp_path, dry_run=True, num_inference_steps=10, strength=0.3)
    told = capsys.readouterr().out
    assert f"{N_TEST} pictures to draw (0 done), 6 U-Net evaluations each" in told
    assert "of drawing" in told
    assert list(tmp_path.iterdir()) == []


def test_the_autoencoder_stays_in_float32_beside_half_precision(tmp_path, started, whole):
    run = started(tmp_path, data_limit=2, trainer={"precision": "bf16-true"})
    module = started.module
    assert {p.dtype for p in module.autoencoder.parameters()} == {torch.float32}
    assert {p.dtype for p in module.decoder.unet.parameters()} == {torch.bfloat16}
    assert layouts(run) == {k: v for k, v in layouts(whole).items() if k in layouts(run)}


def test_another_autoencoder_than_the_checkpoints_is_refused(tmp_path, started, low, brain):
    import shutil

    from tests.generation.tiny_low_level import write_autoencoder

    parts = write_low_level(tmp_path / "mine", brain)
    shutil.rmtree(tmp_path / "mine" / "autoencoder")
    write_autoencoder(tmp_path / "mine" / "autoencoder", seed=1)
    with pytest.raises(BadInputError, match="probe pictures differ"):
        started(tmp_path / "run", low_level=str(parts.checkpoint), data_limit=1)


def test_latents_of_another_autoencoder_are_refused(tmp_path, started, low):
    cache = EmbeddingCache.open(low.cache)
    other = dataclasses.replace(cache.space, probe=tuple(tuple(-x for x in row) for row in cache.space.probe))
    write_cache(tmp_path / "other.parquet", cache.ids, cache.embeddings, other)
    with pytest.raises(BadInputError, match="probe pictures differ"):
        started(tmp_path / "run", condition="true_target", data_low_level_cache=str(tmp_path / "other.parquet"))


def test_the_decoders_space_is_untouched(whole):
    assert summary(whole)["provenance"]["spaces"]["target"]["name"] == TARGET.name
