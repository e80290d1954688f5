"""An encoder of NSD proper predicts what was seen and imagined elsewhere, by its own voxels and by no others."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fmri_lightning.adapter.data import AdapterDataModule
from fmri_lightning.betas.command import betas
from fmri_lightning.betas.store import BetaStore, store_hash
from fmri_lightning.doctor.runs import leaks, pairing
from fmri_lightning.embeddings.cache import EmbeddingCache, write_cache
from fmri_lightning.encoder.data import EncoderDataModule
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.data import ReconstructionDataModule
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.module import ReconstructionModule
from fmri_lightning.generation.predictions import read_predictions
from fmri_lightning.index.command import index
from fmri_lightning.lightning_cli import StageTrainer
from fmri_lightning.manifest import read_manifest, write_manifest
from fmri_lightning.records import EmbeddingSpace
from tests.side_tree import DIM, embed


def predict(flow, task, out, data=None, **model) -> Path:
    """Stop at predictions, by the classes that the command line instantiates."""
    module = ReconstructionModule(
        **{"encoder_ckpt": flow.encoder, "decoder": DecoderConfig("none"), "output_dir": out, "seed": 0, **model}
    )
    trainer = StageTrainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.predict(module, ReconstructionDataModule(**flow.data(task, **(data or {}))), return_predictions=False)
    return module.run_folder


def centred_cosines(flow, task, run) -> np.ndarray:
    """Cosine of each prediction with each true embedding, both less the mean that the encoder was trained with."""
    found, about = read_predictions(run / "predictions.parquet")
    mean = np.array(about["spaces"]["source"]["mean"])
    truth = EmbeddingCache.open(flow.data(task)["clip_cache"]).rows(found.nsd_id)
    a, b = (x - mean for x in (found.source, truth))
    return (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T


@pytest.fixture(scope="module")
def runs(side_flow, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {task: predict(side_flow, task, folder / task) for task in ("vision", "imagery", "synthetic")}


def test_seen_is_read_better_than_imagined_and_both_better_than_chance(side_flow, runs):
    own, others = {}, {}
    for task in runs:
        cosines = centred_cosines(side_flow, task, runs[task])
        own[task] = float(np.diag(cosines).mean())
        rng = np.random.default_rng(0)
        n = len(cosines)
        shuffled = [cosines[np.arange(n), rng.permutation(n)].mean() for _ in range(500)]
        others[task] = float(np.quantile(shuffled, 0.99))
    assert own["vision"] > own["imagery"]
    for task in runs:
        assert own[task] > others[task], (task, own, others)


def test_the_shuffled_control_is_worse(side_flow, runs, tmp_path):
    for task in ("vision", "imagery"):
        run = predict(side_flow, task, tmp_path / task, condition="shuffled")
        found, _ = read_predictions(run / "predictions.parquet")
        assert np.all(found.drawn_from_nsd_id != found.nsd_id)
        assert (
            np.diag(centred_cosines(side_flow, task, run)).mean()
            < np.diag(centred_cosines(side_flow, task, runs[task])).mean()
        )


def test_one_item_a_picture_and_a_task(side_flow, runs):
    for task, n in (("vision", 18), ("imagery", 18), ("synthetic", 280)):
        found, about = read_predictions(runs[task] / "predictions.parquet")
        assert len(found) == len(set(found.nsd_id.tolist())) == n
        assert np.all(found.nn_nsd_id == -1)  # no training picture is in its cache
        assert about["mean_vector_cosine"] is None
        words = {"vision": "nsd_imagery, seen", "imagery": "nsd_imagery, imagined", "synthetic": "nsd_synthetic, seen"}
        assert about["prediction_only"]["in_words"] == (
            f"prediction only: {words[task]} trials; T0 from the same trials it is applied to"
        )


def test_single_trials(side_flow, tmp_path):
    run = predict(side_flow, "imagery", tmp_path / "run", data={"trial_mode": "single"})
    found, _ = read_predictions(run / "predictions.parquet")
    assert len(set(found.trial_id.tolist())) == len(found) == 288
    assert len(set(found.global_trial.tolist())) == 288
    assert set(np.unique(found.nsd_id, return_counts=True)[1].tolist()) == {16}


def test_predictions_are_those_of_the_training_preprocessing(side_flow, runs):
    """By hand: mean z-scored betas, the stored scaling and mask, the stored linear map."""
    from safetensors.numpy import load_file

    from fmri_lightning.encoder.load import load_encoder
    from fmri_lightning.index.table import read_index

    table = read_index(side_flow.folder / "index_imagery", "subj01")
    z = np.load(side_flow.folder / "betas_imagery" / "subj01" / "betas.npy")
    fitted = load_file(side_flow.folder / "preproc" / "subj01" / "preproc.safetensors")
    ids = np.unique(table.nsd_id)
    means = np.stack([z[table.nsd_id == i].mean(axis=0) for i in ids])[:, fitted["columns"]]
    linear = load_encoder(side_flow.encoder).predictor
    features = (means - fitted["mean"]) / fitted["scale"]
    wanted = features @ linear.weights.numpy() + linear.intercept.numpy()
    found, _ = read_predictions(runs["imagery"] / "predictions.parquet")
    assert np.array_equal(found.nsd_id, ids)
    assert np.allclose(found.source, wanted, atol=1e-3)


class TestRefused:
    def refused(self, flow, tmp_path, error, match, task="vision", **more):
        with pytest.raises(error, match=match):
            predict(flow, task, tmp_path / "run", **more)
        assert not (tmp_path / "run").exists()

    @pytest.fixture
    def store(self, side_flow, tmp_path):
        """A copy of the store of seen trials, to damage."""
        return Path(shutil.copytree(side_flow.folder / "betas_vision" / "subj01", tmp_path / "store"))

    def edit(self, store, change):
        manifest = read_manifest(store, "betas")
        change(manifest)
        write_manifest(store, manifest)

    def test_like_another_training_store(self, side_flow, tmp_path, store):
        self.edit(store, lambda m: m.config["like"].update(betas="0" * 64))
        self.refused(side_flow, tmp_path, BadInputError, "is like the training store 0000", data={"betas": str(store)})

    def test_a_preprocessing_of_another_training_store(self, side_flow, tmp_path):
        """All by the commands: fewer sessions of the same subject, the same voxels."""
        folder = tmp_path / "fewer"
        index(side_flow.root, out=folder / "index", sessions="2")
        betas(side_flow.root, index=folder / "index", out=folder / "betas", preproc_out=folder / "preproc", mask="roi")
        self.refused(
            side_flow, tmp_path, BadInputError, "the preprocessing was fitted on",
            data={"preproc": str(folder / "preproc")},
        )  # fmt: skip

    def test_voxels_in_another_order(self, side_flow, tmp_path, store):
        """Both arrays turned round and hashed anew: only the record of the training store's order is left to tell."""
        voxels = pq.read_table(store / "voxels.parquet")
        pq.write_table(voxels.take(pa.array(range(len(voxels))[::-1])), store / "voxels.parquet")
        turned = np.load(store / "betas.npy")[:, ::-1].copy()
        np.save(store / "betas.npy", turned)
        opened = BetaStore.open(store)
        self.edit(store, lambda m: setattr(m, "content_hash", store_hash(turned, opened.ijk)))
        self.refused(side_flow, tmp_path, BadInputError, "or not in its order", data={"betas": str(store)})

    def test_betas_in_another_order(self, side_flow, tmp_path, store):
        np.save(store / "betas.npy", np.load(store / "betas.npy")[:, ::-1].copy())
        self.refused(side_flow, tmp_path, BadInputError, "is not the array", data={"betas": str(store)})

    def test_no_word_of_a_training_store(self, side_flow, tmp_path, store):
        self.edit(store, lambda m: m.config.pop("like"))
        self.refused(side_flow, tmp_path, BadInputError, "does not say which", data={"betas": str(store)})

    def test_another_subject(self, side_flow, tmp_path):
        folder = tmp_path / "two"
        index(side_flow.root, subject="subj02", out=folder / "index")
        betas(
            side_flow.root, index=folder / "index", subject="subj02", out=folder / "betas",
            preproc_out=folder / "preproc", mask="roi",
        )  # fmt: skip
        index(side_flow.root, source="nsd_imagery", task="vision", subject="subj02", out=folder / "index_vision")
        betas(
            side_flow.root, index=folder / "index_vision", subject="subj02", out=folder / "betas_vision",
            like=folder / "betas",
        )  # fmt: skip
        two = {name: str(folder / place) for name, place in (("index_root", "index_vision"), ("betas", "betas_vision"))}
        mine = str(side_flow.folder / "preproc" / "subj01")
        self.refused(
            side_flow, tmp_path, BadInputError, "is like the training store",
            data={**two, "subject": "subj02", "preproc": mine},
        )  # fmt: skip
        self.refused(
            side_flow, tmp_path, BadInputError, "is of subj01, --data.subject is subj02",
            data={**two, "subject": "subj02", "preproc": str(folder / "preproc")},
        )  # fmt: skip
        with pytest.raises(BadInputError, match="is the store of subj01, the index is of subj02"):
            betas(
                side_flow.root, index=folder / "index_vision", subject="subj02", out=folder / "wrong",
                like=side_flow.folder / "betas" / "subj01",
            )  # fmt: skip

    def test_betas_of_the_other_task(self, side_flow, tmp_path):
        other = side_flow.data("imagery")["betas"]
        self.refused(side_flow, tmp_path, BadInputError, "made from another index", data={"betas": other})

    def test_the_training_index_still_wants_its_own_store(self, side_flow, tmp_path):
        """Nothing is loosened for an ordinary index."""
        data = {"index_root": str(side_flow.folder / "index"), "clip_cache": str(side_flow.folder / "clip.parquet")}
        self.refused(side_flow, tmp_path, BadInputError, "made from another index", data=data)

    def test_embeddings_of_another_space(self, side_flow, tmp_path):
        cache = EmbeddingCache.open(side_flow.data("vision")["clip_cache"])
        other = EmbeddingSpace("other", "tests/other", "", DIM - 1, "projection", "raw")
        write_cache(tmp_path / "other.parquet", cache.ids, np.asarray(cache.embeddings)[:, 1:], other)
        self.refused(
            side_flow,
            tmp_path,
            BadInputError,
            "use two parts made for one",
            data={"clip_cache": str(tmp_path / "other.parquet")},
        )

    def test_embeddings_of_the_catalogue(self, side_flow, tmp_path):
        self.refused(
            side_flow,
            tmp_path,
            BadInputError,
            "lacks 18 stimuli",
            data={"clip_cache": str(side_flow.folder / "clip.parquet")},
        )

    def test_a_test_set_of_nsd(self, side_flow, tmp_path):
        self.refused(side_flow, tmp_path, UsageError, "names pictures of NSD proper", data={"test_set": "982"})

    def test_the_training_mean(self, side_flow, tmp_path):
        self.refused(side_flow, tmp_path, UsageError, "condition mean draws from", condition="mean")

    def test_neighbours(self, side_flow, tmp_path):
        self.refused(
            side_flow, tmp_path, UsageError, "searches training stimuli",
            decoder=DecoderConfig("nearest_neighbour"), num_inference_steps=1,
        )  # fmt: skip

    def test_fits(self, side_flow):
        given = side_flow.encoder_inputs(**{k: v for k, v in side_flow.data("vision").items() if k != "subject"})
        with pytest.raises(BadInputError, match=r"is prediction only \(nsd_imagery\): nothing is fitted on it"):
            EncoderDataModule(**given).setup("fit")
        caches = {"clip_cache": given["clip_cache"], "target_cache": given["clip_cache"]}
        with pytest.raises(BadInputError, match="nothing is fitted on it"):
            AdapterDataModule(index_root=given["index_root"], subject="subj01", **caches).setup("fit")


