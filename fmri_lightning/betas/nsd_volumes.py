"""Betas of an NSD tree: one HDF5 or NIfTI volume file a session, masked by a region."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.reader import find_session_file, read_shape, read_voxels
from fmri_lightning.betas.roi import labels_at, mask_voxels, published_ncsnr
from fmri_lightning.betas.source import BetaSource
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.nsd import beta_folder, find_subject
from fmri_lightning.index.published import published_subject
from fmri_lightning.records import TrialTable

SPACE_OF_TABLE = "func1pt8mm"
_CHUNK_INDEX_BYTES = 65  # what HDF5 keeps for each chunk


@dataclass(frozen=True)
class NSDVolumes(BetaSource):
    """Session volumes.

    Attributes:
        ijk: Voxels of the mask, int32 (n_voxels, 3), z fastest.
        voxel_columns: Published ncsnr and the labels of every region.
        files: Session file per 1-based session.
        facts: space, betas_version, roi, volume_shape and has_published_ncsnr.
        n_trials: Trials in each session's file.
    """

    unit: ClassVar[str] = "percent signal change"
    n_trials: dict[int, int]

    def read(self, session: int, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Read the mask's voxels in some trials of a session, percent signal change, float32 (n, n_voxels)."""
        betas = read_voxels(self.files[session], self.ijk)
        return betas if np.array_equal(rows, np.arange(len(betas))) else betas[rows]

    def bytes_of(self, session: int) -> int:
        """Say how many bytes of its file a session costs: the mask's chunks of HDF5, all of NIfTI."""
        path = self.files[session]
        if path.suffix != ".hdf5":
            return path.stat().st_size
        return len(self.ijk) * (2 * self.n_trials[session] + _CHUNK_INDEX_BYTES)


def open_nsd_volumes(
    table: TrialTable, root: Path, subject: str, space: str, betas_version: str, roi: str, n_catalogue: int
) -> NSDVolumes:
    """Check region, maps and the shape of every session file; reads no beta.

    Args:
        table: The index.
        root: Folder that contains ``nsddata/`` and ``nsddata_betas/``.
        subject: For instance "subj01".
        space: "func1pt8mm" or "func1mm".
        betas_version: "b1", "b2", "b3" or a folder name.
        roi: Region whose voxels are kept (label above 0).
        n_catalogue: Pictures of the catalogue; NSD's 73,000 bind the published shapes.

    Returns:
        The source.

    Raises:
        BadInputError: If a file or region is missing, damaged, or of another shape.
    """
    find_subject(root, subject)
    ijk, box = mask_voxels(root, subject, space, roi)
    check_published_shape(subject, space, roi, tuple(box), len(ijk), n_catalogue)
    folder = root / beta_folder(subject, space, betas_version)
    if not folder.is_dir():
        present = sorted(path.name for path in folder.parent.glob("*") if path.is_dir())
        raise BadInputError(f"no betas in {folder}; versions present: {', '.join(present) or 'none'}")
    files = {s: find_session_file(folder, s) for s in np.unique(table.session).tolist()}
    n_trials = {
        s: check_session(path, tuple(box), int(table.beta_index[table.session == s].max()) + 1)
        for s, path in files.items()
    }
    published = published_ncsnr(folder, ijk, box)
    columns: dict[str, NDArray[Any]] = {
        "ncsnr_published": np.full(len(ijk), np.nan, dtype=np.float32) if published is None else published
    }
    columns |= {f"roi.{name}": labels for name, labels in labels_at(root, subject, space, ijk, box).items()}
    facts = {
        "space": space,
        "betas_version": betas_version,
        "roi": roi,
        "volume_shape": list(box),
        "has_published_ncsnr": published is not None,
    }
    return NSDVolumes(ijk, columns, files, facts, n_trials)


def check_published_shape(
    subject: str, space: str, roi: str, shape: tuple[int, ...], n_voxels: int, n_catalogue: int
) -> None:
    """Refuse a volume or nsdgeneral of another size than NSD published, where the catalogue is NSD's.

    Args:
        subject: For instance "subj01".
        space: Only func1pt8mm has a published table.
        roi: Name of the region.
        shape: Of the region's volume.
        n_voxels: Of the region.
        n_catalogue: Pictures of the catalogue.

    Raises:
        BadInputError: If a size differs.
    """
    published = published_subject(subject, n_catalogue)
    if published is None or space != SPACE_OF_TABLE:
        return
    if shape != published.shape:
        raise BadInputError(
            f"the volumes of {subject} in {space} are {shape}, NSD's are {published.shape}; "
            "they are of another subject or space"
        )
    if roi == "nsdgeneral" and n_voxels != published.nsdgeneral:
        raise BadInputError(
            f"nsdgeneral of {subject} has {n_voxels} voxels, NSD's has {published.nsdgeneral}; download the region "
            "again (labels above 0 count, -1 and 0 do not)"
        )


def check_session(path: Path, box: tuple[int, ...], trials: int) -> int:
    """Refuse a session file of another volume than the region, or of fewer trials than the index lists.

    Args:
        path: HDF5 or NIfTI file.
        box: Shape (X, Y, Z) of the region's volume.
        trials: Trials that the index lists.

    Returns:
        Trials in the file.

    Raises:
        BadInputError: If they do not fit.
    """
    shape = read_shape(path)
    if shape[1:] != box:
        raise BadInputError(f"{path} has volumes of {shape[1:]}, the region is {box}; they are not of one space")
    if shape[0] < trials:
        raise BadInputError(f"{path} has {shape[0]} trials, the index lists {trials}; download it again")
    return shape[0]
