"""Pictures in one HDF5 dataset, a row each: what NSD's own file and MindEye2's have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.stimulus_source import require_file, require_known


def read_layout(path: Path, name: str, origin: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read shape and number type of a dataset, and none of its rows.

    Args:
        path: HDF5 file.
        name: Of the dataset.
        origin: Where the file comes from, for the message.

    Returns:
        Shape and type.

    Raises:
        BadInputError: If the file is missing, no file, cut off, or has no such dataset.
    """
    import h5py

    require_file(path, origin)
    try:
        with h5py.File(path, "r") as handle:
            dataset = handle.get(name)
            if not isinstance(dataset, h5py.Dataset):
                found = ", ".join(handle) or "nothing"
                raise BadInputError(f"{path} has no dataset {name!r}, it holds {found}; it does not come with {origin}")
            return tuple(dataset.shape), np.dtype(dataset.dtype)
    except (OSError, RuntimeError) as error:
        raise BadInputError(f"{path} cannot be read ({error}); download it again") from error


def read_rows(path: Path, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Read rows of a dataset.

    Args:
        path: HDF5 file.
        name: Of the dataset.
        rows: Strictly ascending, as h5py wants them, (n,).

    Returns:
        (n, …) in the type that is stored.

    Raises:
        BadInputError: If the file is damaged.
    """
    import h5py

    try:
        with h5py.File(path, "r") as handle:
            return np.asarray(handle[name][rows])
    except (OSError, RuntimeError, KeyError) as error:
        raise BadInputError(f"{path} cannot be read ({error}); download it again") from error


class HDF5Pictures(ABC):
    """Pictures in one dataset, the row number is the nsd_id.

    Args:
        path: HDF5 file.
        n_pictures: Rows of the dataset.
    """

    def __init__(self, path: Path, n_pictures: int) -> None:
        self.path = path
        self._n = n_pictures

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
        return self.pictures_of(unique)[inverse]

    @abstractmethod
    def pictures_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read rows that are strictly ascending, uint8 (n, height, width, 3)."""
