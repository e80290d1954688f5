"""A tiny average surface beside a tiny NSD tree, written by nibabel, without ``fmri_lightning.simulate``."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel
import numpy as np

from tests.index.tiny_nsd import B3, TinyNSD

N = 150


@dataclass
class TinySurface:
    tree: TinyNSD
    labels: dict[str, dict[str, np.ndarray]]  # region -> hemisphere -> (N,)
    betas: dict[str, dict[str, np.ndarray]]  # subject -> hemisphere -> (trials, N), percent signal change
    ncsnr: dict[str, np.ndarray]  # hemisphere -> (N,)

    def path(self, subject, session, hemisphere="lh"):
        folder = self.tree.root / f"nsddata_betas/ppdata/{subject}/fsaverage/{B3}"
        return folder / f"{hemisphere}.betas_session{session:02d}.mgh"

    def kept(self, region="nsdgeneral"):
        """Vertices of a region in both hemispheres, left first: (hemisphere, vertex) pairs."""
        return [(h, v) for h in ("lh", "rh") for v in np.flatnonzero(self.labels[region][h] > 0).tolist()]


def write_tiny_fsaverage(tree: TinyNSD, nan_vertices: int = 1, seed: int = 1) -> TinySurface:
    """Write labels, betas, ncsnr; the first ``nan_vertices`` of rh's nsdgeneral have no value in the last subject."""
    rng = np.random.default_rng(seed)
    labels = {"nsdgeneral": {}, "prf-visualrois": {}, "floc-words": {}}
    folder = tree.root / "nsddata/freesurfer/fsaverage/label"
    folder.mkdir(parents=True)
    for h in ("lh", "rh"):
        labels["nsdgeneral"][h] = (rng.random(N) < 0.8).astype(np.int32)
        labels["prf-visualrois"][h] = rng.integers(0, 8, N).astype(np.int32) * labels["nsdgeneral"][h]
        labels["floc-words"][h] = np.zeros(N, dtype=np.int32)
        for name, maps in labels.items():
            save(folder / f"{h}.{name}.mgz", maps[h])
        save(folder / f"{h}.flocfacestval.mgz", rng.normal(size=N).astype(np.float32))
    ncsnr = {h: np.abs(rng.normal(0.5, 0.2, N)).astype(np.float32) for h in ("lh", "rh")}
    betas: dict[str, dict[str, np.ndarray]] = {}
    made = TinySurface(tree, labels, betas, ncsnr)
    for subject, ids in tree.nsd_ids.items():
        betas[subject] = {h: rng.normal(1, 0.9, (len(ids), N)).astype(np.float32) for h in ("lh", "rh")}
        if subject == max(tree.nsd_ids):
            betas[subject]["rh"][:, np.flatnonzero(labels["nsdgeneral"]["rh"])[:nan_vertices]] = np.nan
        for h in ("lh", "rh"):
            for session in range(len(ids) // tree.trials_per_session):
                write_session(made, subject, session + 1, h)
            save(made.path(subject, 1, h).parent / f"{h}.ncsnr.mgh", ncsnr[h])
    return made


def write_session(made: TinySurface, subject, session, hemisphere) -> None:
    """Write what ``made.betas`` holds of a session."""
    trials = made.tree.trials_per_session
    path = made.path(subject, session, hemisphere)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, made.betas[subject][hemisphere][(session - 1) * trials : session * trials].T)


def save(path, values):
    """Save (N,) or (N, trials) as N x 1 x 1 (x trials)."""
    shape = (len(values), 1, 1, *values.shape[1:])
    nibabel.save(nibabel.MGHImage(values.reshape(shape), np.eye(4)), path)
