"""A beta store being written: the array, and one record per finished session."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.store import write_npz
from fmri_lightning.betas.t0 import SessionStatistics
from fmri_lightning.manifest import atomic_path

_STATISTICS = ("mean", "std", "bad", "fitted_on", "transductive")


@dataclass(frozen=True)
class SessionRecord:
    """What is kept of a finished session.

    Attributes:
        statistics: Of T0.
        fingerprint: Of the file it was read from.
        bytes_read: Of that file.
        read_s: Seconds from opening the file to rows on disk.
        rounding_rms: Root mean square of what the store's number type rounded away, standard deviations.
        rounding_max: The largest of it.
    """

    statistics: SessionStatistics
    fingerprint: str
    bytes_read: int
    read_s: float
    rounding_rms: float
    rounding_max: float


class PartialStore:
    """A store being written; a run that was cut off anywhere goes on with the sessions that have no record.

    A record is written after its rows have reached the disk, and names the file it came from: a session whose file
    was replaced is read again, the others stay. A folder of another plan is thrown away: it holds nothing but
    derived numbers. Sessions may be written by several processes at once.

    Args:
        folder: Where the work lies until it is moved into place.
        plan: What decides the bytes but for the session files.
        shape: (n_trials, n_voxels).
        dtype: "float32" or "float16".
    """

    def __init__(self, folder: Path, plan: str, shape: tuple[int, int], dtype: str) -> None:
        self.folder = folder
        self.array_path = folder / "betas.npy"
        plan_path = folder / "plan.txt"
        same = plan_path.is_file() and plan_path.read_text(encoding="utf-8") == plan and self.array_path.is_file()
        if not same:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            np.lib.format.open_memmap(self.array_path, mode="w+", dtype=dtype, shape=shape).flush()
            with atomic_path(plan_path) as temporary:
                temporary.write_text(plan, encoding="utf-8")

    @property
    def betas(self) -> NDArray[np.floating]:
        """The array, mapped anew: what is dropped takes no memory any more."""
        return np.lib.format.open_memmap(self.array_path, mode="r+")

    def finished(self, session: int, fingerprint: str) -> SessionRecord | None:
        """Return the record of a session of that file, or None where it must be read."""
        path = self._record(session)
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["fingerprint"]) != fingerprint:
                return None
            plain = {name: arrays[name] for name in _STATISTICS}
            statistics = SessionStatistics(**{**plain, "transductive": bool(plain["transductive"])})
            numbers = {name: arrays[name].item() for name in ("bytes_read", "read_s", "rounding_rms", "rounding_max")}
            return SessionRecord(statistics, fingerprint, **numbers)

    def write_rows(self, session: int, rows: NDArray[np.int64], z: NDArray[np.floating]) -> None:
        """Write one session's rows to disk; an older record of it goes first."""
        self._record(session).unlink(missing_ok=True)
        betas = np.lib.format.open_memmap(self.array_path, mode="r+")
        betas[rows] = z
        betas.flush()

    def write_record(self, session: int, record: SessionRecord) -> None:
        """Say that a session's rows are whole."""
        plain = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
        statistics = plain.pop("statistics")
        plain |= {name: getattr(statistics, name) for name in _STATISTICS}
        write_npz(self._record(session), **{name: np.asarray(value) for name, value in plain.items()})

    def drop_voxels(self, bad: NDArray[np.bool_]) -> None:
        """Set the columns of bad voxels to 0 in all sessions."""
        if bad.any():
            betas = np.lib.format.open_memmap(self.array_path, mode="r+")
            betas[:, bad] = 0
            betas.flush()

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _record(self, session: int) -> Path:
        return self.folder / f"session{session:02d}.npz"
