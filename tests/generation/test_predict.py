"""The whole of predict on a tiny brain: same picture everywhere, exactly what was asked, outputs as promised."""

import io
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from fmri_lightning.errors import BadInputError, ResourceError, StageError
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.predictions import read_predictions
from fmri_lightning.locks import run_lock
from tests.generation.conftest import pictures, summary
from tests.generation.tiny import N_TEST, TARGET, space, write_brain, write_generator, write_tower


@pytest.fixture(scope="module")
def whole(tmp_path_factory, brain, generator):
    from tests.generation.conftest import Predict

    run = Predict(brain, generator)
    return run(tmp_path_factory.mktemp("whole") / "run")


def test_outputs_are_those_of_the_contract(whole, brain):
    test_ids = np.unique(brain.table.of_split("test").nsd_id).tolist()
    assert list(pictures(whole)) == sorted(f"images/nsd{i}_generated.png" for i in test_ids)
    with Image.open(whole / f"images/nsd{test_ids[0]}_generated.png") as picture:
        assert picture.size == (16, 16)
    found = summary(whole)
    seed_fields = [
        "subject", "encoder", "checkpoint", "diffusion_model", "guidance_scale", "num_inference_steps",
        "n_generated", "mean_cosine", "results",
    ]  # fmt: skip
    assert list(found)[: len(seed_fields)] == seed_fields
    assert (found["subject"], found["encoder"], found["n_generated"]) == ("subj01", "ridge", N_TEST)
    assert [set(r) for r in found["results"]] == [
        {"trial_id", "nsdId", "cosine_pred_gt", "nn_nsdId", "nn_cosine", "image_path"}
    ] * N_TEST
    assert [r["trial_id"] for r in found["results"]] == list(range(N_TEST))
    assert all((whole / r["image_path"]).is_file() for r in found["results"])
    assert found["simulated"] is True
    assert found["failures"] == []
    assert found["provenance"]["inputs"].keys() >= {"index", "betas", "preproc", "split", "encoder", "adapter"}
    assert len((whole / "shards" / "rank0000.jsonl").read_text().splitlines()) == N_TEST


def test_cosines_and_neighbours_match_a_plain_computation(whole, brain):
    from fmri_lightning.embeddings.cache import EmbeddingCache

    table, about = read_predictions(whole / "predictions.parquet")
    cache = EmbeddingCache.open(brain.data["clip_cache"])
    truth = cache.rows(table.nsd_id)

    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    assert np.allclose(table.cosine_pred_gt, (unit(table.source) * unit(truth)).sum(1), atol=1e-6)
    train = np.unique(brain.table.of_split("train").nsd_id)
    similarity = unit(table.source) @ unit(cache.rows(train)).T
    assert table.nn_nsd_id.tolist() == train[similarity.argmax(1)].tolist()
    assert np.allclose(table.nn_cosine, similarity.max(1), atol=1e-6)
    mean = cache.rows(train).mean(0, keepdims=True)
    assert about["mean_vector_cosine"] == pytest.approx(float((unit(mean) * unit(truth)).sum(1).mean()), abs=1e-6)


def test_predictions_are_the_encoder_on_mean_betas(whole, brain):
    from fmri_lightning.adapter.load import load_adapter
    from fmri_lightning.betas.preprocess import Preprocess
    from fmri_lightning.encoder.load import load_encoder

    table, _ = read_predictions(whole / "predictions.parquet")
    betas = np.load(brain.folder / "betas" / "betas.npy")
    encoder, adapter = load_encoder(brain.model["encoder_ckpt"]), load_adapter(brain.model["adapter_ckpt"])
    preprocess = Preprocess.load(brain.data["preproc"])
    for row, nsd_id in enumerate(table.nsd_id):
        mean = betas[brain.table.nsd_id == nsd_id].mean(0, keepdims=True)
        with torch.no_grad():
            source = encoder(preprocess(torch.from_numpy(mean)))
            target = adapter(source)
        assert np.allclose(table.source[row], source, atol=1e-4)
        assert np.allclose(table.target[row], target, atol=1e-3)


def test_limit_draws_the_same_first_pictures(tmp_path, predict, whole):
    run = predict(tmp_path, data_limit=3)
    first = [r["image_path"] for r in summary(whole)["results"][:3]]
    assert pictures(run) == {name: pictures(whole)[name] for name in sorted(first)}
    assert summary(run)["n_generated"] == 3
    assert summary(run)["results"] == summary(whole)["results"][:3]
    # the folder of a short run is continued by a longer one
    assert pictures(predict(tmp_path)) == pictures(whole)
    assert summary(tmp_path)["results"] == summary(whole)["results"]


