"""Build a beta store: plan, read session by session, move into place."""

from __future__ import annotations

import json
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.like import LIKE
from fmri_lightning.betas.partial import PartialStore, SessionRecord
from fmri_lightning.betas.reliability import compare_ncsnr, estimate_ncsnr
from fmri_lightning.betas.rows import n_repeated_stimuli, stimulus_rows
from fmri_lightning.betas.sessions import SessionWork, write_sessions
from fmri_lightning.betas.source import BetaSource
from fmri_lightning.betas.sources import open_source
from fmri_lightning.betas.store import BetaStore, require_few_bad, store_hash, write_npz
from fmri_lightning.errors import BadInputError, ResourceError, StageError
from fmri_lightning.index.table import index_manifest, read_index
from fmri_lightning.manifest import (
    Manifest,
    atomic_path,
    content_hash,
    file_fingerprint,
    file_sha256,
    write_json,
    write_manifest,
)
from fmri_lightning.progress import track
from fmri_lightning.records import TrialTable

BUILDING = ".building"
T0_TEXT = "z-score per voxel and session, ddof 0, from the session's train trials"
T0_OF_ITS_OWN = (
    "z-score per voxel and session, ddof 0, from the session's own trials: prediction only, T0 is transductive"
)
T0_SKIPPED = "skipped: the index says that the betas come normalised"


