"""A tiny tree in NSD's layout with invented values, written independently of ``fmri_lightning.simulate``."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import h5py
import nibabel
import numpy as np
from scipy.io import savemat

B3 = "betas_fithrf_GLMdenoise_RR"


@dataclass
class TinyNSD:
    root: Path
    nsd_ids: dict[str, np.ndarray]  # 0-based, per run trial
    volumes: dict[str, np.ndarray]  # int16 (trials, X, Y, Z)
    nsdgeneral: np.ndarray  # int (X, Y, Z)
    constant_voxel: tuple[int, int, int] | None
    shared: np.ndarray  # 0-based ids, ascending
    catalogue: int
    trials_per_session: int


def write_tiny_nsd(
    root: Path,
    sessions_run: tuple[int, ...] = (2, 1),
    sessions_planned: int = 3,
    trials_per_session: int = 24,
    n_shared: int = 6,
    box: tuple[int, int, int] = (6, 8, 5),
    catalogue: int = 200,
    nifti: bool = True,
    hdf5: bool = True,
    nsdgeneral: np.ndarray | None = None,
    edge_voxels: bool = True,
    seed: int = 0,
) -> TinyNSD:
    """Write the tree; pictures x 3 repeats fill the planned sessions exactly.

    ``edge_voxels``: one voxel of nsdgeneral is constant, another runs into the limits of int16.
    """
    rng = np.random.default_rng(seed)
    planned = sessions_planned * trials_per_session
    n_list = planned // 3
    shared = np.sort(rng.choice(catalogue, n_shared, replace=False))
    rest = rng.permutation(np.setdiff1d(np.arange(catalogue), shared))
    val = np.array([i for i in rest if _hashed_tenth(i)])
    train = np.array([i for i in rest if not _hashed_tenth(i)])
    own = n_list - n_shared
    subjectim = np.zeros((8, n_list), dtype=np.int64)
    for s in range(8):  # only two subjects are ever read: ids may be shared among the others
        n_val = max(3, own // 10)
        tail = np.r_[np.roll(val, -s * n_val)[:n_val], np.roll(train, -s * own)[: own - n_val]]
        subjectim[s] = np.r_[shared, rng.permutation(tail)]
    ordering = rng.permutation(np.repeat(np.arange(n_list), 3))
    _write_design(root, ordering, subjectim, shared, sessions_planned, trials_per_session)
    _write_catalogue(root, ordering, subjectim, shared, catalogue, rng)
    _write_stimuli(root, catalogue, rng)

    if nsdgeneral is None:
        nsdgeneral = rng.choice([-1, 0, 1], size=box, p=[0.2, 0.25, 0.55])
    constant = tuple(int(i) for i in np.argwhere(nsdgeneral > 0)[7]) if edge_voxels else None
    signal = rng.standard_normal((catalogue, *box))
    ids, volumes = {}, {}
    for s, n_sessions in enumerate(sessions_run):
        subject = f"subj{s + 1:02d}"
        n_run = n_sessions * trials_per_session
        ids[subject] = subjectim[s, ordering[:n_run]]
        psc = 1 + 0.9 * (signal[ids[subject]] + rng.standard_normal((n_run, *box))) / np.sqrt(2)
        volume = np.clip(np.round(psc * 300), -32768, 32767).astype(np.int16)
        if constant is not None:
            volume[(slice(None), *constant)] = 250
            clipped = tuple(np.argwhere(nsdgeneral > 0)[11])
            volume[(3, *clipped)], volume[(4, *clipped)] = 32767, -32768
        volumes[subject] = volume
        _write_responses(root, subject, ids[subject], ordering, trials_per_session)
        _write_betas(root, subject, volume, trials_per_session, hdf5, nifti)
        _write_rois(root, subject, nsdgeneral, rng)
    return TinyNSD(root, ids, volumes, nsdgeneral, constant, shared, catalogue, trials_per_session)


def _hashed_tenth(nsd_id) -> bool:
    return int.from_bytes(blake2b(str(int(nsd_id)).encode(), digest_size=8).digest(), "big") % 10 == 0


def _write_design(root, ordering, subjectim, shared, sessions, trials):
    path = root / "nsddata/experiments/nsd"
    path.mkdir(parents=True)
    basiccnt = np.zeros((3, sessions))
    for k in range(sessions):
        _, counts = np.unique(ordering[k * trials : (k + 1) * trials], return_counts=True)
        basiccnt[:, k] = [(counts == n).sum() for n in (1, 2, 3)]
    pattern = np.zeros((sessions, 2, trials), dtype=np.uint8)
    pattern[:, :, : trials // 2] = 1
    arrays = {
        "masterordering": (ordering + 1)[None].astype(np.uint16),
        "subjectim": (subjectim + 1).astype(np.uint32),
        "sharedix": (shared + 1)[None].astype(np.uint32),
        "basiccnt": basiccnt,
        "stimpattern": pattern,
    }
    savemat(path / "nsd_expdesign.mat", arrays, do_compression=True)


def _write_catalogue(root, ordering, subjectim, shared, catalogue, rng):
    header = ["", "cocoId", "cocoSplit", "cropBox", "loss", "nsdId", "flagged", "BOLD5000", "shared1000"]
    header += [f"subject{s}" for s in range(1, 9)]
    header += [f"subject{s}_rep{k}" for s in range(1, 9) for k in range(3)]
    shown = np.zeros((catalogue, 8, 3), dtype=int)
    for s in range(8):
        for position in range(subjectim.shape[1]):
            shown[subjectim[s, position], s] = np.flatnonzero(ordering == position) + 1
    coco = rng.permutation(581_000)[:catalogue]
    with open(root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv", "w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(header)
        for i in range(catalogue):
            split = "val2017" if i % 9 == 0 else "train2017"
            row = [i, coco[i], split, "(0, 0, 0.125, 0.125)", 0.1, i, False, i % 50 == 0, i in shared]
            rows.writerow([*row, *(int(shown[i, s, 0] > 0) for s in range(8)), *shown[i].ravel()])


def _write_stimuli(root, catalogue, rng):
    path = root / "nsddata_stimuli/stimuli/nsd"
    path.mkdir(parents=True)
    with h5py.File(path / "nsd_stimuli.hdf5", "w") as handle:
        handle["imgBrick"] = rng.integers(0, 256, (catalogue, 7, 7, 3), dtype=np.uint8)


def _write_responses(root, subject, nsd_ids, ordering, trials):
    header = "SUBJECT SESSION RUN TRIAL 73KID 10KID TIME ISOLD ISCORRECT RT CHANGEMIND MEMORYRECENT MEMORYFIRST"
    header += " ISOLDCURRENT ISCORRECTCURRENT TOTAL1 TOTAL2 BUTTON MISSINGDATA"
    path = root / f"nsddata/ppdata/{subject}/behav"
    path.mkdir(parents=True)
    with open(path / "responses.tsv", "w") as handle:
        handle.write("\t".join(header.split()) + "\n")
        for t, nsd_id in enumerate(nsd_ids):
            session, row = divmod(t, trials)
            run, trial = divmod(row, trials // 2)
            fields = [int(subject[4:]), session + 1, run + 1, trial + 1, nsd_id + 1, ordering[t] + 1, 0.5 + t / 1e4]
            rest = (
                "0\tNaN\tNaN\tNaN\tNaN\tNaN\t0\tNaN\t0\t0\tNaN\t1"
                if t % 5 == 0
                else "0\t1\t803.5\t0\tNaN\tNaN\t0\t1\t1\t0\t1\t0"
            )
            handle.write("\t".join(str(f) for f in fields) + "\t" + rest + "\n")


def _write_betas(root, subject, volume, trials, hdf5, nifti):
    path = root / f"nsddata_betas/ppdata/{subject}/func1pt8mm/{B3}"
    path.mkdir(parents=True)
    for session in range(len(volume) // trials):
        part = volume[session * trials : (session + 1) * trials]
        if hdf5:
            with h5py.File(path / f"betas_session{session + 1:02d}.hdf5", "w") as handle:
                axes = part.transpose(0, 3, 2, 1)  # (T, Z, Y, X), as MATLAB's (X, Y, Z, T) looks from C
                handle.create_dataset("betas", data=axes, chunks=(trials, 1, 1, 1))
        if nifti:
            image = nibabel.Nifti1Image(part.transpose(1, 2, 3, 0), np.diag([1.8, 1.8, 1.8, 1]))
            nibabel.save(image, path / f"betas_session{session + 1:02d}.nii.gz")
    ncsnr = np.abs(np.random.default_rng(5).normal(0.5, 0.2, volume.shape[1:])).astype(np.float32)
    ncsnr[0] = np.nan
    nibabel.save(nibabel.Nifti1Image(ncsnr, np.eye(4)), path / "ncsnr.nii.gz")


def _write_rois(root, subject, nsdgeneral, rng):
    path = root / f"nsddata/ppdata/{subject}/func1pt8mm/roi"
    path.mkdir(parents=True)
    cortex = nsdgeneral >= 0
    visual = np.where(cortex, rng.integers(0, 8, nsdgeneral.shape), -1)
    left = np.where(np.arange(nsdgeneral.shape[0])[:, None, None] < 3, nsdgeneral, -1)
    volumes = {
        "nsdgeneral": nsdgeneral,
        "lh.nsdgeneral": left,
        "rh.nsdgeneral": np.where(left == nsdgeneral, -1, nsdgeneral),
        "prf-visualrois": visual,
        "floc-faces": np.where(cortex, 0, -1),
    }
    for name, volume in volumes.items():
        nibabel.save(nibabel.Nifti1Image(volume.astype(np.int16), np.eye(4)), path / f"{name}.nii.gz")
