"""Checks of betas that need more than the tables: each has a name of its own in ``doctor --files``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.build import train_ncsnr
from fmri_lightning.betas.nsd_volumes import check_published_shape, check_session
from fmri_lightning.betas.reader import find_session_file, read_shape, read_voxels
from fmri_lightning.betas.reliability import MIN_REPEATED_STIMULI, NCSNR_AGREES, compare_ncsnr
from fmri_lightning.betas.roi import labels_at, mask_voxels, published_ncsnr
from fmri_lightning.betas.rows import n_repeated_stimuli
from fmri_lightning.betas.source import BetaSource
from fmri_lightning.betas.t0 import apply_t0, session_statistics
from fmri_lightning.errors import BadInputError
from fmri_lightning.records import TrialTable

SAMPLED_VOXELS = 2000
EARLY_P_LIMIT = 1e-3
EARLY_MIN_VOXELS = 50
"""With fewer voxels in the early region a missing lead proves nothing."""


def check_rows(folder: Path, session: NDArray[np.integer]) -> str:
    """Every session has a file with just as many trials as the table lists.

    Args:
        folder: Folder of a subject, space and betas version.
        session: 1-based session of each trial.

    Returns:
        What was found.

    Raises:
        BadInputError: A file is missing or has another number of trials.
    """
    sessions, counts = np.unique(session, return_counts=True)
    for number, count in zip(sessions.tolist(), counts.tolist(), strict=True):
        path = find_session_file(folder, number)
        found = read_shape(path)[0]
        if found != count:
            raise BadInputError(f"{path} has {found} trials, responses.tsv lists {count}; they are not of one download")
    return f"{len(sessions)} session files, {len(session)} trials"


def check_shapes(root: Path, subject: str, space: str, folder: Path, sessions: list[int], n_catalogue: int) -> str:
    """Every volume of the subject has one shape: betas, regions, ncsnr; NSD's own where the catalogue is NSD's.

    Args:
        root: Folder that contains ``nsddata/``.
        subject: For instance "subj01".
        space: "func1pt8mm" or "func1mm".
        folder: Folder of the betas.
        sessions: 1-based sessions that were run.
        n_catalogue: Pictures of the catalogue.

    Returns:
        What was found.

    Raises:
        BadInputError: A volume is missing, damaged or of another shape.
    """
    ijk, box = mask_voxels(root, subject, space, "nsdgeneral")
    shape = tuple(int(side) for side in box)
    check_published_shape(subject, space, "nsdgeneral", shape, len(ijk), n_catalogue)
    for session in sessions:
        check_session(find_session_file(folder, session), shape, 0)
    regions = labels_at(root, subject, space, ijk, shape)
    published_ncsnr(folder, ijk, shape)
    return f"{shape}, {len(ijk)} voxels of nsdgeneral, {len(regions)} region volumes"


def check_formats(folder: Path, ijk: NDArray[np.int32], sessions: list[int], seed: int = 0) -> str | None:
    """HDF5 and NIfTI of a session hold the same betas at the same voxels.

    Args:
        folder: Folder of the betas.
        ijk: Voxels of the mask.
        sessions: 1-based sessions that were run.
        seed: Of the voxels compared.

    Returns:
        What was found, or None where no session is there in both formats.

    Raises:
        BadInputError: They differ.
    """
    some = ijk[_sample(len(ijk), seed)]
    compared = 0
    for session in sessions:
        hdf5, nifti = (folder / f"betas_session{session:02d}{suffix}" for suffix in (".hdf5", ".nii.gz"))
        if not (hdf5.is_file() and nifti.is_file()):
            continue
        a, b = read_voxels(hdf5, some), read_voxels(nifti, some)
        differs = np.ones(1) if a.shape != b.shape else np.abs(a - b).max(axis=0)
        if differs.any():
            place = "" if a.shape != b.shape else f", first voxel {some[np.flatnonzero(differs)[0]].tolist()}"
            raise BadInputError(
                f"{hdf5.name} and {nifti.name} in {folder} differ in {np.count_nonzero(differs)} of {len(some)} voxels"
                f"{place}: another axis order, or another session; download both again"
            )
        compared += 1
    return f"{compared} sessions in both formats, {len(some)} voxels each" if compared else None


def sampled_ncsnr(
    source: BetaSource, table: TrialTable, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Estimate ncsnr of some voxels from training trials, through T0.

    Args:
        source: The betas.
        table: The index.
        seed: Of the voxels.

    Returns:
        Which voxels of the source, ascending, and their ncsnr; NaN where no picture is repeated.

    Raises:
        BadInputError: A session is damaged.
    """
    columns = _sample(len(source.ijk), seed)
    part = source.take(columns)
    z = np.empty((len(table), len(columns)), dtype=np.float32)
    for session in np.unique(table.session).tolist():
        rows = np.flatnonzero(table.session == session)
        betas = part.read(session, table.beta_index[rows])
        z[rows] = apply_t0(betas, session_statistics(betas, table.split[rows] == "train"))
    return columns, train_ncsnr(z, table)


