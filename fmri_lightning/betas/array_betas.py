"""Betas of your own: .npy files of (trials, voxels), as the table of trials names them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.source import BetaSource
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.delimited import read_columns
from fmri_lightning.records import TrialTable

WHOLE = "all"
ORIGIN = "your own scans (voxels.tsv: i, j, k and one column of labels per region)"


@dataclass(frozen=True)
class ArrayBetas(BetaSource):
    """.npy files.

    Attributes:
        ijk: Positions of voxels.tsv, or -1, int32 (n_voxels, 3).
        voxel_columns: ncsnr_published (NaN) and the regions of voxels.tsv.
        files: .npy file per 1-based session.
        facts: roi.
        columns: Columns that are kept, (n_voxels,), ascending.
        row_bytes: Bytes of a row in each session's file.
        n_trials: Trials of each session.
    """

    unit: ClassVar[str] = "as given"
    columns: NDArray[np.int64]
    row_bytes: dict[int, int]
    n_trials: dict[int, int]

    def read(self, session: int, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Read the kept voxels in some trials, in the unit they came in, float32 (n, n_voxels)."""
        betas = open_npy(self.files[session])
        return np.ascontiguousarray(betas[rows][:, self.columns], dtype=np.float32)

    def take(self, columns: NDArray[np.integer]) -> Self:
        """Return the source of some voxels only."""
        return replace(super().take(columns), columns=self.columns[columns])

    def bytes_of(self, session: int) -> int:
        """Say how many bytes of its file a session costs: whole rows are read."""
        return self.row_bytes[session] * self.n_trials[session]


def open_array_betas(table: TrialTable, root: Path, subject: str, roi: str) -> ArrayBetas:
    """Check the arrays that a table of trials names; reads no beta.

    Args:
        table: The index.
        root: Folder that holds the subject's folder.
        subject: Name of that folder.
        roi: "all" for every column, or a region of voxels.tsv (label above 0).

    Returns:
        The source.

    Raises:
        BadInputError: If a file is missing, damaged, needs pickling, or has another shape.
    """
    files, row_bytes, n_trials, widths = {}, {}, {}, {}
    for session in np.unique(table.session).tolist():
        rows = table.session == session
        path = root / str(table.beta_path[rows][0])
        betas = open_npy(path)
        last = int(table.beta_index[rows].max())
        if last >= len(betas):
            raise BadInputError(f"{path} has {len(betas)} rows, trials.tsv names row {last}; rows count from 0")
        files[session], n_trials[session] = path, int(rows.sum())
        row_bytes[session], widths[path] = betas.dtype.itemsize * betas.shape[1], betas.shape[1]
    if len(set(widths.values())) > 1:
        found = ", ".join(f"{path.name} {width}" for path, width in widths.items())
        raise BadInputError(f"the betas of {subject} differ in voxels: {found}; give one mask for all sessions")
    n_columns = next(iter(widths.values()))
    ijk, regions = _read_voxels(root / subject / "voxels.tsv", n_columns)
    masks = {WHOLE: np.ones(n_columns, dtype=bool), **{name: labels > 0 for name, labels in regions.items()}}
    if roi not in masks:
        raise BadInputError(f"no region {roi!r} of {subject}; --roi takes {', '.join(masks)}")
    columns = np.flatnonzero(masks[roi])
    if not len(columns):
        raise BadInputError(f"region {roi!r} of {subject} is empty (no label above 0); choose another --roi")
    voxel_columns: dict[str, NDArray[Any]] = {"ncsnr_published": np.full(len(columns), np.nan, dtype=np.float32)}
    voxel_columns |= {f"roi.{name}": labels[columns].astype(np.int16) for name, labels in regions.items()}
    facts = {"roi": roi, "has_published_ncsnr": False}
    return ArrayBetas(ijk[columns], voxel_columns, files, facts, columns, row_bytes, n_trials)


def open_npy(path: Path) -> NDArray[Any]:
    """Map an array of betas.

    Args:
        path: An .npy file of numbers.

    Returns:
        (trials, voxels), memory-mapped.

    Raises:
        BadInputError: If it is missing, damaged, needs pickling, or is no table of real numbers.
    """
    if not path.is_file():
        kind = "is a folder, not a file" if path.is_dir() else "is missing"
        raise BadInputError(f"{path} {kind}; trials.tsv names it in the column betas")
    try:
        betas: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInputError(
            f"{path} cannot be read as an array of numbers ({error}); save it with numpy.save from a float array"
        ) from error
    if not isinstance(betas, np.ndarray) or betas.ndim != 2 or betas.dtype.kind not in "fiu":
        found = f"{betas.dtype} {betas.shape}" if isinstance(betas, np.ndarray) else "an archive of arrays"
        raise BadInputError(f"{path} is {found}, expected numbers (trials, voxels)")
    return betas


def _read_voxels(path: Path, n_columns: int) -> tuple[NDArray[np.int32], dict[str, NDArray[np.int64]]]:
    """Read positions and regions, where there are any."""
    if not path.exists():
        return np.full((n_columns, 3), -1, dtype=np.int32), {}
    with open(path, encoding="utf-8") as handle:
        names = tuple(handle.readline().rstrip("\n").split("\t"))
    columns = read_columns(path, ("i", "j", "k"), "\t", ORIGIN, names)
    try:
        numbers = {name: np.array([int(text) for text in column], dtype=np.int64) for name, column in columns.items()}
    except ValueError as error:
        raise BadInputError(f"{path}: {error}; every column holds whole numbers") from error
    if len(numbers["i"]) != n_columns:
        raise BadInputError(f"{path} has {len(numbers['i'])} voxels, the betas have {n_columns} columns")
    ijk = np.stack([numbers.pop(axis) for axis in "ijk"], axis=1).astype(np.int32)
    return ijk, numbers
