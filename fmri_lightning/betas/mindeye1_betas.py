"""Betas of MindEye1's samples: rows of nsdgeneral in half precision, a sample read at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.source import BetaSource
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.mindeye1 import BETAS, FOLDER, ROWS, Sample, read_mindeye1_tables
from fmri_lightning.index.mindeye1_trials import ARRIVED_AS
from fmri_lightning.records import TrialTable

WHOLE = "nsdgeneral"


@dataclass(frozen=True)
class MindEye1Betas(BetaSource):
    """Samples of one subject; ``wholebrain_3d.npy`` is not read.

    Attributes:
        ijk: -1, int32 (n_voxels, 3): the samples hold no positions.
        voxel_columns: ncsnr_published (NaN) and the region nsdgeneral, 1.
        files: The folder of all samples, as session 1.
        facts: roi, and what was done to the numbers before.
        columns: Columns of the samples that are kept, (n_voxels,), ascending.
        n_columns: Columns of the samples.
        samples: All samples of the subject, in the order of the index.
        n_samples: Samples that the index names.
    """

    unit: ClassVar[str] = "standard deviations of the session"
    columns: NDArray[np.int64]
    n_columns: int
    samples: tuple[Sample, ...]
    n_samples: int

    def paths(self, session: int) -> tuple[Path, ...]:
        """Name the tars, or the unpacked files of betas."""
        return tuple(sorted({sample.members[BETAS].path for sample in self.samples}))

    def read(self, session: int, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Read the kept voxels of some rows, standard deviations of the session, float32 (n, n_voxels)."""
        betas = np.empty((len(rows), len(self.columns)), dtype=np.float32)
        held, block = -1, np.empty((0, 0), dtype=np.float16)
        # Rows of a sample stand side by side in the index, so that each is unpacked once.
        for place, index in enumerate(np.asarray(rows).tolist()):
            number, row = divmod(index, ROWS)
            if number != held:
                held, block = number, self.samples[number].betas()
                if block.shape[1] != self.n_columns:
                    raise BadInputError(
                        f"{self.samples[number].name} has {block.shape[1]} voxels, others have {self.n_columns}; "
                        "make the index again, which checks every sample"
                    )
            betas[place] = block[row, self.columns]
        return betas

    def take(self, columns: NDArray[np.integer]) -> Self:
        """Return the source of some voxels only."""
        return replace(super().take(columns), columns=self.columns[columns])

    def bytes_of(self, session: int) -> int:
        """Say how many bytes of the tars are read: all three rows of each sample."""
        return 2 * ROWS * self.n_columns * self.n_samples


def open_mindeye1_betas(table: TrialTable, root: Path, subject: str, roi: str) -> MindEye1Betas:
    """Find the samples that an index names, and check that they are still the same; reads one sample of betas.

    Args:
        table: The index.
        root: Folder that holds ``webdataset_avg_split``.
        subject: For instance "subj01".
        roi: "nsdgeneral", all columns; the files name no other region.

    Returns:
        The source.

    Raises:
        BadInputError: If a file is missing or torn, or the samples are not those of the index.
    """
    if roi != WHOLE:
        raise BadInputError(f"no region {roi!r} in MindEye1's samples; they hold {WHOLE} as a whole: --roi {WHOLE}")
    tables = read_mindeye1_tables(root, subject)
    sample = np.repeat(np.arange(len(tables.samples)), tables.num_uniques)
    if not np.array_equal(tables.nsd_id[sample], table.nsd_id) or not np.array_equal(sample, table.beta_index // ROWS):
        raise BadInputError(
            f"the samples of {subject} in {root / FOLDER} are not those that the index was made from; make it again "
            f"with: fmri-lightning index --source mindeye1 --subject {subject} --overwrite true"
        )
    n_columns = tables.samples[0].betas().shape[1]
    voxel_columns: dict[str, NDArray[Any]] = {
        "ncsnr_published": np.full(n_columns, np.nan, dtype=np.float32),
        f"roi.{WHOLE}": np.ones(n_columns, dtype=np.int16),
    }
    return MindEye1Betas(
        ijk=np.full((n_columns, 3), -1, dtype=np.int32),
        voxel_columns=voxel_columns,
        files={1: root / FOLDER},
        facts={"roi": roi, "has_published_ncsnr": False, "arrived_as": ARRIVED_AS},
        columns=np.arange(n_columns),
        n_columns=n_columns,
        samples=tables.samples,
        n_samples=len(tables.samples),
    )
