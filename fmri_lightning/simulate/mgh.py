"""FreeSurfer's MGH files as NSD has them: one hemisphere, a value per vertex and frame, big-endian.

Layout after FreeSurfer's description of the format: seven int32 (version, width, height, depth, frames, type, degrees
of freedom), an int16 that says whether the geometry that follows counts, 15 float32 of geometry, zeros up to byte 284,
then the data with the width fastest. A hemisphere of N vertices is N x 1 x 1.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

HEADER_BYTES = 284
FLOAT, INT = (3, ">f4"), (1, ">i4")
"""Code of a type in the header, and how numpy writes it."""


def _header(n_vertices: int, n_frames: int, code: int) -> bytes:
    counts = struct.pack(">7ih", 1, n_vertices, 1, 1, n_frames, code, 0, 1)
    # A surface has no geometry of its own: voxels of 1 mm, FreeSurfer's usual axes, centre 0.
    geometry = struct.pack(">15f", 1, 1, 1, -1, 0, 0, 0, 0, -1, 0, 1, 0, 0, 0, 0)
    return (counts + geometry).ljust(HEADER_BYTES, b"\0")


def write_mgh(path: Path, values: npt.NDArray[np.floating]) -> None:
    """Write values of one hemisphere, uncompressed.

    Args:
        path: File to write; its folder is made.
        values: (n_frames, n_vertices).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_header(values.shape[1], values.shape[0], FLOAT[0]) + values.astype(FLOAT[1]).tobytes())


def write_label_mgz(path: Path, labels: npt.NDArray[np.integer]) -> None:
    """Write labels of one hemisphere, compressed.

    Args:
        path: File to write; its folder is made.
        labels: (n_vertices,), 0 = none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = _header(len(labels), 1, INT[0]) + labels.astype(INT[1]).tobytes()
    path.write_bytes(gzip.compress(plain, 6, mtime=0))
