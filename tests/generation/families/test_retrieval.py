"""The nearest-neighbour decoder: a stimulus of the training set, found by the prediction."""

import numpy as np
import pytest
from PIL import Image

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.predictions import read_predictions
from tests.generation.conftest import pictures, summary
from tests.generation.tiny import N_TEST, write_stimuli

RETRIEVAL = DecoderConfig("nearest_neighbour")


@pytest.fixture
def stimuli(tmp_path, brain):
    return write_stimuli(tmp_path / "root", brain.table)


@pytest.fixture
def retrieve(predict, stimuli):
    def run(out, **options):
        given = {
            "decoder": RETRIEVAL,
            "adapter_ckpt": None,
            "data_root": str(stimuli.parent),
            "data_target_cache": None,
        }
        return predict(out, **{**given, **options})

    return run


def test_pictures_are_those_of_the_nearest_training_stimuli(tmp_path, retrieve, stimuli, brain):
    run = retrieve(tmp_path / "run")
    table, _ = read_predictions(run / "predictions.parquet")
    train = set(brain.table.of_split("train").nsd_id.tolist())
    results = summary(run)["results"]
    assert len(pictures(run)) == N_TEST
    for row, result in enumerate(results):
        assert result["nn_nsdId"] == table.nn_nsd_id[row]
        assert result["nn_nsdId"] in train
        shown = np.asarray(Image.open(stimuli / f"nsd{result['nn_nsdId']:05d}.png"))
        np.testing.assert_array_equal(np.asarray(Image.open(run / result["image_path"])), shown)
    assert len({result["nn_nsdId"] for result in results}) > 1
    assert summary(run)["diffusion_model"] == "nearest_neighbour"


def test_controls_retrieve_by_their_own_embedding(tmp_path, retrieve):
    found = {}
    for condition in ("predicted", "shuffled", "true_source"):
        run = retrieve(tmp_path / "run", condition=condition)
        found[condition] = [result["nn_nsdId"] for result in summary(run)["results"]]
    assert found["predicted"] != found["shuffled"]
    assert sorted(set(found["shuffled"])) == sorted(set(found["predicted"]))


def test_resolution_resizes(tmp_path, retrieve):
    run = retrieve(tmp_path / "run", decoder=DecoderConfig("nearest_neighbour", resolution=20), data_limit=1)
    (name,) = pictures(run)
    assert Image.open(run / name).size == (20, 20)


def test_settings_of_a_sampler_below_it_change_nothing(tmp_path, retrieve):
    """Its YAML goes on top of one for a generator, noise level and all."""
    plain = pictures(retrieve(tmp_path / "plain"))
    assert pictures(retrieve(tmp_path / "over", noise_level=250, noise_mode="label_only", guidance_scale=6.0)) == plain


def test_the_gallery_is_the_limited_one(tmp_path, retrieve):
    run = retrieve(tmp_path / "run", data_gallery_limit=1)
    assert len({result["nn_nsdId"] for result in summary(run)["results"]}) == 1
    assert len(set(pictures(run).values())) == 1


def test_other_pictures_are_another_run(tmp_path, retrieve, stimuli):
    retrieve(tmp_path / "run", data_limit=1)
    for path in stimuli.glob("*.png"):
        Image.new("RGB", (13, 13), "red").save(path)
    with pytest.raises(BadInputError, match=r"decoder\.weights"):
        retrieve(tmp_path / "run")


def test_what_retrieval_cannot_do_is_refused(tmp_path, predict, retrieve, brain):
    for options, error, says in (
        ({"condition": "unconditional"}, UsageError, "finds one picture"),
        ({"n_samples": 2}, UsageError, "finds one picture"),
        ({"data_root": str(tmp_path / "nowhere")}, BadInputError, "name it with --data.root"),
        ({"data_clip_cache": None}, UsageError, "--data.clip_cache"),
        ({"adapter_ckpt": brain.model["adapter_ckpt"]}, BadInputError, "16-D.*12-D"),
    ):
        with pytest.raises(error, match=says):
            retrieve(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_dry_run_of_retrieval(tmp_path, retrieve, capsys):
    retrieve(tmp_path / "run", dry_run=True)
    out = capsys.readouterr().out
    assert f"{N_TEST} pictures to look up (0 done)" in out
    assert "batches" not in out, "there is nothing worth timing"
    assert not (tmp_path / "run").exists()
