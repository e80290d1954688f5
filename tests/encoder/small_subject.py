"""Index, beta store, preprocessing and caches of one small subject, written by the real writers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri_lightning.betas.artefact import save_preprocess
from fmri_lightning.betas.fit import FittedPreprocess, PreprocessConfig
from fmri_lightning.betas.store import BetaStore, store_hash
from fmri_lightning.embeddings.cache import write_cache
from fmri_lightning.index.table import index_manifest, write_index
from fmri_lightning.manifest import Manifest, write_manifest
from fmri_lightning.records import EmbeddingSpace, TrialTable

SUBJECT = "subj01"


@dataclass(frozen=True)
class SmallSubject:
    folder: Path
    betas: np.ndarray
    table: TrialTable

    def encoder_inputs(self, **changes):
        """Arguments of EncoderDataModule."""
        names = ("index", "betas", "preproc")
        paths = dict(zip(("index_root", "betas", "preproc"), (str(self.folder / n) for n in names), strict=True))
        return {**paths, "clip_cache": str(self.folder / "clip.parquet"), "subject": SUBJECT, **changes}

    def adapter_inputs(self, **changes):
        """Arguments of AdapterDataModule."""
        caches = {"clip_cache": str(self.folder / "clip.parquet"), "target_cache": str(self.folder / "target.parquet")}
        return {"index_root": str(self.folder / "index"), **caches, "subject": SUBJECT, **changes}


def write_small_subject(
    folder,
    n_stimuli=90,
    n_voxels=40,
    dim=16,
    target_dim=24,
    noise=1.0,
    seed=0,
    permute_test=False,
    repeats=None,
) -> SmallSubject:
    """Pictures with up to three trials each (or ``repeats``), in shuffled order; a fifth of them test, a fifth val.

    Voxels are a noisy linear function of eight latents, and so are the embeddings; ``noise`` may differ by picture.
    """
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(5000, n_stimuli, replace=False)).astype(np.int32)
    split_of = np.array(["test", "val", "train", "train", "train"])[np.arange(n_stimuli) % 5]
    repeats = 1 + np.arange(n_stimuli) % 3 if repeats is None else repeats
    shown = rng.permutation(np.repeat(np.arange(n_stimuli), repeats))
    latents = rng.standard_normal((n_stimuli, 8))
    source = latents @ rng.standard_normal((8, dim)) + 2 * rng.standard_normal(dim)
    target = np.tanh(latents @ rng.standard_normal((8, target_dim))) * np.linspace(0.5, 3, target_dim) + 1
    own = np.broadcast_to(noise, n_stimuli)[shown][:, None]
    betas = latents[shown] @ rng.standard_normal((8, n_voxels)) + own * rng.standard_normal((len(shown), n_voxels))
    table = _table(ids[shown], split_of[shown])
    if permute_test:
        test = np.flatnonzero(table.split == "test")
        betas[test] = 100 * betas[np.roll(test, 1)]
    folder = Path(folder)
    write_index(folder / "index", SUBJECT, table, inputs={}, config={})
    _write_betas(folder, betas.astype(np.float32), table)
    for name, vectors in (("clip", source), ("target", target)):
        space = EmbeddingSpace(name, f"small/{name}", "", vectors.shape[1], "projection", "raw")
        write_cache(folder / f"{name}.parquet", ids, vectors.astype(np.float32), space)
    return SmallSubject(folder, betas.astype(np.float32), table)


def _table(nsd_id: np.ndarray, split: np.ndarray) -> TrialTable:
    n = len(nsd_id)
    rows = np.arange(n)
    repeat = np.array([np.sum(nsd_id[:i] == nsd_id[i]) for i in rows])
    counts = {i: int(np.sum(nsd_id == i)) for i in nsd_id}
    return TrialTable(
        subject=np.full(n, SUBJECT),
        session=np.ones(n),
        run=np.ones(n),
        trial_in_run=rows + 1,
        trial_in_session=rows,
        global_trial=rows,
        nsd_id=nsd_id,
        coco_id=nsd_id + 100_000,
        coco_split=np.full(n, "train2017"),
        shared1000=split == "test",
        repeat=repeat,
        n_repeats=np.array([counts[i] for i in nsd_id]),
        beta_path=np.full(n, "betas_session01.hdf5"),
        beta_index=rows,
        split=split,
        trial_id_average=np.where(split == "test", rows, -1),
        trial_id_single=np.where(split == "test", rows, -1),
    )


def _write_betas(folder: Path, betas: np.ndarray, table: TrialTable) -> None:
    index = index_manifest(folder / "index", SUBJECT)
    store = folder / "betas" / SUBJECT
    store.mkdir(parents=True)
    np.save(store / "betas.npy", betas)
    ijk = np.zeros((betas.shape[1], 3), dtype=np.int32)
    write_manifest(
        store,
        Manifest(
            "betas",
            store_hash(betas, ijk),
            inputs={"index": index.content_hash, "split": index.config["split_hash"]},
            config={"n_trials": len(betas), "n_voxels": betas.shape[1], "subject": SUBJECT, "simulated": True},
        ),
    )
    train = betas[table.split == "train"]
    arrays = {
        "columns": np.arange(1, betas.shape[1], dtype=np.int32),
        "mean": train.mean(axis=0)[1:],
        "scale": train.std(axis=0)[1:],
    }
    fitted = FittedPreprocess(arrays, {}, {})
    save_preprocess(folder / "preproc" / SUBJECT, fitted, PreprocessConfig(), BetaStore.open(store))
