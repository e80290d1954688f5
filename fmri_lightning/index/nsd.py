"""Readers of the three NSD tables that say which trial showed which picture (Allen et al. 2022, NSD Data Manual)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.delimited import read_columns

EXPDESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
STIM_INFO = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
ORIGIN = "the NSD download"
N_SUBJECTS = 8


def to_nsd_id(ids_one_based: ArrayLike) -> NDArray[np.int64]:
    """Turn NSD's 1-based picture ids (73KID, subjectim, sharedix) into 0-based nsd_ids.

    This is the only place where the 1 is taken off; every table that counts from one passes through here.

    Args:
        ids_one_based: 1-based ids of any integer type.

    Returns:
        0-based ids, int64, the same shape.

    Raises:
        BadInputError: If an id is below one.
    """
    # Widened first: the files store unsigned integers, and an unsigned 0 - 1 wraps.
    ids = np.asarray(ids_one_based).astype(np.int64)
    if ids.size and ids.min() < 1:
        raise BadInputError(f"picture ids count from 1 in NSD's tables, found {ids.min()}")
    return ids - 1


def beta_folder(subject: str, space: str, betas_version: str) -> str:
    """Name the folder of a subject's beta files, relative to the data root.

    Args:
        subject: For instance "subj01".
        space: "func1pt8mm" or "func1mm".
        betas_version: "b1", "b2", "b3", or the folder's own name.

    Returns:
        A relative path with forward slashes.
    """
    names = {"b1": "betas_assumehrf", "b2": "betas_fithrf", "b3": "betas_fithrf_GLMdenoise_RR"}
    return f"nsddata_betas/ppdata/{subject}/{space}/{names.get(betas_version, betas_version)}"


def find_subject(root: Path, subject: str) -> int:
    """Check that the tree holds a subject.

    Args:
        root: Folder that contains ``nsddata/``.
        subject: For instance "subj01".

    Returns:
        The subject's number, counted from 1.

    Raises:
        BadInputError: If the tree or the subject is not there; the message lists the subjects that are.
    """
    folder = root / "nsddata" / "ppdata"
    if not folder.is_dir():
        raise BadInputError(f"no NSD tree at {root} (nsddata/ppdata is missing); give --root the folder above nsddata")
    present = sorted(path.name for path in folder.glob("subj*") if path.is_dir())
    number = int(subject[4:]) if subject.startswith("subj") and subject[4:].isdigit() else 0
    if subject not in present or not 1 <= number <= N_SUBJECTS:
        raise BadInputError(f"no subject {subject!r} under {folder}; present: {', '.join(present) or 'none'}")
    return number


@dataclass(frozen=True)
class Responses:
    """Trials that were run, one per row of ``responses.tsv``, in chronological order.

    Attributes:
        session: 1-based, (n,) int64.
        run: 1-based within the session, (n,) int64.
        trial: 1-based within the run, (n,) int64.
        id_73k: 1-based picture id, (n,) int64.
        id_10k: 1-based position in the subject's picture list, (n,) int64.
    """

    session: NDArray[np.int64]
    run: NDArray[np.int64]
    trial: NDArray[np.int64]
    id_73k: NDArray[np.int64]
    id_10k: NDArray[np.int64]


def read_responses(root: Path, subject: str) -> Responses:
    """Read a subject's ``behav/responses.tsv``.

    Args:
        root: Folder that contains ``nsddata/``.
        subject: For instance "subj01".

    Returns:
        The columns the index needs, sorted by session, run and trial.

    Raises:
        BadInputError: If the file is missing, lacks a column, holds another subject or a value that is no integer.
    """
    path = root / responses_file(subject)
    wanted = ("SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID")
    columns = read_columns(path, wanted, "\t", ORIGIN)
    try:
        numbers = {name: np.array([int(float(text)) for text in columns[name]], dtype=np.int64) for name in wanted}
    except ValueError as error:
        raise BadInputError(f"{path}: {error}; columns {', '.join(wanted)} hold integers") from error
    if set(numbers["SUBJECT"].tolist()) - {int(subject[4:])}:
        found = sorted(set(numbers["SUBJECT"].tolist()))
        raise BadInputError(f"{path} holds subject {found}, expected {subject}; the file was moved from another folder")
    order = np.lexsort((numbers["TRIAL"], numbers["RUN"], numbers["SESSION"]))
    return Responses(*(numbers[name][order] for name in wanted[1:]))


def responses_file(subject: str) -> str:
    """Name a subject's behavioural table, relative to the data root."""
    return f"nsddata/ppdata/{subject}/behav/responses.tsv"


