"""NSD's own pictures: nsd_stimuli.hdf5 (NSD Data Manual, Allen et al. 2022)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.hdf5_pictures import HDF5Pictures, read_layout, read_rows

STIMULI = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
DATASET = "imgBrick"


class NSDStimuli(HDF5Pictures):
    """``imgBrick`` of nsd_stimuli.hdf5: uint8 (n, height, width, 3), the row number is the nsd_id.

    Args:
        root: Folder that contains ``nsddata_stimuli/``.

    Raises:
        BadInputError: If the file is missing, unreadable or of another shape.
    """

    def __init__(self, root: Path) -> None:
        path = root / STIMULI
        shape, dtype = read_layout(path, DATASET, "the NSD download (nsddata_stimuli)")
        if len(shape) != 4 or shape[-1] != 3 or dtype != np.uint8:
            raise BadInputError(f"{path}: {DATASET} is {dtype} {shape}, expected uint8 (n, height, width, 3)")
        super().__init__(path, shape[0])

    def pictures_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read rows that are strictly ascending, uint8 (n, height, width, 3)."""
        return read_rows(self.path, DATASET, rows)
