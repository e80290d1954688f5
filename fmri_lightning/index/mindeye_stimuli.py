"""NSD's pictures as MindEye2 published them: coco_images_224_float16.hdf5 (Scotti et al. 2024)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.hdf5_pictures import HDF5Pictures, read_layout, read_rows

MINDEYE_IMAGES = "coco_images_224_float16.hdf5"
DATASET = "images"
_ROWS_PER_BLOCK = 64


class MindEyeStimuli(HDF5Pictures):
    """``images``: float16 (n, 3, height, width), RGB from 0 to 1, the row number is the nsd_id.

    Args:
        root: Folder of the dataset.

    Raises:
        BadInputError: If the file is missing, unreadable or of another shape.
    """

    def __init__(self, root: Path) -> None:
        path = root / MINDEYE_IMAGES
        shape, dtype = read_layout(path, DATASET, "MindEye2's dataset")
        if len(shape) != 4 or shape[1] != 3 or dtype != np.float16:
            raise BadInputError(f"{path}: {DATASET} is {dtype} {shape}, expected float16 (n, 3, height, width)")
        super().__init__(path, shape[0])
        self._size = shape[2:]

    def pictures_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read rows that are strictly ascending: 255 times the stored value, rounded, uint8 (n, height, width, 3).

        Half precision is finer than half a grey level everywhere from 0 to 1, so that all 256 values survive.
        """
        pictures = np.empty((len(rows), *self._size, 3), dtype=np.uint8)
        for start in range(0, len(rows), _ROWS_PER_BLOCK):
            block = slice(start, start + _ROWS_PER_BLOCK)
            pictures[block] = self._read_block(rows[block])
        return pictures

    def _read_block(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        levels = np.round(read_rows(self.path, DATASET, rows).astype(np.float32) * 255)
        # A comparison with NaN is false: written so that NaN is refused too.
        fits = ((levels >= 0) & (levels <= 255)).all(axis=(1, 2, 3))
        if not fits.all():
            odd = int(np.flatnonzero(~fits)[0])
            raise BadInputError(
                f"{self.path}: picture {int(rows[odd])} holds values from {levels[odd].min() / 255:.4g} to "
                f"{levels[odd].max() / 255:.4g}, expected 0 to 1; download it again"
            )
        return levels.transpose(0, 2, 3, 1)
