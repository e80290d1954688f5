"""Betas as MindEye2 published them: one HDF5 file a subject, (trials, voxels of nsdgeneral), already z-scored.

The publishers standardised each voxel over all sessions by its trials of pictures that are not shared. Scale and
offset of a voxel are the same in all its trials, so T0 gives what it gives on NSD's own numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.source import BetaSource
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.mindeye import betas_file
from fmri_lightning.index.published import published_subject
from fmri_lightning.records import TrialTable

MASKS = "brain_region_masks.hdf5"
WHOLE = "nsdgeneral"


@dataclass(frozen=True)
class MindEyeBetas(BetaSource):
    """One file of all sessions.

    Attributes:
        ijk: -1, int32 (n_voxels, 3): the files hold no positions.
        voxel_columns: ncsnr_published (NaN) and the published regions, 0 or 1.
        files: The same file for every session.
        facts: roi, and what was done to the numbers before.
        columns: Columns of the file that are kept, (n_voxels,), ascending.
        n_columns: Columns of the file.
        n_trials: Trials of each session.
    """

    unit: ClassVar[str] = "standard deviations over all sessions"
    columns: NDArray[np.int64]
    n_columns: int
    n_trials: dict[int, int]

    def read(self, session: int, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Read the kept voxels in some trials, standard deviations over all sessions, float32 (n, n_voxels)."""
        import h5py

        path, first, last = self.files[session], int(rows.min()), int(rows.max())
        try:
            with h5py.File(path, "r") as handle:
                block = np.asarray(handle["betas"][first : last + 1], dtype=np.float32)
        except OSError as error:
            raise BadInputError(f"{path} is damaged or cut off ({error}); download it again") from error
        everything = len(self.columns) == self.n_columns
        betas: NDArray[np.float32] = block[rows - first]
        return betas if everything else np.ascontiguousarray(betas[:, self.columns])

    def take(self, columns: NDArray[np.integer]) -> Self:
        """Return the source of some voxels only."""
        return replace(super().take(columns), columns=self.columns[columns])

    def bytes_of(self, session: int) -> int:
        """Say how many bytes of its file a session costs: whole rows are read."""
        return 4 * self.n_columns * self.n_trials[session]


def open_mindeye_betas(table: TrialTable, root: Path, subject: str, roi: str, n_catalogue: int) -> MindEyeBetas:
    """Check betas and region masks of one subject; reads no beta.

    Args:
        table: The index.
        root: Folder of the dataset.
        subject: For instance "subj01".
        roi: "nsdgeneral" for all columns, or a published region: V1, V2, V3, V4, early_vis, higher_vis.
        n_catalogue: Pictures of the catalogue; NSD's 73,000 bind the published voxel counts.

    Returns:
        The source.

    Raises:
        BadInputError: If a file is missing, damaged, or of another shape.
    """
    path = root / betas_file(subject)
    n_rows, n_columns = read_mindeye_shape(path)
    check_mindeye_shape(subject, path, (n_rows, n_columns), int(table.beta_index.max()) + 1, n_catalogue)
    masks = read_region_masks(root / MASKS, subject, n_columns)
    masks[WHOLE] = np.ones(n_columns, dtype=bool)
    if roi not in masks:
        raise BadInputError(f"no region {roi!r} in {root / MASKS}; present: {', '.join(sorted(masks))}")
    columns = np.flatnonzero(masks[roi])
    if not len(columns):
        raise BadInputError(f"region {roi!r} of {subject} is empty in {root / MASKS}; choose another --roi")
    sessions, counts = np.unique(table.session, return_counts=True)
    voxel_columns: dict[str, NDArray[Any]] = {"ncsnr_published": np.full(len(columns), np.nan, dtype=np.float32)}
    voxel_columns |= {f"roi.{name}": mask[columns].astype(np.int16) for name, mask in sorted(masks.items())}
    return MindEyeBetas(
        ijk=np.full((len(columns), 3), -1, dtype=np.int32),
        voxel_columns=voxel_columns,
        files=dict.fromkeys(sessions.tolist(), path),
        facts={
            "roi": roi,
            "has_published_ncsnr": False,
            "arrived_as": "z-score per voxel over all sessions, by the trials of pictures that are not shared",
        },
        columns=columns,
        n_columns=n_columns,
        n_trials=dict(zip(sessions.tolist(), counts.tolist(), strict=True)),
    )


def read_mindeye_shape(path: Path) -> tuple[int, int]:
    """Read the size of a subject's betas.

    Args:
        path: ``betas_all_subjXX_fp32_renorm.hdf5``.

    Returns:
        (trials, voxels).

    Raises:
        BadInputError: If the file is missing, damaged, or has another layout.
    """
    import h5py

    if not path.is_file():
        kind = "is a folder, not a file" if path.is_dir() else "is missing"
        raise BadInputError(f"{path} {kind}; it comes with MindEye2's dataset")
    try:
        with h5py.File(path, "r") as handle:
            dataset = handle["betas"]
            shape, kind = dataset.shape, dataset.dtype
    except (OSError, KeyError) as error:
        raise BadInputError(f"{path} is not a whole HDF5 file with 'betas' ({error}); download it again") from error
    if len(shape) != 2 or kind.kind != "f":
        raise BadInputError(f"{path}: betas is {kind} {shape}, expected float (trials, voxels)")
    return int(shape[0]), int(shape[1])


def check_mindeye_shape(subject: str, path: Path, shape: tuple[int, int], n_trials: int, n_catalogue: int) -> None:
    """Refuse betas with fewer trials than the index, or another voxel count than NSD published.

    Args:
        subject: For instance "subj01".
        path: For the message.
        shape: (trials, voxels) of the file.
        n_trials: Trials up to the last that the index lists.
        n_catalogue: Pictures of the catalogue.

    Raises:
        BadInputError: If a size differs.
    """
    if shape[0] < n_trials:
        raise BadInputError(f"{path} has {shape[0]} trials, the index lists {n_trials}; download it again")
    published = published_subject(subject, n_catalogue)
    if published is not None and shape != (published.trials, published.nsdgeneral):
        raise BadInputError(
            f"{path} is {shape}, NSD's {subject} has {published.trials} trials and {published.nsdgeneral} voxels of "
            "nsdgeneral; it is of another subject"
        )


def read_region_masks(path: Path, subject: str, n_columns: int) -> dict[str, NDArray[np.bool_]]:
    """Read the published regions of one subject.

    Args:
        path: ``brain_region_masks.hdf5``; may be absent.
        subject: For instance "subj01".
        n_columns: Voxels of the betas.

    Returns:
        A mask (n_columns,) per region but nsd_general, which is the whole; empty where the file is absent.

    Raises:
        BadInputError: If the file is damaged or a mask is of another length.
    """
    import h5py

    if not path.exists():
        return {}
    try:
        with h5py.File(path, "r") as handle:
            if subject not in handle:
                return {}
            masks = {str(name): np.asarray(handle[subject][name]).ravel() > 0 for name in handle[subject]}
    except (OSError, TypeError, ValueError) as error:
        raise BadInputError(f"{path} cannot be read ({error}); download it again") from error
    for name, mask in masks.items():
        if len(mask) != n_columns:
            raise BadInputError(
                f"{path}: {subject}/{name} has {len(mask)} voxels, the betas have {n_columns}; "
                "they are not of one download"
            )
    masks.pop("nsd_general", None)
    return masks
