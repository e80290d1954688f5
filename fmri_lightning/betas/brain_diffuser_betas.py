"""Betas of brain-diffuser's arrays: a row a picture, averaged over its repeats, memory-mapped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.source import BetaSource
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.brain_diffuser import (
    PARTS,
    PROCESSED,
    array_file,
    read_brain_diffuser_tables,
)
from fmri_lightning.index.brain_diffuser_trials import ARRIVED_AS
from fmri_lightning.index.curated import open_array
from fmri_lightning.records import TrialTable

WHOLE = "nsdgeneral"
STORED_PER_PSC = np.float32(300)
_ROWS_PER_BLOCK = 256


@dataclass(frozen=True)
class BrainDiffuserBetas(BetaSource):
    """The two arrays of one subject.

    Attributes:
        ijk: -1, int32 (n_voxels, 3): the arrays hold no positions.
        voxel_columns: ncsnr_published (NaN) and the region nsdgeneral, 1.
        files: The folder of both arrays, as session 1.
        facts: roi, and what was done to the numbers before.
        columns: Columns that are kept, (n_voxels,), ascending.
        arrays: The files of train and of test; rows count through both.
        row_bytes: Bytes of a row.
        n_rows: Rows of both.
    """

    unit: ClassVar[str] = "percent signal change, mean over repeats"
    columns: NDArray[np.int64]
    arrays: tuple[Path, Path]
    row_bytes: int
    n_rows: int

    def paths(self, session: int) -> tuple[Path, ...]:
        """Name the arrays of train and of test."""
        return tuple(self.arrays)

    def read(self, session: int, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Read the kept voxels of some pictures, percent signal change, float32 (n, n_voxels).

        A voxel may be not finite in all pictures, and is then dropped as one without signal; in some only it is damage.
        """
        betas = np.empty((len(rows), len(self.columns)), dtype=np.float32)
        start = 0
        for path in self.arrays:
            array = open_array(path, "an array of brain-diffuser")
            here = np.flatnonzero((rows >= start) & (rows < start + len(array)))
            for first in range(0, len(here), _ROWS_PER_BLOCK):
                some = here[first : first + _ROWS_PER_BLOCK]
                betas[some] = array[rows[some] - start][:, self.columns]
            start += len(array)
        betas /= STORED_PER_PSC
        finite = np.isfinite(betas)
        torn = np.flatnonzero((~finite & finite.any(axis=0)).any(axis=1))
        if len(torn):
            row = int(np.asarray(rows)[torn[0]])
            raise BadInputError(
                f"{self.files[session]}: the betas of {len(torn)} pictures hold NaN or infinity, first row {row} of "
                "train and test counted through; make the arrays again"
            )
        return betas

    def take(self, columns: NDArray[np.integer]) -> Self:
        """Return the source of some voxels only."""
        return replace(super().take(columns), columns=self.columns[columns])

    def bytes_of(self, session: int) -> int:
        """Say how many bytes of the files are read: whole rows."""
        return self.row_bytes * self.n_rows


def open_brain_diffuser_betas(table: TrialTable, root: Path, subject: str, roi: str) -> BrainDiffuserBetas:
    """Map both arrays and check that their rows are those of the index; reads no beta.

    Args:
        table: The index.
        root: Folder that holds ``processed_data`` and ``nsddata``.
        subject: For instance "subj01".
        roi: "nsdgeneral", all columns; the arrays name no other region.

    Returns:
        The source.

    Raises:
        BadInputError: If a file is missing or damaged, or its rows are not those of the index.
    """
    if roi != WHOLE:
        raise BadInputError(
            f"no region {roi!r} in brain-diffuser's arrays; they hold {WHOLE} as a whole: --roi {WHOLE}"
        )
    tables = read_brain_diffuser_tables(root, subject)
    ids = np.concatenate([tables.ids[part] for part in PARTS])
    if not np.array_equal(ids, table.nsd_id):
        raise BadInputError(
            f"the arrays of {subject} in {root / PROCESSED} are not those that the index was made from; make it again "
            f"with: fmri-lightning index --source brain_diffuser --subject {subject} --overwrite true"
        )
    train = tables.betas["train"]
    n_columns = train.shape[1]
    voxel_columns: dict[str, NDArray[Any]] = {
        "ncsnr_published": np.full(n_columns, np.nan, dtype=np.float32),
        f"roi.{WHOLE}": np.ones(n_columns, dtype=np.int16),
    }
    return BrainDiffuserBetas(
        ijk=np.full((n_columns, 3), -1, dtype=np.int32),
        voxel_columns=voxel_columns,
        files={1: root / PROCESSED / subject},
        facts={"roi": roi, "has_published_ncsnr": False, "arrived_as": ARRIVED_AS},
        columns=np.arange(n_columns),
        arrays=(
            root / array_file(subject, "train", "fmriavg_nsdgeneral"),
            root / array_file(subject, "test", "fmriavg_nsdgeneral"),
        ),
        row_bytes=n_columns * train.dtype.itemsize,
        n_rows=len(ids),
    )