@dataclass(frozen=True)
class Design:
    """The experiment as planned, from ``nsd_expdesign.mat``; everything 1-based as in the file.

    Attributes:
        masterordering: Position in the subject's picture list per trial, (n_planned,) int64.
        subjectim: Picture ids of each subject's list, (8, n_list) int64; the shared ones come first.
        sharedix: Ids of the shared pictures, ascending, (n_shared,) int64.
    """

    masterordering: NDArray[np.int64]
    subjectim: NDArray[np.int64]
    sharedix: NDArray[np.int64]


def read_design(root: Path) -> Design:
    """Read ``nsd_expdesign.mat`` (MATLAB version 5).

    Args:
        root: Folder that contains ``nsddata/``.

    Returns:
        The design.

    Raises:
        BadInputError: If the file is missing, unreadable, or its arrays contradict each other.
    """
    from scipy.io import loadmat

    path = root / EXPDESIGN
    if not path.is_file():
        raise BadInputError(f"{path} is missing; it comes with {ORIGIN}")
    try:
        arrays: dict[str, Any] = loadmat(path)
        design = Design(
            masterordering=np.asarray(arrays["masterordering"]).astype(np.int64).ravel(),
            subjectim=np.asarray(arrays["subjectim"]).astype(np.int64),
            sharedix=np.asarray(arrays["sharedix"]).astype(np.int64).ravel(),
        )
    except Exception as error:  # a damaged .mat file raises almost anything, zlib.error among it
        raise BadInputError(f"{path} cannot be read: {error}") from error
    n_shared, n_list = len(design.sharedix), design.subjectim.shape[-1]
    if design.subjectim.ndim != 2 or n_shared > n_list or np.any(design.subjectim[:, :n_shared] != design.sharedix):
        raise BadInputError(f"{path}: the first columns of subjectim are not sharedix; the file is not NSD's design")
    if design.masterordering.min() < 1 or design.masterordering.max() > n_list:
        raise BadInputError(f"{path}: masterordering points outside the {n_list} pictures of subjectim")
    return design


@dataclass(frozen=True)
class StimulusInfo:
    """The picture catalogue, one row per nsd_id, from ``nsd_stim_info_merged.csv``.

    Attributes:
        coco_id: (m,) int64.
        coco_split: "train2017" or "val2017", (m,) str.
        shared1000: Shown to all subjects, (m,) bool.
        repeats: 1-based planned trial numbers of one subject, 0 where there is none, (m, 3) int64.
    """

    coco_id: NDArray[np.int64]
    coco_split: NDArray[np.str_]
    shared1000: NDArray[np.bool_]
    repeats: NDArray[np.int64]


def read_stimulus_info(root: Path, subject_number: int) -> StimulusInfo:
    """Read the picture catalogue.

    Args:
        root: Folder that contains ``nsddata/``.
        subject_number: 1 to 8; whose repeats to read.

    Returns:
        The catalogue.

    Raises:
        BadInputError: If the file is missing, lacks a column, or nsdId is not the row number.
    """
    path = root / STIM_INFO
    repeats = tuple(f"subject{subject_number}_rep{k}" for k in range(3))
    columns = read_columns(path, ("cocoId", "cocoSplit", "nsdId", "shared1000", *repeats), ",", ORIGIN)
    try:
        nsd_id = np.array(columns["nsdId"], dtype=np.int64)
        info = StimulusInfo(
            coco_id=np.array(columns["cocoId"], dtype=np.int64),
            coco_split=np.array(columns["cocoSplit"]),
            shared1000=np.array([text.strip().lower() in ("true", "1") for text in columns["shared1000"]]),
            repeats=np.array([columns[name] for name in repeats], dtype=np.int64).T,
        )
    except ValueError as error:
        raise BadInputError(f"{path}: {error}") from error
    if np.any(nsd_id != np.arange(len(nsd_id))):
        raise BadInputError(f"{path}: nsdId is not the row number counted from 0; the file is not NSD's catalogue")
    return info
