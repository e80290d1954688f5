"""What every source of pictures gives: pictures addressed by nsd_id, and one way to refuse ids and places."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmri_lightning.errors import BadInputError


class StimulusSource(Protocol):
    """Pictures addressed by nsd_id."""

    @property
    def ids(self) -> NDArray[np.int32]:
        """0-based ids of all pictures, ascending, (n,)."""

    def read(self, ids: ArrayLike) -> NDArray[np.uint8]:
        """Read pictures in the order asked for, repeats included: uint8 (n, height, width, 3), RGB."""


def require_known(wanted: NDArray[np.int64], known: NDArray[np.int32], where: Path) -> None:
    """Refuse ids that a source does not have.

    Args:
        wanted: Ids asked for, (n,).
        known: Ids of the source, (m,).
        where: The source, for the message.

    Raises:
        BadInputError: If an id is unknown.
    """
    unknown = np.setdiff1d(wanted, known)
    if len(unknown):
        raise BadInputError(f"{where} lacks {len(unknown)} of the pictures asked for, first {unknown[:5].tolist()}")


def require_file(path: Path, origin: str) -> None:
    """Refuse a place where no file is, and say what is there instead.

    Args:
        path: Where a file is expected.
        origin: Where such a file comes from, for the message.

    Raises:
        BadInputError: If it is no file.
    """
    if path.is_file():
        return
    if path.is_dir():
        found = "is a folder, expected a file"
    elif os.path.lexists(path):
        found = "is no regular file, or a link to nothing"
    else:
        found = "is missing"
    raise BadInputError(f"{path} {found}; it comes with {origin}")