def test_ids_in_any_order_draw_the_same_pictures(tmp_path, predict, whole, brain):
    ids = np.unique(brain.table.of_split("test").nsd_id)[[5, 1]].tolist()
    run = predict(tmp_path, data_nsd_ids=ids)
    assert pictures(run) == {k: v for k, v in pictures(whole).items() if k in pictures(run)}
    assert sorted(r["nsdId"] for r in summary(run)["results"]) == sorted(ids)


def test_shards_together_are_the_whole(tmp_path, predict, whole):
    predict(tmp_path, data_shard="2/2")
    assert len(pictures(tmp_path)) == N_TEST // 2
    assert not (tmp_path / "decode_summary.json").exists()
    predict(tmp_path, data_shard="1/2")
    assert pictures(tmp_path) == pictures(whole)
    assert summary(tmp_path)["results"] == summary(whole)["results"]


def test_another_seed_draws_other_pictures_from_the_same_predictions(tmp_path, predict, whole):
    run = predict(tmp_path, seed=43, data_limit=2)
    assert all(pictures(whole)[name] != data for name, data in pictures(run).items())
    here, there = (read_predictions(folder / "predictions.parquet")[0] for folder in (run, whole))
    assert np.array_equal(here.source, there.source[:2])


def test_resume_draws_only_what_is_missing_or_torn(tmp_path, predict, whole):
    run = predict(tmp_path)
    names = list(pictures(run))
    (run / names[0]).unlink()
    (run / names[2]).write_bytes((run / names[2]).read_bytes()[:50])
    untouched = (run / names[1]).stat().st_mtime_ns
    with (run / "shards" / "rank0000.jsonl").open("ab") as handle:
        handle.write(b'{"trial_id": 3, "nsd')  # a line torn by a kill
    predict(tmp_path)
    assert pictures(run) == pictures(whole)
    assert (run / names[1]).stat().st_mtime_ns == untouched
    assert summary(run)["n_generated"] == N_TEST
    runs = json.loads((run / "run.json").read_text())["runs"]
    assert [r["pictures_to_draw"] for r in runs] == [N_TEST, 2]
    assert runs[1]["resumed"]


def test_a_kill_between_batches_resumes_to_the_same_bytes(tmp_path, predict, whole, monkeypatch):
    from fmri_lightning.generation.module import ReconstructionModule

    step = ReconstructionModule.predict_step
    calls = []

    def dies_at_the_second_batch(self, batch, batch_idx):
        calls.append(batch_idx)
        if len(calls) == 2:
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(ReconstructionModule, "predict_step", dies_at_the_second_batch)
    with pytest.raises(RuntimeError, match="killed"):
        predict(tmp_path)
    assert len(pictures(tmp_path)) == 3
    assert not (tmp_path / "decode_summary.json").exists()
    predict(tmp_path)
    assert pictures(tmp_path) == pictures(whole)
    assert summary(tmp_path)["results"] == summary(whole)["results"]


def record_shapes(monkeypatch, fits=lambda n: True):
    from fmri_lightning.generation.families.unclip import UnclipDecoder

    draw, shapes = UnclipDecoder.draw, []

    def recorded(self, embeddings, seeds, options, unconditional=False, **steering):
        shapes.append(len(embeddings))
        if not fits(len(embeddings)):
            raise torch.cuda.OutOfMemoryError("too much")
        return draw(self, embeddings, seeds, options, unconditional, **steering)

    monkeypatch.setattr(UnclipDecoder, "draw", recorded)
    return shapes


def test_every_batch_has_the_same_shape(tmp_path, predict, monkeypatch):
    shapes = record_shapes(monkeypatch)
    predict(tmp_path)
    assert shapes == [3, 3, 3], "seven pictures in batches of three: the last one is padded"


def test_out_of_memory_halves_the_batch_and_says_so(tmp_path, predict, monkeypatch, whole):
    shapes = record_shapes(monkeypatch, fits=lambda n: n < 3)
    predict(tmp_path, batch_size=5)
    assert shapes == [5, 2, 2, 2, 2], "five at a time, the last of them padded to two, then the other two"
    lines = (tmp_path / "shards" / "rank0000.jsonl").read_text().splitlines()
    assert {json.loads(line)["batch_shape"] for line in lines} == {2}
    (told,) = json.loads((tmp_path / "run.json").read_text())["runs"]
    assert (told["batch_shape"], told["batch_shape_at_end"]) == (5, 2)
    for name, data in pictures(tmp_path).items():
        with Image.open(io.BytesIO(data)) as here, Image.open(whole / name) as there:
            assert np.abs(np.asarray(here, int) - np.asarray(there, int)).max() <= 2
    monkeypatch.undo()
    record_shapes(monkeypatch, fits=lambda n: False)
    with pytest.raises(ResourceError, match="batch size 1"):
        predict(tmp_path / "never")


