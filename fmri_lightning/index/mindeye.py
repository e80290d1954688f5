"""Readers of the tables that MindEye2 published (Scotti et al. 2024; Hugging Face dataset pscotti/mindeyev2)."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError

INDICES = "COCO_73k_subj_indices.hdf5"
SHARED = "shared1000.npy"
TEST_IMAGES = "test_73k_images.npy"
N_COLUMNS = 17
PLANNED_REPEATS = 3
"""How often NSD planned to show each picture; the files do not hold the trials that were never run."""
NSD_ID, SUBJECT, SESSION, RUN, TRIAL, GLOBAL_TRIAL = range(6)
ISOLD, SHARED_COLUMN = 7, 16
"""Columns of a ``behav`` row; session, run and trial count from 1, picture and global trial from 0."""


@dataclass(frozen=True)
class MindEyeTables:
    """One subject's tables as read; not yet believed.

    Attributes:
        subject: For instance "subj01".
        nsd_id: 0-based picture of each row of the betas, (n_trials,) int64.
        shared1000: Shown to all subjects, (n_catalogue,) bool.
        test_images: Ids of test_73k_images.npy, or None where the file is absent.
        behav: Rows of the train tars, then of the test tar, float64 (m, 17).
        tar_session: 1-based session of the train tar that a row came from, 0 for the test tar, (m,) int64.
    """

    subject: str
    nsd_id: NDArray[np.int64]
    shared1000: NDArray[np.bool_]
    test_images: NDArray[np.int64] | None
    behav: NDArray[np.float64]
    tar_session: NDArray[np.int64]

    def column(self, number: int) -> NDArray[np.int64]:
        """Return a column of whole numbers, (m,) int64."""
        return self.behav[:, number].astype(np.int64)


def betas_file(subject: str) -> str:
    """Name a subject's betas, relative to the root."""
    return f"betas_all_{subject}_fp32_renorm.hdf5"


def tar_folder(subject: str) -> str:
    """Name the folder of a subject's tars, relative to the root."""
    return f"wds/{subject}"


def read_mindeye_tables(root: Path, subject: str) -> MindEyeTables:
    """Read which trial showed which picture, and the behaviour rows that say so a second time.

    Args:
        root: Folder of the dataset.
        subject: For instance "subj01".

    Returns:
        The tables.

    Raises:
        BadInputError: If a file is missing, damaged, or of another layout.
    """
    indices = _read_indices(root / INDICES)
    if subject not in indices:
        raise BadInputError(f"{root / INDICES} has no {subject!r}; present: {', '.join(sorted(indices)) or 'none'}")
    shared = _read_array(root / SHARED)
    if shared.dtype != np.bool_ or shared.ndim != 1:
        raise BadInputError(f"{root / SHARED} is {shared.dtype} {shared.shape}, expected a mask, bool (n_pictures,)")
    for name, ids in indices.items():
        if len(ids) == 0 or ids.min() < 0 or ids.max() >= len(shared):
            raise BadInputError(
                f"{root / INDICES}: ids of {name} go from {ids.min(initial=0)} to {ids.max(initial=0)}, {SHARED} has "
                f"{len(shared)} pictures counted from 0; they are not of one download"
            )
    test_images = _read_array(root / TEST_IMAGES).astype(np.int64) if (root / TEST_IMAGES).exists() else None
    behav, tar_session = _read_behaviour(root / tar_folder(subject))
    return MindEyeTables(subject, indices[subject], shared, test_images, behav, tar_session)


def _read_indices(path: Path) -> dict[str, NDArray[np.int64]]:
    import h5py

    if not path.is_file():
        raise BadInputError(f"{path} is missing; it comes with MindEye2's dataset, which --source mindeye2 reads")
    try:
        with h5py.File(path, "r") as handle:
            return {str(name): np.asarray(handle[name]).astype(np.int64).ravel() for name in handle}
    except (OSError, TypeError, ValueError) as error:
        raise BadInputError(f"{path} cannot be read ({error}); download it again") from error


def _read_array(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise BadInputError(f"{path} cannot be read as an array ({error}); download it again") from error


def _read_behaviour(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read the ``behav`` member of every sample of every tar."""
    trains = sorted((folder / "train").glob("*.tar"), key=lambda path: (len(path.stem), path.stem))
    test = folder / "new_test" / "0.tar"
    expected = [f"{n}.tar" for n in range(len(trains))]
    if not trains or [path.name for path in trains] != expected or not test.is_file():
        found = ", ".join(path.name for path in trains) or "none"
        raise BadInputError(
            f"{folder}: one tar a session is expected in train (0.tar, 1.tar, …; found {found}) and new_test/0.tar; "
            "download what is missing"
        )
    blocks = [(read_tar(path), number + 1) for number, path in enumerate(trains)] + [(read_tar(test), 0)]
    behav = np.concatenate([rows for rows, _ in blocks])
    return behav, np.concatenate([np.full(len(rows), number) for rows, number in blocks])


def read_tar(path: Path) -> NDArray[np.float64]:
    """Read the behaviour of each sample of a webdataset tar.

    Args:
        path: The tar; members ``sample000000000.behav.npy`` (1, 17) float64 and others, which are left alone.

    Returns:
        float64 (n_samples, 17).

    Raises:
        BadInputError: If the tar is damaged or cut off, or a member has another shape.
    """
    rows = []
    try:
        require_end(path)
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.name.endswith(".behav.npy"):
                    continue
                handle = tar.extractfile(member)
                data = b"" if handle is None else handle.read()
                row = np.load(io.BytesIO(data), allow_pickle=False)
                if row.shape != (1, N_COLUMNS):
                    raise ValueError(f"{member.name} is {row.shape}, expected (1, {N_COLUMNS})")
                rows.append(row[0].astype(np.float64))
    except (OSError, EOFError, ValueError, tarfile.TarError) as error:
        raise BadInputError(f"{path} is damaged or cut off ({error}); download it again") from error
    return np.stack(rows) if rows else np.empty((0, N_COLUMNS))


def require_end(path: Path) -> None:
    """Ask for the two empty blocks that end an archive; tarfile itself takes a cut-off one for whole.

    Args:
        path: A tar.

    Raises:
        EOFError: If they are not there.
    """
    with open(path, "rb") as handle:
        handle.seek(max(0, path.stat().st_size - 2 * tarfile.BLOCKSIZE))
        tail = handle.read()
    if tail != bytes(2 * tarfile.BLOCKSIZE):
        raise EOFError("the end of the archive is missing")
