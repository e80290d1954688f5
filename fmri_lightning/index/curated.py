"""COCO_73k_annots_curated.npy, which older releases bring: five captions for each picture of the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError

CURATED = "COCO_73k_annots_curated.npy"


def open_curated(path: Path) -> NDArray[np.str_] | None:
    """Map the table of captions.

    Args:
        path: The file; may be absent.

    Returns:
        Fixed-width text (n_catalogue, 5), the row is the nsd_id; None where the file is absent.

    Raises:
        BadInputError: If it is damaged or no such table.
    """
    return open_text(path) if path.exists() else None


def open_text(path: Path) -> NDArray[np.str_]:
    """Map a table of captions, one row a picture.

    Args:
        path: The file.

    Returns:
        Fixed-width text (n, 5), memory-mapped.

    Raises:
        BadInputError: If it is missing, damaged or no such table.
    """
    table = open_array(path, f"{CURATED} or what was cut out of it")
    if table.ndim != 2 or table.dtype.kind != "U":
        raise BadInputError(f"{path} is {table.dtype} {table.shape}, expected text (pictures, captions)")
    return table


def open_array(path: Path, what: str) -> NDArray[Any]:
    """Map an .npy file.

    Args:
        path: The file.
        what: What it is, for the message.

    Returns:
        The array, memory-mapped.

    Raises:
        BadInputError: If it is missing, damaged, cut off, or needs unpickling.
    """
    if not path.is_file():
        raise BadInputError(f"{path} is not there as a file; it is {what}")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInputError(
            f"{path} cannot be mapped as an array ({error}); it is damaged or cut off: bring it again"
        ) from error
    if not isinstance(array, np.ndarray):
        raise BadInputError(f"{path} is an archive of arrays, expected one .npy array")
    return array