@dataclass(frozen=True)
class StorePlan:
    """Everything that decides a store's bytes, checked before any beta is read.

    Attributes:
        table: Trials of the index.
        source: Betas, mask and voxel columns.
        dtype: "float32" or "float16".
        normalised: The betas come normalised: T0 is skipped.
        inputs: Hashes of the index, the split and every session file.
        config: Settings, for the manifest.
    """

    table: TrialTable
    source: BetaSource
    dtype: str
    normalised: bool
    inputs: dict[str, str]
    config: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int]:
        """(n_trials, n_voxels)."""
        return len(self.table), len(self.source.ijk)

    @property
    def n_bytes(self) -> int:
        """Size of the array."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def bytes_to_read(self) -> int:
        """Bytes of the session files that will be read."""
        return sum(self.source.bytes_of(session) for session in self.source.files)

    @property
    def fingerprint(self) -> str:
        """Hash of what decides the bytes."""
        return content_hash(json.dumps(self.inputs, sort_keys=True), self.settings)

    @property
    def settings(self) -> str:
        """Hash of what decides the bytes but for the session files."""
        deciding = {"subject": self.config["subject"], "dtype": self.dtype, "normalised": self.normalised}
        ids = {name: self.inputs[name] for name in ("index", "split")}
        return content_hash(
            json.dumps([ids, deciding, self.source.facts], sort_keys=True),
            self.source.ijk,
            *(part for name, column in sorted(self.source.voxel_columns.items()) for part in (name, column)),
        )

    def _fingerprint_of(self, session: int) -> str:
        found = [self.inputs[_name(path, self.config["root"])] for path in self.source.paths(session)]
        return found[0] if len(found) == 1 else content_hash(*found)

    def work_on(self, session: int) -> SessionWork:
        """Describe the reading of one session."""
        rows = np.flatnonzero(self.table.session == session)
        return SessionWork(
            source=self.source,
            session=session,
            fingerprint=self._fingerprint_of(session),
            rows=rows,
            beta_index=self.table.beta_index[rows],
            is_train=self.table.split[rows] == "train",
            normalised=self.normalised,
            dtype=self.dtype,
        )


def plan_store(
    index_root: Path,
    root: Path,
    subject: str,
    space: str,
    betas_version: str,
    roi: str,
    dtype: str,
    like: Path | None = None,
) -> StorePlan:
    """Check all inputs of a store and list what will be read; writes nothing.

    Args:
        index_root: Folder of the indices.
        root: Root of the data that the index was made from.
        subject: For instance "subj01".
        space: "func1pt8mm", "func1mm" or "fsaverage"; official tree only.
        betas_version: "b1", "b2", "b3" or a folder name; official tree only.
        roi: Region whose voxels are kept (label above 0).
        dtype: "float32" or "float16".
        like: Training store whose voxels are read, for an index that is prediction only.

    Returns:
        The plan.

    Raises:
        BadInputError: If the index, a session file or a region is missing, damaged, or of another shape.
    """
    manifest, table = index_manifest(index_root, subject), read_index(index_root, subject)
    source = open_source(manifest, table, root, subject, space, betas_version, roi, like)
    normalised = bool(manifest.config.get("normalised", False))
    return StorePlan(
        table=table,
        source=source,
        dtype=dtype,
        normalised=normalised,
        inputs={
            "index": manifest.content_hash,
            "split": manifest.config["split_hash"],
            **{_name(path, root): _fingerprint(path) for path in source.all_paths},
        },
        config={
            "source": manifest.config.get("source", "nsd"),
            "subject": subject,
            "dtype": dtype,
            "root": root.as_posix(),
            **source.facts,
            "unit": source.unit,
            "n_trials": len(table),
            "n_voxels": len(source.ijk),
            "n_sessions": len(source.files),
            "simulated": (root / "SIMULATED.json").is_file(),
        },
    )


def _name(path: Path, root: Path | str) -> str:
    return path.relative_to(root).as_posix()


def _fingerprint(path: Path) -> str:
    found = file_fingerprint(path)
    return f"{found['size']}:{found['head_tail_sha256']}"


def hash_files(plan: StorePlan) -> dict[str, str]:
    """Hash every session file in full, by its name relative to the data root."""
    paths = plan.source.all_paths
    return {_name(path, plan.config["root"]): file_sha256(path) for path in track(paths, "hashing files", len(paths))}


def build_store(plan: StorePlan, folder: Path, jobs: int = 1, whole_files: bool = False) -> BetaStore:
    """Read, standardise and write a planned store, going on where an earlier run of the same plan stopped.

    Args:
        plan: From :func:`plan_store`.
        folder: Where the store goes; the caller holds its lock.
        jobs: Processes that read sessions.
        whole_files: Record a hash of every session file in full.

    Returns:
        The finished store.

    Raises:
        BadInputError: If files are damaged (finished sessions are kept for the next run) or more than 1 % of the
            voxels carry no signal.
        ResourceError: If the disk is too small.
    """
    _require_space(plan, folder)
    partial = PartialStore(folder / BUILDING, plan.settings, plan.shape, plan.dtype)
    found, kept = _read_sessions(plan, partial, jobs)
    try:
        bad = np.any([record.statistics.bad for record in found.values()], axis=0)
        require_few_bad(bad, f"{plan.config['subject']} {plan.config['roi']}")
    except StageError:
        partial.discard()
        raise
    partial.drop_voxels(bad)
    manifest = _finish(plan, partial, found, bad, folder)
    if whole_files:
        manifest.config["file_sha256"] = hash_files(plan)
    _write_times(folder, found, kept, plan, jobs)
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


def _read_sessions(
    plan: StorePlan, partial: PartialStore, jobs: int
) -> tuple[dict[int, SessionRecord], frozenset[int]]:
    """Read every session that has no record yet; return all records in order, and which were kept."""
    work = {session: plan.work_on(session) for session in plan.source.files}
    found = {s: record for s, w in work.items() if (record := partial.finished(s, w.fingerprint)) is not None}
    kept = frozenset(found)
    todo = [w for s, w in work.items() if s not in found]
    damaged: dict[int, StageError] = {}
    for session, result in track(write_sessions(todo, partial, jobs), "reading betas", len(todo)):
        if isinstance(result, StageError):
            damaged[session] = result
            continue
        found[session] = result
        print(session_line(session, _file_names(plan, session), result))
    if damaged:
        first = damaged[min(damaged)]
        if not found:
            partial.discard()
            raise first
        others = "" if len(damaged) == 1 else f" (and {len(damaged) - 1} more sessions: {sorted(damaged)[1:]})"
        raise BadInputError(f"{first}{others}; {len(found)} finished sessions are kept, the same command goes on")
    return dict(sorted(found.items())), kept


def _file_names(plan: StorePlan, session: int) -> str:
    return ", ".join(path.name for path in plan.source.paths(session))


def session_line(session: int, name: str, record: SessionRecord) -> str:
    """Say what a session cost, in one line."""
    return f"session {session:02d}: {record.bytes_read / 1e6:.1f} MB of {name} in {record.read_s:.2f} s"


def _finish(
    plan: StorePlan,
    partial: PartialStore,
    found: dict[int, SessionRecord],
    bad: NDArray[np.bool_],
    folder: Path,
) -> Manifest:
    """Write what lies beside the array and move the array into place; the manifest is the caller's last step."""
    # An older manifest must not vouch for newer files.
    (folder / "manifest.json").unlink(missing_ok=True)
    statistics = {session: record.statistics for session, record in found.items()}
    fitted_on = np.zeros(len(plan.table), dtype=bool)
    for session, of_session in statistics.items():
        fitted_on[plan.table.session == session] = of_session.fitted_on
    transductive = np.array([of_session.transductive for of_session in statistics.values()])
    write_npz(
        folder / "t0.npz",
        sessions=np.array(list(found), dtype=np.int16),
        mean=np.stack([of_session.mean for of_session in statistics.values()]),
        std=np.stack([of_session.std for of_session in statistics.values()]),
        fitted_on=fitted_on,
        transductive=transductive,
    )
    betas = partial.betas
    ncsnr = train_ncsnr(betas, plan.table)
    _write_voxels(plan, ncsnr, bad, folder / "voxels.parquet")
    rounding = [(record.rounding_rms, record.rounding_max) for record in found.values()]
    manifest = Manifest(
        kind="betas",
        content_hash=store_hash(betas, plan.source.ijk, plan.source.voxel_columns.get("vertex")),
        inputs=plan.inputs,
        config={
            **plan.config,
            "n_dropped": int(bad.sum()),
            "transductive_sessions": np.array(list(found))[transductive].tolist(),
            "t0": T0_OF_ITS_OWN if LIKE in plan.config and not plan.normalised else _t0_text(plan),
            "t0_trials": content_hash(plan.table.global_trial[fitted_on]),
            "rounding_rms_sd": float(np.sqrt(np.mean([rms**2 for rms, _ in rounding]))),
            "rounding_max_sd": max(largest for _, largest in rounding),
            "ncsnr": compare_ncsnr(
                ncsnr, plan.source.voxel_columns["ncsnr_published"], ~bad, n_repeated_stimuli(plan.table)
            ),
            "plan": plan.fingerprint,
        },
    )
    del betas
    os.replace(partial.array_path, folder / "betas.npy")
    return manifest


