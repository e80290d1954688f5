"""Pictures of NSD-synthetic: 220 that every subject saw, and 64 coloured ones of each subject's own.

They fill the screen, 714 by 1360 pixels. What is read is the central square: the part of the screen where NSD's own
pictures stood, and the only part that a square picture can be drawn of.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.hdf5_pictures import read_layout, read_rows
from fmri_lightning.index.nsd import N_SUBJECTS
from fmri_lightning.index.prediction_only import SIDE_EXPERIMENTS
from fmri_lightning.index.stimulus_source import require_known
from fmri_lightning.manifest import content_hash, file_fingerprint

FOLDER = "nsddata_stimuli/stimuli/nsdsynthetic"
COMMON = f"{FOLDER}/nsdsynthetic_stimuli.hdf5"
DATASET = "imgBrick"
ORIGIN = "the NSD download (nsddata_stimuli/stimuli/nsdsynthetic)"
N_COMMON, N_COLOUR = 220, 64
_BLOCK = 16


def colour_file(subject_number: int) -> str:
    """Name the coloured pictures of a subject (1 to 8), relative to the data root."""
    return f"{FOLDER}/nsdsynthetic_colorstimuli_subj{subject_number:02d}.hdf5"


def synthetic_ids(subject_number: int) -> NDArray[np.int32]:
    """Number the 284 pictures of a subject: the coloured ones are other pictures for every subject.

    Args:
        subject_number: 1 to 8.

    Returns:
        200,000 and on for the common ones, then 64 numbers of the subject's own, (284,).
    """
    first = SIDE_EXPERIMENTS["nsd_synthetic"].first_id
    own = first + N_COMMON + N_COLOUR * (subject_number - 1)
    return np.concatenate([first + np.arange(N_COMMON), own + np.arange(N_COLOUR)]).astype(np.int32)


class SyntheticStimuli:
    """Central squares of the common pictures and of the coloured ones of the subjects whose file is there.

    Args:
        root: Folder that contains ``nsddata_stimuli/``.

    Raises:
        BadInputError: If a file is missing, unreadable, or of another shape.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER
        first = SIDE_EXPERIMENTS["nsd_synthetic"].first_id
        self._files: list[tuple[int, int, Path]] = [(first, N_COMMON, root / COMMON)]
        for number in range(1, N_SUBJECTS + 1):
            path = root / colour_file(number)
            if path.is_file():
                self._files.append((first + N_COMMON + N_COLOUR * (number - 1), N_COLOUR, path))
        sizes = {_checked_size(path, n) for _, n, path in self._files}
        if len(sizes) > 1:
            raise BadInputError(f"the files in {self.folder} hold pictures of {sorted(sizes)}; download them again")
        self._height, self._width = next(iter(sizes))

    @property
    def ids(self) -> NDArray[np.int32]:
        """Ids of the pictures that are there, ascending, (n,)."""
        return np.concatenate([np.arange(start, start + n, dtype=np.int32) for start, n, _ in self._files])

    def read(self, ids: ArrayLike) -> NDArray[np.uint8]:
        """Read pictures by id.

        Args:
            ids: In any order, repeats allowed, (n,).

        Returns:
            uint8 (n, side, side, 3), in the order of ``ids``.

        Raises:
            BadInputError: If an id is not there, or a file is damaged.
        """
        unique, inverse = np.unique(np.asarray(ids, dtype=np.int64), return_inverse=True)
        require_known(unique, self.ids, self.folder)
        parts = []
        for start, n, path in self._files:
            rows = unique[(unique >= start) & (unique < start + n)] - start
            for at in range(0, len(rows), _BLOCK):
                parts.append(self._square(read_rows(path, DATASET, rows[at : at + _BLOCK])))
        return np.concatenate(parts)[inverse] if parts else np.zeros((0, self._height, self._height, 3), np.uint8)

    def flat(self, ids: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Say which pictures show nothing in the central square: one colour all over, (n,) bool."""
        found = [self.read(ids[at : at + _BLOCK]) for at in range(0, len(ids), _BLOCK)]
        return np.concatenate([(block == block[:, :1, :1]).all(axis=(1, 2, 3)) for block in found])

    def identity(self) -> str:
        """Tell these pictures from others, by size, head and tail of their files."""
        parts = [f"{path.name} {sorted(file_fingerprint(path).items())}" for _, _, path in self._files]
        return "nsd_synthetic:" + content_hash(*parts)

    def _square(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        side = min(self._height, self._width)
        top, left = (self._height - side) // 2, (self._width - side) // 2
        return pictures[:, top : top + side, left : left + side]


def _checked_size(path: Path, n_pictures: int) -> tuple[int, int]:
    shape, dtype = read_layout(path, DATASET, ORIGIN)
    if len(shape) != 4 or shape[0] != n_pictures or shape[-1] != 3 or dtype != np.uint8:
        raise BadInputError(f"{path}: {DATASET} is {dtype} {shape}, expected uint8 ({n_pictures}, height, width, 3)")
    return int(shape[1]), int(shape[2])
