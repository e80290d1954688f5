"""Build a beta store: plan, read session by session, move into place."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.reader import find_session_file, read_shape, read_voxels
from fmri_lightning.betas.reliability import estimate_ncsnr
from fmri_lightning.betas.roi import labels_at, mask_voxels, published_ncsnr
from fmri_lightning.betas.rows import stimulus_rows
from fmri_lightning.betas.store import BetaStore, PartialStore, require_few_bad, store_hash, write_npz
from fmri_lightning.betas.t0 import SessionStatistics, apply_t0, session_statistics
from fmri_lightning.errors import BadInputError, ResourceError, StageError
from fmri_lightning.index.nsd import beta_folder, find_subject
from fmri_lightning.index.table import index_manifest, read_index
from fmri_lightning.manifest import Manifest, atomic_path, content_hash, file_fingerprint, write_manifest
from fmri_lightning.progress import track
from fmri_lightning.records import TrialTable

BUILDING = ".building"


@dataclass(frozen=True)
class StorePlan:
    """Everything that decides a store's bytes, checked before any beta is read.

    Attributes:
        table: Trials of the index.
        files: Session file per 1-based session number.
        ijk: Voxels of the mask, int32 (n_voxels, 3).
        voxel_columns: Further columns of voxels.parquet: published ncsnr and labels.
        dtype: "float32" or "float16".
        inputs: Hashes of the index, the split and every session file.
        config: Settings, for the manifest.
    """

    table: TrialTable
    files: dict[int, Path]
    ijk: NDArray[np.int32]
    voxel_columns: dict[str, NDArray[Any]]
    dtype: str
    inputs: dict[str, str]
    config: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int]:
        """(n_trials, n_voxels)."""
        return len(self.table), len(self.ijk)

    @property
    def n_bytes(self) -> int:
        """Size of the array."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def fingerprint(self) -> str:
        """Hash of what decides the bytes."""
        deciding = {key: self.config[key] for key in ("subject", "space", "betas_version", "roi", "dtype")}
        return content_hash(json.dumps([self.inputs, deciding], sort_keys=True), self.ijk)


def plan_store(
    index_root: Path, root: Path, subject: str, space: str, betas_version: str, roi: str, dtype: str
) -> StorePlan:
    """Check all inputs of a store and list what will be read; writes nothing.

    Args:
        index_root: Folder of the indices.
        root: Folder that contains ``nsddata/`` and ``nsddata_betas/``.
        subject: For instance "subj01".
        space: "func1pt8mm" or "func1mm".
        betas_version: "b1", "b2", "b3" or a folder name.
        roi: Region whose voxels are kept (label above 0).
        dtype: "float32" or "float16".

    Returns:
        The plan.

    Raises:
        BadInputError: If the index, a session file or a region is missing, damaged, or of another shape.
    """
    manifest, table = index_manifest(index_root, subject), read_index(index_root, subject)
    find_subject(root, subject)
    ijk, box = mask_voxels(root, subject, space, roi)
    folder = root / beta_folder(subject, space, betas_version)
    if not folder.is_dir():
        present = sorted(path.name for path in folder.parent.glob("*") if path.is_dir())
        raise BadInputError(f"no betas in {folder}; versions present: {', '.join(present) or 'none'}")
    files = {s: find_session_file(folder, s) for s in np.unique(table.session).tolist()}
    for session, path in files.items():
        _check_session(path, box, int(table.beta_index[table.session == session].max()) + 1)
    published = published_ncsnr(folder, ijk, box)
    columns: dict[str, NDArray[Any]] = {
        "ncsnr_published": np.full(len(ijk), np.nan, dtype=np.float32) if published is None else published
    }
    columns |= {f"roi.{name}": labels for name, labels in labels_at(root, subject, space, ijk, box).items()}
    return StorePlan(
        table=table,
        files=files,
        ijk=ijk,
        voxel_columns=columns,
        dtype=dtype,
        inputs={
            "index": manifest.content_hash,
            "split": manifest.config["split_hash"],
            **{path.name: _fingerprint(path) for path in files.values()},
        },
        config={
            "subject": subject,
            "space": space,
            "betas_version": betas_version,
            "roi": roi,
            "dtype": dtype,
            "root": root.as_posix(),
            "volume_shape": list(box),
            "n_trials": len(table),
            "n_voxels": len(ijk),
            "n_sessions": len(files),
            "has_published_ncsnr": published is not None,
            "simulated": (root / "SIMULATED.json").is_file(),
        },
    )


def _check_session(path: Path, box: tuple[int, ...], trials: int) -> None:
    shape = read_shape(path)
    if shape[1:] != tuple(box):
        raise BadInputError(f"{path} has volumes of {shape[1:]}, the region is {tuple(box)}; they are not of one space")
    if shape[0] < trials:
        raise BadInputError(f"{path} has {shape[0]} trials, the index lists {trials}; download it again")


