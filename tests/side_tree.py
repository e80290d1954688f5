"""A small simulated tree with NSD-Imagery and NSD-synthetic beside it, copies of it to damage, and a ridge."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri_lightning.betas.command import betas
from fmri_lightning.embeddings.cache import write_cache
from fmri_lightning.index.command import index
from fmri_lightning.index.stimuli import open_stimuli
from fmri_lightning.records import EmbeddingSpace
from fmri_lightning.simulate.command import simulate

SMALL = {"shared": 40, "unique": 200, "sessions": 3, "missing_sessions": 1, "nsdgeneral_voxels": 300, "size_px": 32}
TASKS = ("vision", "imagery", "synthetic")
EVENTS = "nsddata/bdata/nsdimagery"
PAIRS = "nsddata/experiments/nsdimagery"
DIM = 24


def write_side_tree(root: Path, subjects: str = "1,2") -> Path:
    """Two subjects whose boxes differ in size."""
    simulate(out=root, subjects=subjects, also="imagery,synthetic", **SMALL)
    return root


def copy_tree(root: Path, to: Path) -> Path:
    """Copy a tree; betas of NSD proper are linked, nothing writes them."""
    shutil.copytree(root, to, copy_function=lambda a, b: Path(b).symlink_to(a) if "session" in a else shutil.copy(a, b))
    return to


def index_side(root: Path, out: Path, task: str, **more) -> Path:
    """Index one of TASKS."""
    source = "nsd_synthetic" if task == "synthetic" else "nsd_imagery"
    given = {} if task == "synthetic" else {"task": task}
    index(root, source=source, out=out, **given, **more)
    return out


def betas_file(root: Path, subject: str = "subj01", stem: str = "nsdimagery") -> Path:
    """The HDF5 file of a side experiment."""
    folder = root / f"nsddata_betas/ppdata/{subject}/func1pt8mm/{stem}betas_fithrf_GLMdenoise_RR"
    return folder / f"betas_{stem}.hdf5"


def space() -> EmbeddingSpace:
    """Space of the vectors below."""
    return EmbeddingSpace("coarse", "tests/coarse", "", DIM, "projection", "raw")


def embed(pictures: np.ndarray) -> np.ndarray:
    """A non-linear code of the coarse picture: uint8 (n, side, side, 3) to float32 (n, DIM)."""
    side = pictures.shape[1] // 4
    cells = pictures.reshape(len(pictures), 4, side, 4, side, 3).mean(axis=(2, 4)).reshape(len(pictures), -1) / 255
    weights = np.random.default_rng(5).normal(size=(cells.shape[1], DIM))
    return (np.tanh((cells - 0.5) @ weights) + 0.3).astype(np.float32)


@dataclass(frozen=True)
class SideFlow:
    """Everything up to the encoder, and the side experiments beside it."""

    root: Path
    folder: Path

    def data(self, task: str, **changes) -> dict:
        """Arguments of ReconstructionDataModule."""
        stem = "synthetic" if task == "synthetic" else "imagery"
        return {
            "index_root": str(self.folder / f"index_{task}"),
            "betas": str(self.folder / f"betas_{task}"),
            "preproc": str(self.folder / "preproc"),
            "clip_cache": str(self.folder / f"clip_{stem}.parquet"),
            **changes,
        }

    def encoder_inputs(self, **changes) -> dict:
        """Arguments of EncoderDataModule."""
        names = {"index_root": "index", "betas": "betas", "preproc": "preproc", "clip_cache": "clip.parquet"}
        return {**{name: str(self.folder / place) for name, place in names.items()}, "subject": "subj01", **changes}

    @property
    def encoder(self) -> str:
        """The ridge."""
        return str(self.folder / "ridge" / "subj01" / "ridge.ckpt")


def write_side_flow(root: Path, folder: Path) -> SideFlow:
    """Index, betas, caches and a ridge of subj01 by the real commands; then indices and stores of the experiments."""
    from tests.encoder.fitting import fit_ridge_module

    flow = SideFlow(root, folder)
    index(root, out=folder / "index")
    betas(root, index=folder / "index", out=folder / "betas", preproc_out=folder / "preproc")
    for name, experiment in (("clip", None), ("clip_imagery", "nsd_imagery"), ("clip_synthetic", "nsd_synthetic")):
        stimuli = open_stimuli(root, experiment=experiment)
        write_cache(folder / f"{name}.parquet", stimuli.ids, embed(stimuli.read(stimuli.ids)), space())
    fit_ridge_module(flow, folder)
    for task in TASKS:
        index_side(root, folder / f"index_{task}", task)
        betas(root, index=folder / f"index_{task}", out=folder / f"betas_{task}", like=folder / "betas")
    return flow