def _t0_text(plan: StorePlan) -> str:
    if not plan.normalised:
        return T0_TEXT
    arrived_as = plan.source.facts.get("arrived_as")
    return T0_SKIPPED if arrived_as is None else f"skipped, the betas arrived as: {arrived_as}"


def _write_times(
    folder: Path, found: dict[int, SessionRecord], kept: frozenset[int], plan: StorePlan, jobs: int
) -> None:
    """Write run.json, the only file that may differ between two equal stores."""
    sessions = [
        {
            "session": session,
            "file": _file_names(plan, session),
            "bytes_read": record.bytes_read,
            "read_s": record.read_s,
            "kept_from_an_earlier_run": session in kept,
        }
        for session, record in found.items()
    ]
    write_json(folder / "run.json", {"host": platform.node(), "jobs": jobs, "sessions": sessions})


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

    ijk = plan.source.ijk
    columns: dict[str, NDArray[Any]] = {axis: ijk[:, n].astype(np.int16) for n, axis in enumerate("ijk")}
    columns |= {"ncsnr": ncsnr, "dropped": bad, **plan.source.voxel_columns}
    with atomic_path(path) as temporary:
        pq.write_table(pa.table({k: pa.array(v) for k, v in columns.items()}), temporary, write_page_checksum=True)
