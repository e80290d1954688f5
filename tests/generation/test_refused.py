"""What predict refuses, in one line, before it writes anything."""

import json

import numpy as np
import pytest
import torch

from fmri_lightning.embeddings.cache import write_cache
from fmri_lightning.encoder.stored import describe_state
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.decoder import DecoderConfig
from tests.generation.tiny import N_TARGET, space, write_brain, write_generator


class TestRefused:
    """Before any weights are loaded, with nothing written."""

    @pytest.fixture(autouse=True)
    def _nothing_is_loaded(self, monkeypatch):
        def loaded(config):
            raise AssertionError("the decoder was loaded")

        monkeypatch.setattr("fmri_lightning.generation.module.load_decoder", loaded)

    def refused(self, predict, tmp_path, error, match, **options):
        with pytest.raises(error, match=match):
            predict(tmp_path / "run", **options)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("declared", "match"),
        [
            (space("another", N_TARGET, 9), "probe pictures"),
            (space("tiny-target", N_TARGET, 2, scale="unit"), "unit"),
            (space("tiny-target", 8, 2), "8-D"),
        ],
    )
    def test_decoder_of_another_space(self, predict, tmp_path, declared, match):
        generator = write_generator(tmp_path / "generator", declared)
        self.refused(predict, tmp_path, BadInputError, match, decoder=DecoderConfig("mini", str(generator)))

    def test_encoder_straight_into_the_decoder(self, predict, tmp_path):
        self.refused(predict, tmp_path, BadInputError, "12-D.*16-D", adapter_ckpt=None)

    def test_target_cache_in_place_of_the_clip_cache(self, predict, tmp_path, brain):
        self.refused(predict, tmp_path, BadInputError, "clip cache", data_clip_cache=brain.data["target_cache"])

    @pytest.mark.parametrize(("factor", "scale"), [(None, "raw"), (7.0, "unit")])
    def test_embeddings_of_another_length_than_they_say(self, predict, tmp_path, brain, factor, scale):
        ids = np.unique(brain.table.of_split("test").nsd_id)
        vectors = np.random.default_rng(0).normal(size=(len(ids), N_TARGET)).astype(np.float32)
        vectors *= factor or 1 / np.linalg.norm(vectors, axis=1, keepdims=True)
        theirs = tmp_path / "theirs.parquet"
        write_cache(theirs, ids, vectors, space("tiny-target", N_TARGET, 2, scale=scale))
        self.refused(
            predict, tmp_path, BadInputError, f"say they are {scale}, their median length is",
            data_embeddings=str(theirs), encoder_ckpt=None, adapter_ckpt=None,
        )  # fmt: skip

    def test_unknown_subject(self, predict, tmp_path):
        self.refused(predict, tmp_path, BadInputError, "subj09", data_subject="subj09")

    def test_compiling_what_has_no_transformer_blocks(self, predict, tmp_path):
        self.refused(predict, tmp_path, UsageError, r"leave --model\.compile out", compile=True)

    def test_missing_parts(self, predict, tmp_path):
        self.refused(predict, tmp_path, UsageError, "encoder_ckpt", encoder_ckpt=None)
        self.refused(predict, tmp_path, BadInputError, "nowhere.ckpt", encoder_ckpt="nowhere.ckpt")
        self.refused(predict, tmp_path, UsageError, "target_cache", condition="true_target", data_target_cache=None)

    def test_choosing_without_an_encoder(self, predict, tmp_path):
        with pytest.raises(UsageError, match=r"tiny-source.*--revision"):
            predict(tmp_path / "run", n_samples=2)
        with pytest.raises(UsageError, match="clip_cache"):
            predict(tmp_path / "bare", n_samples=2, data_clip_cache=None)
        assert not list(tmp_path.rglob("*.parquet"))

    def test_more_than_there_is(self, predict, tmp_path):
        self.refused(predict, tmp_path, BadInputError, "more than the 7", data_limit=8)
        self.refused(predict, tmp_path, BadInputError, "not in the test set", data_nsd_ids=[3])
        self.refused(predict, tmp_path, BadInputError, "37 sessions", data_test_set="982")
        self.refused(predict, tmp_path, BadInputError, "all eight", data_test_set="515")

    @pytest.mark.parametrize(
        ("name", "part"),
        [("split", "ridge"), ("clip_cache", "ridge"), ("split", "adapter"), ("target_cache", "adapter")],
    )
    def test_weights_fitted_on_something_else(self, predict, tmp_path, brain, name, part):
        """The same space and shape, but other training stimuli or other embeddings of them."""
        checkpoint = torch.load(brain.folder / f"{part}.ckpt", weights_only=True)
        stored = checkpoint["fmri_lightning"]
        stored["inputs"][name] = "0" * 64
        state = {key.removeprefix("predictor."): value for key, value in checkpoint["state_dict"].items()}
        checkpoint["fmri_lightning"] = describe_state(stored, state)
        torch.save(checkpoint, tmp_path / f"{part}.ckpt")
        argument = "encoder_ckpt" if part == "ridge" else "adapter_ckpt"
        self.refused(
            predict, tmp_path, BadInputError, rf"{part}.ckpt was fitted on another {name} \(0{{12}}",
            **{argument: str(tmp_path / f"{part}.ckpt")},
        )  # fmt: skip

    def test_preprocessing_of_another_store(self, predict, tmp_path):
        other = write_brain(tmp_path)
        manifest = json.loads((other.folder / "preproc" / "manifest.json").read_text())
        manifest["inputs"]["betas"] = "0" * 64
        (other.folder / "preproc" / "manifest.json").write_text(json.dumps(manifest))
        self.refused(
            predict, tmp_path, BadInputError, "run again: fmri-lightning betas", data_preproc=other.data["preproc"]
        )

    def test_decoder_that_is_not_there(self, predict, tmp_path):
        self.refused(
            predict, tmp_path, BadInputError, "sd2-community/stable-diffusion-2-1-unclip",
            decoder=DecoderConfig("unclip", "stabilityai/stable-diffusion-2-1-unclip"),
        )  # fmt: skip
        self.refused(
            predict, tmp_path, BadInputError, "hf download nobody/nothing",
            decoder=DecoderConfig("unclip", "nobody/nothing"),
        )  # fmt: skip

    def test_nan_in_the_betas(self, predict, tmp_path):
        other = write_brain(tmp_path)
        betas = np.load(other.folder / "betas" / "betas.npy")
        betas[other.table.split == "test", 4] = np.nan
        np.save(other.folder / "betas" / "betas.npy", betas)
        with pytest.raises(BadInputError, match="not finite"):
            predict(tmp_path / "run", data_betas=other.data["betas"])
        assert not list((tmp_path / "run").glob("*.parquet"))