class TestDoctor:
    @pytest.fixture
    def run(self, side_flow, runs, tmp_path):
        """A run with the settings that the command line leaves beside it."""
        import yaml

        folder = Path(shutil.copytree(runs["imagery"], tmp_path / "run"))
        data = {**side_flow.data("imagery"), "subject": "subj01", "trial_mode": "average", "test_set": "shared1000"}
        config = read_manifest(folder, "reconstructions").config
        data["gallery_limit"] = config["gallery_limit"]
        model = {"encoder_ckpt": side_flow.encoder} | {
            name: config[name]
            for name in ("condition", "n_samples", "guidance_scale", "num_inference_steps", "noise_level", "scheduler")
        }
        settings = {"data": {"init_args": data}, "model": {"init_args": model}}
        (folder / "predict.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(settings))))
        return folder

    def test_it_says_what_it_checks_and_what_not(self, run):
        lines = list(leaks(run))
        assert any("voxels are those of" in line for line in lines)
        assert any("T0: from the same 288 trials" in line for line in lines)
        assert any("encoder" in line and "preprocessing and split" in line for line in lines)
        assert "not there to check" in lines[-1]

    def test_a_beta_that_was_changed(self, side_flow, run, tmp_path):
        import yaml

        store = Path(shutil.copytree(side_flow.folder / "betas_imagery" / "subj01", tmp_path / "store"))
        z = np.load(store / "betas.npy")
        z[5, 0] += 40
        np.save(store / "betas.npy", z)
        manifest = read_manifest(store, "betas")
        manifest.content_hash = store_hash(z, BetaStore.open(store).ijk)
        write_manifest(store, manifest)
        settings = yaml.safe_load((run / "predict.yaml").read_text())
        settings["data"]["init_args"]["betas"] = str(store)
        (run / "predict.yaml").write_text(yaml.safe_dump(settings))
        with pytest.raises(BadInputError, match="T0: the mean of the session is off by"):
            list(leaks(run))

    def test_pairing_has_nothing_to_fit(self, run):
        with pytest.raises(BadInputError, match="pairing is checked by a fit"):
            pairing(run)


def test_the_code_of_a_picture_depends_on_the_picture():
    pictures = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3)).astype(np.uint8)
    assert np.allclose(embed(pictures)[[2, 0]], embed(pictures[[2, 0]]))
    assert np.ptp(embed(pictures), axis=0).min() > 0
