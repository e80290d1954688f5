"""NSD's own pictures: nsd_stimuli.hdf5 (NSD Data Manual, Allen et al. 2022)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.hdf5_pictures import read_layout, read_rows
from fmri_lightning.index.stimulus_source import require_known

STIMULI = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
DATASET = "imgBrick"


class NSDStimuli:
    """``imgBrick`` of nsd_stimuli.hdf5: uint8 (n, height, width, 3), the row number is the nsd_id.

    Args:
        root: Folder that contains ``nsddata_stimuli/``.

    Raises:
        BadInputError: If the file is missing, unreadable or of another shape.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / STIMULI
        shape, dtype = read_layout(self.path, DATASET, "the NSD download (nsddata_stimuli)")
        if len(shape) != 4 or shape[-1] != 3 or dtype != np.uint8:
            raise BadInputError(f"{self.path}: {DATASET} is {dtype} {shape}, expected uint8 (n, height, width, 3)")
        self._n = shape[0]

    @property
    def ids(self) -> NDArray[np.int32]:
        """0-based ids of all pictures, (n,)."""
        return np.arange(self._n, dtype=np.int32)

    def read(self, ids: ArrayLike) -> NDArray[np.uint8]:
        """Read pictures by id.

        Args:
            ids: 0-based nsd_ids in any order, repeats allowed, (n,).

        Returns:
            uint8 (n, height, width, 3), in the order of ``ids``.

        Raises:
            BadInputError: If an id is not in the file, or the file is damaged.
        """
        unique, inverse = np.unique(np.asarray(ids, dtype=np.int64), return_inverse=True)
        require_known(unique, self.ids, self.path)
        pictures: NDArray[np.uint8] = read_rows(self.path, DATASET, unique)
        return pictures[inverse]