def check_ncsnr(source: BetaSource, table: TrialTable) -> str | None:
    """Reliability estimated from training trials goes with the published ncsnr map, voxel by voxel.

    Args:
        source: Betas of an NSD tree.
        table: The index.

    Returns:
        What was found, or None where there is no map or too few pictures are repeated.

    Raises:
        BadInputError: The two maps do not correlate.
    """
    n_stimuli = n_repeated_stimuli(table)
    if not source.facts["has_published_ncsnr"] or n_stimuli < MIN_REPEATED_STIMULI:
        return None
    columns, ncsnr = sampled_ncsnr(source, table)
    published = source.voxel_columns["ncsnr_published"][columns]
    found = compare_ncsnr(ncsnr, published, np.ones(len(columns), dtype=bool), n_stimuli)
    text = (
        f"correlation {found['correlation']} over {found['n_voxels']} voxels, median {found['median']}, published "
        f"{found['median_published']}"
    )
    if not found["agrees"]:
        raise BadInputError(
            f"the published ncsnr map does not go with the betas ({text}; at least {NCSNR_AGREES} expected): they are "
            "of another subject or betas version, or their voxels or trials are in another order"
        )
    return text


def check_early_lead(source: BetaSource, table: TrialTable, region: str = "early_vis") -> str | None:
    """Early visual voxels are more reliable than the others, as in all of NSD: regions and betas share an order.

    Args:
        source: Betas of MindEye2's files, which have no positions and no ncsnr map.
        table: The index.
        region: Name of the early region.

    Returns:
        What was found, or None where the region or the number of repeated pictures is too small to tell.

    Raises:
        BadInputError: They are not.
    """
    from scipy.stats import mannwhitneyu

    labels = source.voxel_columns.get(f"roi.{region}")
    if labels is None or n_repeated_stimuli(table) < MIN_REPEATED_STIMULI:
        return None
    columns, ncsnr = sampled_ncsnr(source, table)
    early = labels[columns] > 0
    if not EARLY_MIN_VOXELS <= early.sum() < len(early):
        return None
    p = float(mannwhitneyu(ncsnr[early], ncsnr[~early], alternative="greater").pvalue)
    medians = float(np.median(ncsnr[early])), float(np.median(ncsnr[~early]))
    text = f"median ncsnr {medians[0]:.3f} in {region}, {medians[1]:.3f} elsewhere, p = {p:.1g}"
    if p > EARLY_P_LIMIT:
        raise BadInputError(
            f"{region} is not the most reliable part ({text}): the voxels of the betas and of the region masks are in "
            "another order, or the trials are"
        )
    return text


def _sample(n_voxels: int, seed: int) -> NDArray[np.int64]:
    if n_voxels <= SAMPLED_VOXELS:
        return np.arange(n_voxels)
    return np.sort(np.random.default_rng(seed).choice(n_voxels, SAMPLED_VOXELS, replace=False))
