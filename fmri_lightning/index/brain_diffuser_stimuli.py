"""NSD's pictures as brain-diffuser keeps them: nsd_{train,test}_stim_subX.npy, a row a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.brain_diffuser import PARTS, PROCESSED, array_file, row_ids, subjects_of
from fmri_lightning.index.curated import open_array
from fmri_lightning.index.planned import read_planned
from fmri_lightning.index.stimulus_source import require_known
from fmri_lightning.manifest import content_hash, file_fingerprint


class BrainDiffuserStimuli:
    """Pictures of all subjects whose arrays of pictures lie there, memory-mapped; rows are named by NSD's design.

    Args:
        root: Folder that holds ``processed_data`` and ``nsddata``.

    Raises:
        BadInputError: If no subject has both arrays, or one is damaged, of another shape or of other rows than the
            design has pictures.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / PROCESSED
        self._paths: list[Path] = []
        self._rows: dict[int, tuple[int, int]] = {}
        for subject in subjects_of(root):
            paths = {part: root / array_file(subject, part, "stim") for part in PARTS}
            if not any(path.exists() for path in paths.values()):
                continue
            arrays = {part: _open_pictures(path) for part, path in paths.items()}
            _, ids = row_ids(root, subject, read_planned(root, subject), arrays)
            for part, path in paths.items():
                self._paths.append(path)
                for row, nsd_id in enumerate(ids[part].tolist()):
                    self._rows.setdefault(nsd_id, (len(self._paths) - 1, row))
        if not self._rows:
            raise BadInputError(
                f"{self.folder} holds no pictures (nsd_train_stim_sub1.npy and so on); make them with brain-diffuser's "
                "prepare_nsddata.py"
            )

    @property
    def ids(self) -> NDArray[np.int32]:
        """0-based ids of all pictures, ascending, (n,)."""
        return np.array(sorted(self._rows), dtype=np.int32)

    def read(self, ids: ArrayLike) -> NDArray[np.uint8]:
        """Read pictures by id.

        Args:
            ids: 0-based nsd_ids in any order, repeats allowed, (n,).

        Returns:
            uint8 (n, height, width, 3), RGB, in the order of ``ids``.

        Raises:
            BadInputError: If an id is in no array, or a picture holds other values than 0 to 255.
        """
        wanted = np.asarray(ids, dtype=np.int64).ravel()
        require_known(wanted, self.ids, self.folder)
        arrays = [_open_pictures(path) for path in self._paths]
        shape = arrays[0].shape[1:]
        pictures = np.empty((len(wanted), *shape), dtype=np.uint8)
        for place, nsd_id in enumerate(wanted.tolist()):
            number, row = self._rows[nsd_id]
            levels = np.asarray(arrays[number][row])
            # A comparison with NaN is false: written so that NaN is refused too.
            if levels.shape != shape or not bool(((levels >= 0) & (levels <= 255)).all()):
                raise BadInputError(
                    f"{self._paths[number]}: row {row} (picture {nsd_id}) is {levels.shape} with values from "
                    f"{levels.min():.4g} to {levels.max():.4g}, expected {shape} and 0 to 255; make the array again"
                )
            pictures[place] = np.round(levels)
        return pictures

    def identity(self) -> str:
        """Tell this set from another, by size, head and tail of each array: a short text."""
        found = [file_fingerprint(path) for path in self._paths]
        return "brain_diffuser:" + content_hash(*(f"{one['size']}:{one['head_tail_sha256']}" for one in found))


def _open_pictures(path: Path) -> NDArray[Any]:
    array = open_array(path, "pictures that brain-diffuser's prepare_nsddata.py writes")
    if array.ndim != 4 or array.shape[-1] != 3 or array.dtype.kind not in "fu":
        raise BadInputError(f"{path} is {array.dtype} {array.shape}, expected float64 (pictures, height, width, 3)")
    return array