def test_a_finished_run_draws_nothing_again(tmp_path, predict, whole):
    predict(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("images/*")}
    predict(tmp_path)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("images/*")} == before
    assert predict.module.decoder is None, "nothing to draw, so nothing is loaded"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"guidance_scale": 2.0}, "guidance_scale"),
        ({"seed": 1}, "seed"),
        ({"scheduler": "ddim"}, "scheduler"),
        ({"noise_mode": "label_only"}, "noise_mode"),
        ({"memory": "low"}, "memory"),
        ({"data_trial_mode": "single"}, "trial_mode"),
        ({"adapter_ckpt": None, "decoder": DecoderConfig("none")}, "adapter"),
    ],
)
def test_the_folder_of_another_run_is_refused(tmp_path, predict, changed, field):
    predict(tmp_path, data_limit=1)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(BadInputError, match=field):
        predict(tmp_path, data_limit=1, **changed)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_second_job_is_refused_and_the_lock_given_back(tmp_path, predict):
    with run_lock(tmp_path), pytest.raises(ResourceError, match="in use"):
        predict(tmp_path, data_limit=1)
    predict(tmp_path, data_limit=1)
    assert not (tmp_path / ".lock").exists()


def test_single_trials_and_averaged_outputs(tmp_path, predict, brain):
    run = predict(tmp_path / "single", data_trial_mode="single", data_limit=4)
    results = summary(run)["results"]
    test = brain.table.of_split("test")
    by_trial = dict(zip(test.trial_id_single.tolist(), test.global_trial.tolist(), strict=True))
    assert [r["image_path"] for r in results] == [
        f"images/nsd{r['nsdId']}_trial{by_trial[r['trial_id']]}_generated.png" for r in results
    ]
    single, _ = read_predictions(run / "predictions.parquet")
    other = predict(tmp_path / "outputs", data_trial_mode="average_outputs", decoder=DecoderConfig("none"))
    outputs, _ = read_predictions(other / "predictions.parquet")
    mine = single.source[single.nsd_id == outputs.nsd_id[0]]
    assert np.allclose(outputs.source[0], mine.mean(0), atol=1e-5)
    assert not (other / "images").exists()


def test_k_samples_have_their_own_noise(tmp_path, predict, whole, monkeypatch):
    chosen = []
    monkeypatch.setattr("fmri_lightning.generation.module.load_chooser", lambda *a: None)
    monkeypatch.setattr("fmri_lightning.generation.summary.choose_samples", lambda *a: chosen.append(a) or [])
    run = predict(tmp_path, n_samples=3, data_limit=2)
    drawn = pictures(run)
    assert len(drawn) == 6
    assert len(set(drawn.values())) == 6
    name = summary(whole)["results"][0]["image_path"].removeprefix("images/").removesuffix("_generated.png")
    assert drawn[f"samples/{name}_k0.png"] == pictures(whole)[f"images/{name}_generated.png"]
    assert chosen


def test_the_chosen_sample_is_nearest_to_the_prediction(tmp_path, generator):
    from fmri_lightning.embeddings.image_encoder import ImageEncoder
    from tests.generation.conftest import Predict

    encoder = ImageEncoder.from_space(str(write_tower(tmp_path / "tower")))
    other = write_brain(tmp_path / "brain", encoder.space)
    run = Predict(other, generator)(tmp_path / "run", n_samples=3, data_limit=2)
    table, _ = read_predictions(run / "predictions.parquet")
    drawn = pictures(run)
    for row, choice in enumerate(summary(run)["choices"]):
        stem = f"nsd{table.nsd_id[row]}"
        cosines = []
        for k in range(3):
            with Image.open(run / f"samples/{stem}_k{k}.png") as picture, torch.no_grad():
                embedded = encoder(torch.from_numpy(np.asarray(picture)[None].copy()))[0]
            cosines.append(torch.cosine_similarity(embedded, torch.from_numpy(table.source[row].copy()), dim=0).item())
        assert choice["cosines"] == pytest.approx(cosines, abs=1e-5)
        assert drawn[f"images/{stem}_generated.png"] == drawn[f"samples/{stem}_k{int(np.argmax(cosines))}.png"]
    assert summary(run)["n_generated"] == 2


