"""A tiny tree in the layout of the Algonauts 2023 challenge, written independently of ``fmri_lightning.simulate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

N = 260
REGIONS = {"prf-visualrois": 7, "floc-bodies": 4, "floc-words": 5}


@dataclass
class TinyAlgonauts:
    root: Path
    ids: dict[str, np.ndarray]  # split -> nsd ids, ascending
    masks: dict[str, np.ndarray]  # hemisphere -> bool (N,)
    fmri: dict[str, dict[str, np.ndarray]]  # split -> hemisphere -> float32 (pictures, vertices)
    labels: dict[str, dict[str, np.ndarray]]  # region -> hemisphere -> (N,)

    def file(self, split, hemisphere):
        return self.root / f"subj01/{split}_split/{split}_fmri/{hemisphere}_{split}_fmri.npy"

    def images(self, split):
        return self.root / f"subj01/{split}_split/{split}_images"

    def mask(self, name):
        return self.root / f"subj01/roi_masks/{name}.npy"


def write_tiny_algonauts(root: Path, n_train: int = 60, n_test: int = 12, seed: int = 0) -> TinyAlgonauts:
    """Write one subject, 130 vertices in the left and 141 in the right hemisphere."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(900)[: n_train + n_test]
    ids = {"training": np.sort(chosen[:n_train]), "test": np.sort(chosen[n_train:])}
    masks = {h: np.isin(np.arange(N), rng.permutation(N)[:n]) for h, n in (("lh", 130), ("rh", 141))}
    made = TinyAlgonauts(root, ids, masks, {}, {})
    folder = root / "subj01/roi_masks"
    folder.mkdir(parents=True)
    for name, highest in REGIONS.items():
        made.labels[name] = {h: rng.integers(0, highest + 1, N) * masks[h] for h in masks}
        for h in masks:
            np.save(folder / f"{h}.{name}_fsaverage_space.npy", made.labels[name][h])
            np.save(folder / f"{h}.{name}_challenge_space.npy", made.labels[name][h][masks[h]])
        names = {0: "Unknown", **{k: f"label {k}" for k in range(1, highest + 1)}}
        np.save(folder / f"mapping_{name}.npy", names, allow_pickle=True)
    for h in masks:
        np.save(folder / f"{h}.all-vertices_fsaverage_space.npy", masks[h].astype(int))
    for split, prefix in (("training", "train"), ("test", "test")):
        made.images(split).mkdir(parents=True)
        for i, nsd_id in enumerate(ids[split].tolist()):
            picture = Image.new("RGB", (6, 6), (nsd_id % 256, nsd_id // 256, 7))
            picture.save(made.images(split) / f"{prefix}-{i + 1:04d}_nsd-{nsd_id:05d}.png")
        made.fmri[split] = {}
        for h in masks:
            made.file(split, h).parent.mkdir(parents=True, exist_ok=True)
            values = rng.normal(0, 0.75, (len(ids[split]), masks[h].sum())).astype(np.float32)
            made.fmri[split][h] = values
            np.save(made.file(split, h), values)
    return made
