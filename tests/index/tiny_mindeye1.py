"""A tiny tree in MindEye1's layout, made of a tiny NSD tree; written independently of ``fmri_lightning.simulate``."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.index.tiny_nsd import TinyNSD, _hashed_tenth

FOLDER = "webdataset_avg_split"


def write_tiny_mindeye1(root: Path, tiny: TinyNSD, per_tar: int = 7, annotations: bool = True) -> Path:
    """Write a sample a picture in shuffled order: z-scores of sessions in order A, copies behind num_uniques."""
    root.mkdir(parents=True)
    if annotations:
        np.save(root / "COCO_73k_annots_curated.npy", captions(tiny.catalogue))
    for subject, ids in tiny.nsd_ids.items():
        z = session_scores(tiny, subject)
        seen = np.random.default_rng(len(ids)).permutation(np.unique(ids))
        is_test = np.isin(seen, tiny.shared)
        is_val = np.array([_hashed_tenth(i) for i in seen]) & ~is_test
        parts = {"train": seen[~is_test & ~is_val], "val": seen[is_val], "test": seen[is_test]}
        for split, pictures in parts.items():
            (root / FOLDER / split).mkdir(parents=True, exist_ok=True)
            for tar in range(-(-len(pictures) // per_tar)):
                members = {}
                for number in range(tar * per_tar, min((tar + 1) * per_tar, len(pictures))):
                    for name, content in sample(z, ids, pictures[number], tiny.nsdgeneral > 0).items():
                        members[f"sample{number:09d}.{name}"] = content
                write_tar(root / FOLDER / split / f"{split}_{subject}_{tar}.tar", members)
        totals = {split: len(pictures) for split, pictures in parts.items()}
        (root / FOLDER / f"metadata_{subject}.json").write_text(json.dumps({"totals": totals}))
    return root


def session_scores(tiny, subject):
    """float16 (trials, X, Y, Z): each voxel of a session by mean and deviation of all its trials."""
    volume = tiny.volumes[subject].astype(float)
    sessions = volume.reshape(-1, tiny.trials_per_session, *volume.shape[1:])
    deviation = sessions.std(axis=1, keepdims=True)
    z = (sessions - sessions.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)
    return z.reshape(volume.shape).astype(np.float16)


def sample(z, ids, picture, mask):
    trials = np.flatnonzero(ids == picture)
    rows = z[[*trials, *trials, *trials][:3]] if len(trials) < 3 else z[trials[:3]]
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (int(picture), 255 - int(picture), 7)).save(buffer, "JPEG", quality=100)
    return {
        "jpg": buffer.getvalue(),
        "nsdgeneral.npy": npy(rows[:, mask]),
        "wholebrain_3d.npy": npy(rows),
        "coco73k.npy": npy(np.array([picture], dtype=np.int64)),
        "trial.npy": npy(np.array([trials[0]], dtype=np.int64)),
        "num_uniques.npy": npy(np.array([len(trials)], dtype=np.int64)),
    }


def captions(catalogue):
    return np.array([[f"picture {i}", f"again {i}", "", "", ""] for i in range(catalogue)])


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def read_tar(path):
    """Member name → bytes."""
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def unpack(root):
    """Turn the tars into folders, as MindBridge has them; the metadata stay."""
    for path in sorted((root / FOLDER).glob("*/*.tar")):
        folder = path.parent / path.stem.split("_")[1]
        folder.mkdir(exist_ok=True)
        for name, content in read_tar(path).items():
            (folder / name).write_bytes(content)
        path.unlink()
    return root
