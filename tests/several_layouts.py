"""One simulated subject in every layout that can be trained on, read by the commands, and decoded by one recipe.

The recipe is the same for all: betas averaged over the rows of a stimulus, voxels standardised by the stimuli that were
trained on, ridge to the embeddings. Where two layouts decode differently, their files differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import Ridge

from fmri_lightning.betas.command import betas
from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.embeddings.command import clip_cache
from fmri_lightning.index.command import index
from fmri_lightning.index.table import read_index
from fmri_lightning.simulate.command import simulate

SUBJECT = "subj01"
SIZES = {"subjects": "1", "shared": 60, "unique": 420, "sessions": 16, "nsdgeneral_voxels": 400, "size_px": 32}
# Name → flags of simulate, of index, and of betas.
LAYOUTS = {
    "nsd": ({"nifti": "all", "also": "fsaverage"}, {}, {}),
    "nsd, NIfTI": ({"nifti": "all", "also": "fsaverage"}, {}, {}),
    "mindeye2": ({"layout": "mindeye2"}, {"source": "mindeye2"}, {}),
    "mindeye1": ({"layout": "mindeye1"}, {"source": "mindeye1"}, {}),
    "brain_diffuser": ({"layout": "brain_diffuser"}, {"source": "brain_diffuser"}, {}),
    "nsd, fsaverage": ({"nifti": "all", "also": "fsaverage"}, {}, {"space": "fsaverage"}),
    "algonauts": ({"layout": "algonauts"}, {"source": "algonauts"}, {"roi": "all-vertices"}),
}


@dataclass(frozen=True)
class Means:
    """Betas of a layout, a row per stimulus."""

    nsd_ids: np.ndarray
    betas: np.ndarray

    def of(self, wanted: np.ndarray) -> np.ndarray:
        """Rows of some stimuli, in their order."""
        return self.betas[np.searchsorted(self.nsd_ids, wanted)]


@dataclass(frozen=True)
class World:
    """All layouts of one brain, the embeddings, and which stimuli all of them hold."""

    means: dict[str, Means]
    cache: EmbeddingCache
    train: np.ndarray
    test: np.ndarray

    def decode(self, layout: str, shift: int = 0) -> np.ndarray:
        """Embeddings of the test stimuli, (n, dim); ``shift`` gives every training stimulus another one's embedding."""
        means = self.means[layout]
        x = means.of(self.train)
        centre, scale = x.mean(axis=0), x.std(axis=0)
        scale[scale < 1e-6] = np.inf
        ridge = Ridge(alpha=x.shape[1]).fit((x - centre) / scale, np.roll(self.cache.rows(self.train), shift, axis=0))
        return ridge.predict((means.of(self.test) - centre) / scale)

    def centred_cosine(self, predicted: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Cosine of each pair of rows after the mean training embedding is taken off both, (n,)."""
        mean = self.cache.rows(self.train).mean(axis=0)
        a, b = predicted - mean, other - mean
        return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def make_world(folder: Path) -> World:
    """Write, read and line up every layout."""
    means, shared = {}, np.empty(0)
    for name, (of_simulate, of_index, of_betas) in LAYOUTS.items():
        root, out = folder / of_simulate.get("layout", "nsd"), folder / f"out {name}"
        simulate(root, **SIZES, **of_simulate)
        if name == "nsd, NIfTI":
            for file in root.rglob("betas_session*.hdf5"):
                file.rename(file.with_suffix(".put_aside"))
        index(root, subject=SUBJECT, out=out / "index", **of_index)
        places = {"index": out / "index", "out": out / "betas", "preproc_out": out / "preproc"}
        betas(root, subject=SUBJECT, mask="roi", **places, **of_betas)
        table, store = read_index(out / "index", SUBJECT), BetaStore.open(out / "betas" / SUBJECT)
        means[name] = Means(*average_repeats(np.asarray(store.betas, dtype=np.float32), table.nsd_id))
        if name == "nsd":
            shared = np.unique(table.nsd_id[table.shared1000])
    for file in folder.rglob("*.put_aside"):
        file.rename(file.with_suffix(".hdf5"))
    clip_cache(root=folder / "nsd", space="mini-source", out=folder / "clip.parquet")
    common = means["nsd"].nsd_ids
    for one in means.values():
        common = np.intersect1d(common, one.nsd_ids)
    is_shared = np.isin(common, shared)
    return World(means, EmbeddingCache.open(folder / "clip.parquet"), common[~is_shared], common[is_shared])
