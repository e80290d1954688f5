"""A tiny tree in MindEye2's layout, made of a tiny NSD tree; written independently of ``fmri_lightning.simulate``."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import h5py
import numpy as np

from tests.index.tiny_nsd import TinyNSD


def write_tiny_mindeye(root: Path, tiny: TinyNSD) -> Path:
    """Write betas (order A, z-scored by trials of pictures that are not shared), indices, masks and tars."""
    root.mkdir(parents=True)
    mask = np.zeros(tiny.catalogue, dtype=bool)
    mask[tiny.shared] = True
    np.save(root / "shared1000.npy", mask)
    np.save(root / "test_73k_images.npy", tiny.shared)
    for subject, ids in tiny.nsd_ids.items():
        psc = tiny.volumes[subject][:, tiny.nsdgeneral > 0].astype(float) / 300
        own = psc[~mask[ids]]
        spread = own.std(axis=0)
        z = (psc - own.mean(axis=0)) / np.where(spread > 0, spread, 1)
        with h5py.File(root / f"betas_all_{subject}_fp32_renorm.hdf5", "w") as handle:
            handle["betas"] = z.astype(np.float32)
        with h5py.File(root / "COCO_73k_subj_indices.hdf5", "a") as handle:
            handle.create_dataset(subject, data=ids.astype(np.int32), compression="gzip")
        with h5py.File(root / "brain_region_masks.hdf5", "a") as handle:
            handle[f"{subject}/nsd_general"] = np.ones(psc.shape[1], dtype=bool)
            handle[f"{subject}/V1"] = np.arange(psc.shape[1]) % 3 == 0
        _write_tars(root / "wds" / subject, int(subject[4:]), ids, mask, tiny.trials_per_session)
    return root


def _write_tars(folder, number, ids, mask, trials):
    rows = np.full((len(ids), 17), -1.0)
    seen = set()
    for t, picture in enumerate(ids):
        session, row = divmod(t, trials)
        run, trial = divmod(row, trials // 2)
        rows[t, :6] = picture, number, session + 1, run + 1, trial + 1, t
        rows[t, 7], rows[t, 16] = picture in seen, mask[picture]
        seen.add(picture)
    shared = rows[:, 16] == 1
    _write_tar(folder / "new_test" / "0.tar", rows[shared])
    for session in range(len(ids) // trials):
        _write_tar(folder / "train" / f"{session}.tar", rows[~shared & (rows[:, 2] == session + 1)])


def _write_tar(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number, row in enumerate(rows):
            for name, array in (("behav", row[None]), ("past_behav", np.full((15, 17), -1.0))):
                buffer = io.BytesIO()
                np.save(buffer, array)
                info = tarfile.TarInfo(f"sample{number:09d}.{name}.npy")
                info.size = buffer.tell()
                tar.addfile(info, io.BytesIO(buffer.getvalue()))