def test_blank_pictures_are_failures_not_results(tmp_path, predict, brain, generator):
    from safetensors.torch import load_file, save_file

    flat = write_generator(tmp_path / "flat")
    weights = load_file(flat / "vae" / "diffusion_pytorch_model.safetensors")
    weights["decoder.conv_out.weight"].zero_()
    save_file(weights, flat / "vae" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(StageError, match="2 of 2 pictures are missing"):
        predict(tmp_path / "run", data_limit=2, decoder=DecoderConfig("mini", str(flat)))
    found = summary(tmp_path / "run")
    assert found["n_generated"] == 0
    assert found["results"] == []
    assert [f["reason"][:5] for f in found["failures"]] == ["blank"] * 2
    assert pictures(tmp_path / "run") == {}


def test_given_embeddings_replace_the_brain(tmp_path, predict, brain, whole):
    from fmri_lightning.embeddings.cache import write_cache

    table, _ = read_predictions(whole / "predictions.parquet")
    source = tmp_path / "theirs.parquet"
    write_cache(source, table.nsd_id[::-1], table.source[::-1], space("tiny-source", table.source.shape[1], 1))
    run = predict(tmp_path / "source", data_embeddings=str(source), encoder_ckpt=None)
    assert pictures(run) == pictures(whole)
    target = tmp_path / "theirs_target.parquet"
    write_cache(target, table.nsd_id, table.target, TARGET)
    bare = {"data_index_root": None, "data_clip_cache": None, "data_target_cache": None}
    run = predict(tmp_path / "target", data_embeddings=str(target), encoder_ckpt=None, adapter_ckpt=None, **bare)
    assert pictures(run) == pictures(whole)
    assert summary(run)["results"][0]["cosine_pred_gt"] is None


def test_hyperparameters_in_a_checkpoint_decide_nothing(whole):
    found = summary(whole)
    assert (found["guidance_scale"], found["num_inference_steps"], found["n_samples"]) == (3.0, 2, 1)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_half_precision_touches_the_frozen_parts_only(tmp_path, predict, whole, precision):
    run = predict(tmp_path, data_limit=2, trainer={"precision": precision})
    decoder = predict.module.decoder
    assert {p.dtype for p in decoder.unet.parameters()} == {torch.bfloat16 if "bf" in precision else torch.float16}
    assert {p.dtype for p in decoder.normalizer.parameters()} == {torch.float32}
    half, full = (read_predictions(folder / "predictions.parquet")[0] for folder in (run, whole))
    assert np.array_equal(half.source, full.source[:2])
    assert np.array_equal(half.target, full.target[:2])


def test_predictions_are_the_same_file_under_every_precision(tmp_path, predict):
    files = [
        predict(tmp_path / p, data_limit=2, trainer={"precision": p}) / "predictions.parquet"
        for p in ("32-true", "bf16-true")
    ]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_validation_pictures_are_drawn_by_name_and_numbered_for_good(tmp_path, brain, predict):
    """val draws the validation split alone, each picture from its own betas."""
    table = brain.table
    run = predict(tmp_path / "val", data_test_set="val")
    ids = np.unique(table.of_split("val").nsd_id).tolist()
    found = summary(run)
    assert [(item["trial_id"], item["nsdId"]) for item in found["results"]] == list(enumerate(ids))
    assert found["test_set"] == "val"
    one = predict(tmp_path / "one", data_test_set="val", data_nsd_ids=ids[1:])
    assert summary(one)["results"][0]["trial_id"] == 1
    name = f"images/nsd{ids[1]}_generated.png"
    assert pictures(one)[name] == pictures(run)[name]
    trials = predict(tmp_path / "single", data_test_set="val", data_trial_mode="single")
    shown = table.of_split("val")
    by_picture = [int(t) for i in ids for t in np.sort(shown.global_trial[shown.nsd_id == i])]
    predictions, _ = read_predictions(trials / "predictions.parquet")
    assert predictions.global_trial.tolist() == by_picture
    assert predictions.trial_id.tolist() == list(range(len(shown)))


def test_the_summary_says_what_the_index_calls_its_test_pictures(tmp_path, brain, predict, whole):
    """Another source's test pictures are drawn under the option that means the whole test split."""
    shutil.copytree(brain.data["index_root"], tmp_path / "index")
    (file,) = (tmp_path / "index").glob("*/manifest.json")
    manifest = json.loads(file.read_text())
    manifest["config"]["test_set"] = "a hashed tenth, not comparable"
    file.write_text(json.dumps(manifest))
    of_nsd = summary(whole)["provenance"]
    own = summary(predict(tmp_path / "run", data_index_root=str(tmp_path / "index"), data_limit=1))["provenance"]
    assert own["own_test_set"] == "a hashed tenth, not comparable"
    assert "own_test_set" not in of_nsd
