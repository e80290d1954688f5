"""A run on the miniature whose truth is known: which voxels the embedding can be read from, and how well."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat

from fmri_lightning.betas.command import betas
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.embeddings.cache import EmbeddingCache, write_cache
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.index.command import index
from fmri_lightning.index.table import index_manifest, read_index
from fmri_lightning.manifest import read_manifest
from fmri_lightning.records import EmbeddingSpace
from fmri_lightning.simulate.pictures import scene_source
from fmri_lightning.simulate.pyramid import channel_maps
from fmri_lightning.simulate.scenes import CATEGORIES, draw_scenes
from fmri_lightning.simulate.subject import make_subject
from tests.encoder.fitting import fit_mlp_module, fit_ridge_module

DIM = 24
N_PX = 64


@dataclass(frozen=True)
class KnownRun:
    """A subject read by the real commands, and run folders beside it."""

    folder: Path
    root: Path

    def encoder_inputs(self, **more):
        names = {"index_root": "index", "betas": "betas", "preproc": "preproc", "clip_cache": "clip.parquet"}
        return {**{key: str(self.folder / name) for key, name in names.items()}, "subject": "subj01", **more}

    @property
    def store(self):
        return BetaStore.open(self.folder / "betas/subj01")

    @property
    def table(self):
        return read_index(self.folder / "index", "subj01")

    @property
    def cache(self):
        return EmbeddingCache.open(self.folder / "clip.parquet")

    def truth(self):
        """Planted semantic share and ncsnr of each voxel of the store."""
        planted = self.root / "simulated_truth/subj01"
        row = {tuple(place): i for i, place in enumerate(np.load(planted / "ijk.npy").tolist())}
        rows = [row[tuple(place)] for place in self.store.ijk.tolist()]
        return np.load(planted / "semantic_share.npy")[rows], np.load(planted / "ncsnr.npy")[rows]

    def informative(self):
        """Share of each voxel's variance in a trial that follows the embedding, from its noiseless signal."""
        record = json.loads((self.root / "SIMULATED.json").read_text())
        design = loadmat(self.root / "nsddata/experiments/nsd/nsd_expdesign.mat")
        shown = design["subjectim"][0].astype(int) - 1
        pictures, meaning = scene_source(record["seed"], N_PX).read(shown)
        n_voxels = record["arguments"]["nsdgeneral_voxels"]
        subject = make_subject(1, n_voxels, channel_maps(pictures), meaning, record["seed"])
        row = {tuple(place): i for i, place in enumerate(subject.brain.ijk.tolist())}
        rows = [row[tuple(place)] for place in self.store.ijk.tolist()]
        known = np.isin(shown, self.cache.ids)
        design = np.column_stack([np.ones(known.sum()), self.cache.rows(shown[known])]).astype(np.float64)
        signal = subject.signals[known][:, rows].astype(np.float64)
        residual = signal - design @ np.linalg.lstsq(design, signal, rcond=None)[0]
        n, k = design.shape
        follows = 1 - residual.var(axis=0) / np.maximum(signal.var(axis=0), 1e-9) * (n - 1) / (n - k)
        snr = np.square(subject.ncsnr[rows])
        return np.maximum(follows, 0) * snr / (1 + snr)

    def write_run(self, name, checkpoint, **changes):
        """Write what predict leaves of a run, with pictures of one pixel."""
        run = self.folder / name
        (run / "images").mkdir(parents=True)
        table = self.table
        ids = np.unique(table.nsd_id[table.split == "test"])
        results = []
        for trial, i in enumerate(ids.tolist()):
            Image.new("RGB", (1, 1)).save(run / f"images/nsd{i}_generated.png")
            results.append({"trial_id": trial, "nsdId": i, "image_path": f"images/nsd{i}_generated.png"})
        inputs = {
            "index": index_manifest(self.folder / "index", "subj01").content_hash,
            "betas": self.store.manifest.content_hash,
            "preproc": read_manifest(self.folder / "preproc/subj01", "preproc").content_hash,
            "clip_cache": self.cache.content_hash,
            "encoder": load_encoder(checkpoint).content_hash,
        }
        summary = {
            "subject": "subj01",
            "encoder": checkpoint.stem,
            "checkpoint": str(checkpoint),
            "diffusion_model": "mini",
            "n_generated": len(ids),
            "results": results,
            "simulated": True,
            "seed": 0,
            "test_set": "shared1000",
            "trial_mode": "average",
            "provenance": {
                "root": str(self.root),
                "index_root": str(self.folder / "index"),
                "betas": str(self.folder / "betas"),
                "preproc": str(self.folder / "preproc"),
                "clip_cache": str(self.folder / "clip.parquet"),
                "inputs": inputs,
                "versions": {},
            },
        } | changes
        (run / "decode_summary.json").write_text(json.dumps(summary))
        return run


def write_known_run(folder, root):
    """Read the miniature; the embedding of a picture says what is in it, and nothing of light or place."""
    index(root, out=folder / "index")
    betas(root, index=folder / "index", out=folder / "betas", preproc_out=folder / "preproc", mask="roi")
    ids = np.unique(read_index(folder / "index", "subj01").nsd_id)
    shown = np.stack([scene.semantic_vector() for scene in draw_scenes("stimuli", ids, 0, 16)[1]])
    mixing = np.random.default_rng(0).normal(size=(len(CATEGORIES), DIM))
    space = EmbeddingSpace("categories", "categories", "", DIM, "projection", "raw")
    vectors = shown[:, : len(CATEGORIES)] @ mixing + 1.0
    write_cache(folder / "clip.parquet", ids, vectors.astype(np.float32), space)
    return KnownRun(folder, root)


def fit_ridge_of(known):
    return fit_ridge_module(known, known.folder)[1]


def fit_network_of(known):
    return fit_mlp_module(known, known.folder, max_epochs=2)[1]