def _fingerprint(path: Path) -> str:
    found = file_fingerprint(path)
    return f"{found['size']}:{found['head_tail_sha256']}"


def build_store(plan: StorePlan, folder: Path) -> BetaStore:
    """Read, standardise and write a planned store, going on where an earlier run of the same plan stopped.

    Args:
        plan: From :func:`plan_store`.
        folder: Where the store goes; the caller holds its lock.

    Returns:
        The finished store.

    Raises:
        BadInputError: If a file is damaged or more than 1 % of the voxels carry no signal; nothing is left behind.
        ResourceError: If the disk is too small.
    """
    _require_space(plan, folder)
    partial = PartialStore(folder / BUILDING, json.dumps(plan.fingerprint), plan.shape, plan.dtype)
    try:
        found = {s: _session(plan, partial, s) for s in track(plan.files, "reading betas", len(plan.files))}
        bad = np.any([statistics.bad for statistics in found.values()], axis=0)
        require_few_bad(bad, f"{plan.config['subject']} {plan.config['roi']}")
        partial.drop_voxels(bad)
        manifest = _finish(plan, partial, found, bad, folder)
    except StageError:
        partial.discard()
        raise
    write_manifest(folder, manifest)
    partial.discard()
    return BetaStore.open(folder)


def _require_space(plan: StorePlan, folder: Path) -> None:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    started = folder / BUILDING / "betas.npy"
    needed = plan.n_bytes - (started.stat().st_size if started.is_file() else 0)
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise ResourceError(f"{existing} has {free / 1e9:.1f} GB free, the betas need {needed / 1e9:.1f} GB more")


def _session(plan: StorePlan, partial: PartialStore, session: int) -> SessionStatistics:
    finished = partial.finished(session)
    if finished is not None:
        return finished
    rows = np.flatnonzero(plan.table.session == session)
    betas = read_voxels(plan.files[session], plan.ijk)[plan.table.beta_index[rows]]
    statistics = session_statistics(betas, plan.table.split[rows] == "train")
    require_few_bad(statistics.bad, str(plan.files[session]))
    partial.write(session, rows, apply_t0(betas, statistics), statistics)
    return statistics


def _finish(
    plan: StorePlan,
    partial: PartialStore,
    found: dict[int, SessionStatistics],
    bad: NDArray[np.bool_],
    folder: Path,
) -> Manifest:
    """Write what lies beside the array and move the array into place; the manifest is the caller's last step."""
    # An older manifest must not vouch for newer files.
    (folder / "manifest.json").unlink(missing_ok=True)
    fitted_on = np.zeros(len(plan.table), dtype=bool)
    for session, statistics in found.items():
        fitted_on[plan.table.session == session] = statistics.fitted_on
    transductive = np.array([statistics.transductive for statistics in found.values()])
    write_npz(
        folder / "t0.npz",
        sessions=np.array(list(found), dtype=np.int16),
        mean=np.stack([statistics.mean for statistics in found.values()]),
        std=np.stack([statistics.std for statistics in found.values()]),
        fitted_on=fitted_on,
        transductive=transductive,
    )
    _write_voxels(plan, train_ncsnr(partial.betas, plan.table), bad, folder / "voxels.parquet")
    manifest = Manifest(
        kind="betas",
        content_hash=store_hash(partial.betas, plan.ijk),
        inputs=plan.inputs,
        config={
            **plan.config,
            "n_dropped": int(bad.sum()),
            "transductive_sessions": np.array(list(found))[transductive].tolist(),
            "t0": "z-score per voxel and session, ddof 0, from the session's train trials",
            "t0_trials": content_hash(plan.table.global_trial[fitted_on]),
            "plan": plan.fingerprint,
        },
    )
    os.replace(partial.array_path, folder / "betas.npy")
    return manifest


def train_ncsnr(betas: NDArray[np.floating], table: TrialTable) -> NDArray[np.float32]:
    """Estimate ncsnr from training trials.

    Args:
        betas: T0 betas of all trials of the index, (n_trials, n_voxels).
        table: The index.

    Returns:
        float32 (n_voxels,); NaN where no training picture is repeated.
    """
    train = np.flatnonzero(table.split == "train")
    groups = [train[rows] for rows in stimulus_rows(table.nsd_id[train])[1]]
    if not any(len(group) > 1 for group in groups):
        return np.full(betas.shape[1], np.nan, dtype=np.float32)
    return estimate_ncsnr(betas, groups).astype(np.float32)


def _write_voxels(plan: StorePlan, ncsnr: NDArray[np.float32], bad: NDArray[np.bool_], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, NDArray[Any]] = {axis: plan.ijk[:, n].astype(np.int16) for n, axis in enumerate("ijk")}
    columns |= {"ncsnr": ncsnr, "dropped": bad, **plan.voxel_columns}
    with atomic_path(path) as temporary:
        pq.write_table(pa.table({k: pa.array(v) for k, v in columns.items()}), temporary, write_page_checksum=True)
