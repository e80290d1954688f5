"""Read one session's betas at chosen voxels, from HDF5 or NIfTI, in percent signal change.

NSD stores percent signal change times 300 as int16. Its HDF5 has the axes (trial, z, y, x) and one chunk per
voxel, so that only the chunks of the mask need to be touched; its NIfTI has (x, y, z, trial).
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError

PSC_SCALE = 300.0
_BLOCK_BYTES = 64 << 20
_COLUMNS_PER_BLOCK = 64


def find_session_file(folder: Path, session: int) -> Path:
    """Find the beta file of a session, HDF5 before NIfTI.

    Args:
        folder: Folder of a subject, space and betas version.
        session: 1-based.

    Returns:
        The path.

    Raises:
        BadInputError: If neither file is there.
    """
    for suffix in (".hdf5", ".nii.gz", ".nii"):
        path = folder / f"betas_session{session:02d}{suffix}"
        if path.is_dir():
            raise BadInputError(f"{path} is a folder, not a file; download it again")
        if path.is_file():
            return path
    raise BadInputError(
        f"no betas of session {session} in {folder} (betas_session{session:02d}.hdf5 or .nii.gz); "
        "download it, or index fewer sessions"
    )


def read_shape(path: Path) -> tuple[int, int, int, int]:
    """Read the size of a session without reading its betas.

    Args:
        path: HDF5 or NIfTI file.

    Returns:
        (trials, X, Y, Z).

    Raises:
        BadInputError: If the file is no such file, is cut off, or has another number of axes.
    """
    if path.suffix == ".hdf5":
        with _open_hdf5(path) as handle:
            shape = _dataset(handle, path).shape
        trials, z, y, x = (int(n) for n in shape)
        return trials, x, y, z
    x, y, z, trials = (int(n) for n in _open_nifti(path).shape)
    return trials, x, y, z


def read_voxels(path: Path, ijk: NDArray[np.integer]) -> NDArray[np.float32]:
    """Read all trials of some voxels.

    Args:
        path: HDF5 or NIfTI file of one session.
        ijk: Voxel positions (x, y, z) counted from 0, (n_voxels, 3), in the order wanted.

    Returns:
        Percent signal change, float32 (trials, n_voxels).

    Raises:
        BadInputError: If the file is damaged or a position lies outside the volume.
    """
    trials, *box = read_shape(path)
    positions = ijk.astype(np.int64)
    if len(ijk) and (ijk.min() < 0 or np.any(ijk.max(axis=0) >= box)):
        raise BadInputError(f"{path}: the mask reaches {ijk.max(axis=0).tolist()}, the volume is {box}")
    try:
        raw = _read_hdf5(path, positions, trials) if path.suffix == ".hdf5" else _read_nifti(path, positions)
    except (OSError, EOFError, zlib.error, RuntimeError) as error:
        raise BadInputError(f"{path} is damaged or cut off ({error}); download it again") from error
    return _to_psc(raw)


def _to_psc(raw: NDArray[Any]) -> NDArray[np.float32]:
    """Widen and scale; in blocks of columns, because a transposed array is copied faster so.

    int16 holds clipped values of both signs: widened before any arithmetic.
    """
    betas = np.empty(raw.shape, dtype=np.float32)
    for start in range(0, raw.shape[1], _COLUMNS_PER_BLOCK):
        block = slice(start, start + _COLUMNS_PER_BLOCK)
        betas[:, block] = raw[:, block]
    betas /= np.float32(PSC_SCALE)
    return betas


def _open_hdf5(path: Path) -> Any:
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "unable to lock" in str(error):
            raise BadInputError(
                f"{path} cannot be locked ({error}): wait for who writes it, or set HDF5_USE_FILE_LOCKING=FALSE"
            ) from error
        raise BadInputError(f"{path} is not a whole HDF5 file ({error}); download it again") from error


def _dataset(handle: Any, path: Path) -> Any:
    if "betas" not in handle or handle["betas"].ndim != 4:
        raise BadInputError(f"{path} has no four-dimensional dataset 'betas'; it is not an NSD session file")
    return handle["betas"]


def _read_hdf5(path: Path, ijk: NDArray[np.int64], trials: int) -> NDArray[Any]:
    with _open_hdf5(path) as handle:
        dataset = _dataset(handle, path)
        plain = dataset.id.get_create_plist().get_nfilters() == 0
        if dataset.chunks == (trials, 1, 1, 1) and plain:
            return _read_voxel_chunks(dataset, ijk)
        return _read_blocks(dataset, ijk)


def _read_voxel_chunks(dataset: Any, ijk: NDArray[np.int64]) -> NDArray[Any]:
    """Read one chunk per voxel, in the order in which MATLAB wrote them: x fastest."""
    voxels = np.empty((len(ijk), dataset.shape[0]), dtype=dataset.dtype)
    order = np.lexsort((ijk[:, 0], ijk[:, 1], ijk[:, 2]))
    for column, (x, y, z) in zip(order.tolist(), ijk[order].tolist(), strict=True):
        try:
            dataset.id.read_direct_chunk((0, z, y, x), out=voxels[column].view(np.uint8))
        except (OSError, RuntimeError):
            if dataset.id.get_chunk_info_by_coord((0, z, y, x)).byte_offset is not None:
                raise
            # Never written: HDF5 defines such a chunk as the fill value.
            voxels[column] = dataset.fillvalue
    return voxels.T


def _read_blocks(dataset: Any, ijk: NDArray[np.int64]) -> NDArray[Any]:
    """Read a file of any other layout in blocks along the axis its chunks do not span."""
    trials, depth, height, width = dataset.shape
    betas = np.empty((trials, len(ijk)), dtype=dataset.dtype)
    x, y, z = ijk.T
    if dataset.chunks and dataset.chunks[0] > 1:
        plane = trials * height * width * dataset.dtype.itemsize
        for start, stop in _ranges(depth, dataset.chunks[1], plane):
            inside = np.flatnonzero((z >= start) & (z < stop))
            if len(inside):
                block = dataset[:, start:stop].reshape(trials, -1)
                flat = np.ravel_multi_index((z[inside] - start, y[inside], x[inside]), (stop - start, height, width))
                betas[:, inside] = block[:, flat]
        return betas
    flat = np.ravel_multi_index((z, y, x), (depth, height, width))
    for start, stop in _ranges(trials, 1, depth * height * width * dataset.dtype.itemsize):
        betas[start:stop] = dataset[start:stop].reshape(stop - start, -1)[:, flat]
    return betas


def _ranges(length: int, step: int, bytes_each: int) -> list[tuple[int, int]]:
    step *= max(1, _BLOCK_BYTES // max(1, bytes_each * step))
    return [(start, min(start + step, length)) for start in range(0, length, step)]


def _open_nifti(path: Path) -> Any:
    import nibabel

    try:
        image: Any = nibabel.load(path)
    except (OSError, EOFError, zlib.error, nibabel.filebasedimages.ImageFileError) as error:
        raise BadInputError(f"{path} is not a NIfTI file ({error}); download it again") from error
    if len(image.shape) != 4:
        raise BadInputError(f"{path} has {len(image.shape)} axes, expected (x, y, z, trial)")
    return image.dataobj


def _read_nifti(path: Path, ijk: NDArray[np.int64]) -> NDArray[Any]:
    """Stream one volume at a time, to the end of the file, where gzip keeps its checksum.

    nibabel itself stops at the last byte it needs and never verifies it.
    """
    proxy = _open_nifti(path)
    box, trials = proxy.shape[:3], proxy.shape[3]
    volume_bytes = int(np.prod(box)) * proxy.dtype.itemsize
    betas = np.empty((trials, len(ijk)), dtype=proxy.dtype)
    flat = np.ravel_multi_index(tuple(ijk.T), box, order="F")
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as handle:
        _read_exactly(handle, proxy.offset)
        for trial in range(trials):
            betas[trial] = np.frombuffer(_read_exactly(handle, volume_bytes), dtype=proxy.dtype)[flat]
        while handle.read(1 << 20):
            pass
    if proxy.slope != 1 or proxy.inter != 0:
        scaled: NDArray[Any] = betas * proxy.slope + proxy.inter
        return scaled
    return betas


def _read_exactly(handle: IO[bytes], n_bytes: int) -> bytes:
    data = handle.read(n_bytes)
    if len(data) < n_bytes:
        raise EOFError(f"ends {n_bytes - len(data)} bytes early")
    return data
