"""Read FreeSurfer's MGH files: betas of one hemisphere mapped from disk, and label or ncsnr maps as a whole.

An uncompressed MGH file is a header of 284 bytes and then big-endian numbers, vertices fastest: all vertices of the
first trial, then all of the second. NSD's betas on fsaverage are float32 percent signal change; nothing is times 300.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError

HEADER_BYTES = 284
FLOAT = 3
"""Code of float32 in the header."""
_VERSION = 1
_SWAPPED_VERSION = 1 << 24
_TRIALS_PER_BLOCK = 32


def read_mgh_shape(path: Path) -> tuple[int, int]:
    """Read the size of a hemisphere's betas, and check that the file is whole.

    Args:
        path: An .mgh file of float32.

    Returns:
        (trials, vertices).

    Raises:
        BadInputError: If the file is missing, cut off, little-endian, compressed, or of another layout.
    """
    if not path.is_file():
        kind = "is a folder, not a file" if path.is_dir() else "is missing"
        raise BadInputError(f"{path} {kind}; it comes with NSD's betas on fsaverage")
    with open(path, "rb") as handle:
        header = handle.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        raise BadInputError(f"{path} has {len(header)} bytes, the header of an MGH file {HEADER_BYTES}; {_AGAIN}")
    version, width, height, depth, frames, code = struct.unpack(">6i", header[:24])
    if version == _SWAPPED_VERSION:
        raise BadInputError(f"{path} is little-endian; MGH files are big-endian, so it was written anew: {_AGAIN}")
    if version != _VERSION or min(width, height, depth, frames) < 1:
        raise BadInputError(f"{path} is no MGH file (version {version}); {_AGAIN}")
    if code != FLOAT or (height, depth) != (1, 1):
        raise BadInputError(
            f"{path} is {width} x {height} x {depth} x {frames} of type {code}, expected vertices x 1 x 1 x trials of "
            f"float32 (type {FLOAT})"
        )
    needed, found = HEADER_BYTES + 4 * width * frames, path.stat().st_size
    if found < needed:
        raise BadInputError(f"{path} is cut off: {found} bytes of {needed}; {_AGAIN}")
    return frames, width


_AGAIN = "download it again"


def map_mgh(path: Path) -> NDArray[np.float32]:
    """Map a hemisphere's betas from disk.

    Args:
        path: An .mgh file of float32.

    Returns:
        Big-endian float32 (trials, vertices), memory-mapped.

    Raises:
        BadInputError: As :func:`read_mgh_shape`.
    """
    shape = read_mgh_shape(path)
    return np.memmap(path, dtype=">f4", mode="r", offset=HEADER_BYTES, shape=shape)


def read_vertices(path: Path, vertices: NDArray[np.integer], out: NDArray[np.float32]) -> None:
    """Read all trials of some vertices, in the order of the file.

    Args:
        path: An .mgh file of one session.
        vertices: Which, ascending, (n,).
        out: Where to write, float32 (trials, n).

    Raises:
        BadInputError: As :func:`read_mgh_shape`.
    """
    betas = map_mgh(path)
    for start in range(0, len(betas), _TRIALS_PER_BLOCK):
        block = slice(start, start + _TRIALS_PER_BLOCK)
        out[block] = betas[block, vertices]


def read_surface_map(path: Path) -> NDArray[Any]:
    """Read one value per vertex of a hemisphere.

    Args:
        path: An .mgz or .mgh file.

    Returns:
        (vertices,), in the type it is stored in.

    Raises:
        BadInputError: If it is missing, damaged, or more than one value per vertex.
    """
    import nibabel
    from nibabel.freesurfer.mghformat import MGHError

    if not path.is_file():
        raise BadInputError(f"{path} is missing; it comes with NSD's files on fsaverage")
    try:
        image: Any = nibabel.load(path)
        values: NDArray[Any] = np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, zlib.error, MGHError, nibabel.filebasedimages.ImageFileError) as error:
        raise BadInputError(f"{path} cannot be read ({error}); {_AGAIN}") from error
    if values.size != max(values.shape):
        raise BadInputError(f"{path} is {values.shape}, expected one value per vertex of a hemisphere")
    return values.ravel()
