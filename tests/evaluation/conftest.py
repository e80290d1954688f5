"""Run folders in the layout of predict: pictures are mixtures of scenes, so that their order is known."""

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from fmri_lightning.embeddings.cache import write_cache
from fmri_lightning.evaluation.networks.judge import SKIP_HINT, judge_weights
from fmri_lightning.evaluation.networks.opening import open_network
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.generation.predictions import Predictions, write_predictions
from fmri_lightning.index.table import write_index
from fmri_lightning.records import TRIAL_DTYPES, EmbeddingSpace, TrialTable
from fmri_lightning.simulate.scenes import draw_scenes

N_TRAIN, N_TEST, N_DRAWN, DIM = 20, 24, 16, 10
ANCHORS = np.arange(N_TRAIN, N_TRAIN + N_TEST)


def write_pictures(folder, pictures, names):
    folder.mkdir(parents=True, exist_ok=True)
    for picture, name in zip(pictures, names, strict=True):
        Image.fromarray(picture).save(folder / name)


@dataclass(frozen=True)
class World:
    """Stimuli, index and cache, and what a fair decoder would draw of them."""

    base: Path
    stimuli: np.ndarray
    embeddings: np.ndarray
    index_hash: str
    cache_hash: str

    def predicted_picture(self, nsd_id, share=0.3):
        """A mixture of the stimulus with a fixed other one, as a decoder draws it."""
        other = self.stimuli[(nsd_id + 7) % len(self.stimuli)]
        return (share * self.stimuli[nsd_id] + (1 - share) * other).round().astype(np.uint8)

    def predicted_embedding(self, nsd_id):
        noise = np.random.default_rng([9, nsd_id]).normal(size=DIM)
        return (self.embeddings[nsd_id] + 0.5 * noise).astype(np.float32)

    def write_run(
        self, folder, condition="predicted", drawn_from=None, picture=None, n=N_DRAWN, nearest=None, **changes
    ):
        """Write a run of the first n test stimuli.

        Args:
            folder: Where.
            condition: As in the summary.
            drawn_from: nsd_id to the stimulus whose embedding drew it.
            picture: From an nsd_id to pixels.
            n: How many.
            nearest: Training stimulus found nearest to each item; none by default.
            changes: Fields of the summary to set.
        """
        ids = ANCHORS[:n]
        used = [ids[i] if drawn_from is None else drawn_from[ids[i]] for i in range(n)]
        names = [f"nsd{i}_generated.png" for i in ids]
        draw = picture or self.predicted_picture
        write_pictures(folder / "images", [draw(i) for i in used], names)
        summary = {
            "subject": "subj01",
            "encoder": folder.name,
            "diffusion_model": "mini",
            "guidance_scale": 3.0,
            "num_inference_steps": 9,
            "n_generated": n,
            "results": [
                {"trial_id": t, "nsdId": int(i), "image_path": f"images/{name}"}
                for t, (i, name) in enumerate(zip(ids, names, strict=True))
            ],
            "condition": condition,
            "failures": [],
            "simulated": True,
            "noise_level": 0,
            "scheduler": "ddim",
            "n_samples": 1,
            "seed": 42,
            "trial_mode": "average",
            "test_set": "shared1000",
            "n_test_set": N_TEST,
            "provenance": {
                "root": str(self.base / "nsd"),
                "index_root": str(self.base / "index"),
                "clip_cache": str(self.base / "clip.parquet"),
                "inputs": {"clip_cache": self.cache_hash, "index": self.index_hash},
                "spaces": {"source": {"name": "tiny-source"}, "target": {"name": "tiny-target"}},
            },
        } | changes
        (folder / "decode_summary.json").write_text(json.dumps(summary))
        nothing = np.full(n, np.nan, np.float32)
        table = Predictions(
            nsd_id=ids.astype(np.int32),
            trial_id=np.arange(n, dtype=np.int32),
            global_trial=np.full(n, -1, np.int32),
            source=np.stack([self.predicted_embedding(i) for i in used]),
            target=None,
            cosine_pred_gt=nothing,
            nn_nsd_id=np.full(n, -1, np.int32) if nearest is None else np.asarray(nearest, np.int32),
            nn_cosine=nothing,
            drawn_from_nsd_id=np.array(used, np.int32),
        )
        write_predictions(folder / "predictions.parquet", table, {})
        return folder

    def write_ladder(self, folder, **changes):
        """Write a run with its controls true_target and shuffled."""
        self.write_run(folder, **changes)
        partners = dict(zip(ANCHORS, np.roll(ANCHORS, -5), strict=True))
        self.write_run(folder / "controls/shuffled", "shuffled", drawn_from=partners, **changes)
        self.write_run(
            folder / "controls/true_target", "true_target", picture=lambda i: self.predicted_picture(i, 0.95), **changes
        )
        return folder


def write_table(folder):
    """An index of two trials a stimulus."""
    ids = np.repeat(np.arange(N_TRAIN + N_TEST), 2)
    n, test = len(ids), ids >= N_TRAIN
    columns = {name: np.zeros(n, np.int32) for name in TRIAL_DTYPES}
    columns |= {
        "subject": np.full(n, "subj01"),
        "session": np.ones(n),
        "coco_split": np.full(n, "train2017"),
        "beta_path": np.full(n, "betas_session01.hdf5"),
        "nsd_id": ids,
        "global_trial": np.arange(n),
        "beta_index": np.arange(n),
        "repeat": np.arange(n) % 2,
        "n_repeats": np.full(n, 2),
        "shared1000": test,
        "split": np.where(test, "test", "train"),
        "trial_id_average": np.where(test, ids - N_TRAIN, -1),
        "trial_id_single": np.where(test, np.arange(n) - 2 * N_TRAIN, -1),
    }
    return write_index(folder, "subj01", TrialTable(**columns), {}, {"simulated": True}).content_hash


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    base = tmp_path_factory.mktemp("evaluation")
    stimuli, _ = draw_scenes("stimuli", range(N_TRAIN + N_TEST))
    file = base / "nsd/nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    file.parent.mkdir(parents=True)
    with h5py.File(file, "w") as handle:
        handle["imgBrick"] = stimuli
    embeddings = 2.0 + np.random.default_rng(0).normal(size=(len(stimuli), DIM))
    space = EmbeddingSpace("tiny-source", "tiny", "", DIM, "projection", "raw")
    cache_hash = write_cache(base / "clip.parquet", np.arange(len(stimuli)), embeddings, space)
    return World(base, stimuli, embeddings.astype(np.float32), write_table(base / "index"), cache_hash)


@pytest.fixture(scope="session")
def judge():
    if judge_weights() is None:
        pytest.skip(f"the judge's weights are not installed: {SKIP_HINT}")
    return open_network(PROTOCOLS["demo"].networks[0])
