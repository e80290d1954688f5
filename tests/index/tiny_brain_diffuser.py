"""A tiny tree of brain-diffuser's arrays, made of a tiny NSD tree; independent of ``fmri_lightning.simulate``."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np

from tests.index.tiny_mindeye1 import captions
from tests.index.tiny_nsd import TinyNSD

EXPDESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"


def write_tiny_brain_diffuser(root: Path, tiny: TinyNSD) -> Path:
    """Write means over repeats, pictures and captions, each picture where it first appeared."""
    (root / EXPDESIGN).parent.mkdir(parents=True)
    shutil.copy(tiny.root / EXPDESIGN, root / EXPDESIGN)
    (root / "annots").mkdir()
    annotations = captions(tiny.catalogue)
    np.save(root / "annots/COCO_73k_annots_curated.npy", annotations)
    with h5py.File(tiny.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as handle:
        brick = handle["imgBrick"][:]
    for subject, ids in tiny.nsd_ids.items():
        flat = tiny.volumes[subject][:, tiny.nsdgeneral > 0]
        rows: dict[str, dict[int, list[int]]] = {"train": {}, "test": {}}
        for trial, picture in enumerate(ids.tolist()):
            rows["test" if picture in tiny.shared else "train"].setdefault(picture, []).append(trial)
        for part, trials in rows.items():
            means = np.array([flat[shown].astype(np.float64).mean(axis=0) for shown in trials.values()])
            path(root, subject, part, "cap").parent.mkdir(parents=True, exist_ok=True)
            np.save(path(root, subject, part, "fmriavg_nsdgeneral"), means)
            np.save(path(root, subject, part, "stim"), brick[list(trials)].astype(np.float64))
            np.save(path(root, subject, part, "cap"), annotations[list(trials)])
    return root


def path(root: Path, subject: str, part: str, kind: str) -> Path:
    return root / "processed_data" / subject / f"nsd_{part}_{kind}_sub{int(subject[4:])}.npy"
