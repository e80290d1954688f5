"""Reader of the arrays that brain-diffuser makes of NSD (Ozcelik and VanRullen 2023), pictures aside.

::

    ROOT/nsddata/experiments/nsd/nsd_expdesign.mat                              NSD's own design
    ROOT/processed_data/subj01/nsd_{train,test}_fmriavg_nsdgeneral_sub1.npy     betas, a row a picture
    ROOT/processed_data/subj01/nsd_{train,test}_cap_sub1.npy                    captions of the same rows; optional
    ROOT/annots/COCO_73k_annots_curated.npy                                     captions of all; optional
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.curated import CURATED, open_array, open_curated, open_text
from fmri_lightning.index.nsd import EXPDESIGN
from fmri_lightning.index.planned import Planned, read_planned

PROCESSED = "processed_data"
ANNOTATIONS = f"annots/{CURATED}"
PARTS = ("train", "test")
AGAIN = "make the arrays again with brain-diffuser's prepare_nsddata.py"


@dataclass(frozen=True)
class BrainDiffuserTables:
    """One subject's arrays, mapped, and the pictures of their rows.

    Attributes:
        root: Folder ``data`` of brain-diffuser.
        subject: For instance "subj01".
        betas: "train" and "test" → 300 x percent signal change, averaged over repeats, float (n, n_voxels).
        ids: "train" and "test" → 0-based nsd_id of each row by the design, (n,) int64.
        sessions: First sessions whose pictures are these.
        planned: The design.
        captions: "train" and "test" → text (n, 5) beside the betas, where there is some.
        curated: Captions of the whole catalogue, or None.
    """

    root: Path
    subject: str
    betas: dict[str, NDArray[Any]]
    ids: dict[str, NDArray[np.int64]]
    sessions: int
    planned: Planned
    captions: dict[str, NDArray[np.str_]]
    curated: NDArray[np.str_] | None


def array_file(subject: str, part: str, kind: str) -> str:
    """Name an array, relative to the root: the folder has two digits, the file one.

    Args:
        subject: For instance "subj01".
        part: "train" or "test".
        kind: "fmriavg_nsdgeneral", "stim" or "cap".
    """
    return f"{PROCESSED}/{subject}/nsd_{part}_{kind}_sub{int(subject[4:])}.npy"


def subjects_of(root: Path) -> list[str]:
    """List the subjects that have a folder of arrays."""
    return sorted(path.name for path in (root / PROCESSED).glob("subj0[1-8]") if path.is_dir())


def read_brain_diffuser_tables(root: Path, subject: str) -> BrainDiffuserTables:
    """Map one subject's arrays and name the picture of every row; reads no betas.

    Args:
        root: Folder that holds ``processed_data`` and ``nsddata``.
        subject: For instance "subj01".

    Returns:
        The tables.

    Raises:
        BadInputError: If a file is missing, damaged, of another shape, or its rows fit no number of sessions.
    """
    if subject not in subjects_of(root):
        raise BadInputError(
            f"no subject {subject!r} under {root / PROCESSED}; present: {', '.join(subjects_of(root)) or 'none'}"
        )
    planned = read_planned(root, subject)
    betas = {part: _open_betas(root / array_file(subject, part, "fmriavg_nsdgeneral")) for part in PARTS}
    sessions, ids = row_ids(root, subject, planned, betas)
    widths = {part: array.shape[1] for part, array in betas.items()}
    if widths["train"] != widths["test"]:
        raise BadInputError(
            f"{root / PROCESSED / subject}: the betas of train have {widths['train']} voxels, those of test "
            f"{widths['test']}; they are not of one subject"
        )
    captions = {}
    for part in PARTS:
        path = root / array_file(subject, part, "cap")
        if path.exists():
            captions[part] = open_text(path)
    return BrainDiffuserTables(root, subject, betas, ids, sessions, planned, captions, open_curated(root / ANNOTATIONS))


def row_ids(
    root: Path, subject: str, planned: Planned, arrays: dict[str, NDArray[Any]]
) -> tuple[int, dict[str, NDArray[np.int64]]]:
    """Name the picture of each row: pictures lie in the order in which they first appeared.

    Args:
        root: For the message.
        subject: For the message.
        planned: The design.
        arrays: "train" and "test" → any array with a row a picture.

    Returns:
        Sessions whose pictures are as many as the rows, and the 0-based nsd_ids of train and test.

    Raises:
        BadInputError: If no number of first sessions has so many pictures.
    """
    rows = {part: len(array) for part, array in arrays.items()}
    counts = {}
    for sessions in planned.in_order:
        ids = planned.first_appearances(sessions)
        counts[sessions] = {part: len(of_part) for part, of_part in ids.items()}
        if all(rows[part] == counts[sessions][part] for part in rows):
            return sessions, ids
    first = planned.in_order[0]
    turned = any(array.shape[-1] == counts[s][part] for s in counts for part, array in arrays.items())
    raise BadInputError(
        f"{root / PROCESSED / subject}: the arrays have {rows} rows; no number of first sessions shows {subject} so "
        f"many pictures by {EXPDESIGN} ({first} sessions: {counts[first]}); "
        + ("they are transposed, a row is a picture" if turned else AGAIN)
    )


def _open_betas(path: Path) -> NDArray[Any]:
    betas = open_array(path, "what brain-diffuser's prepare_nsddata.py writes")
    if betas.ndim != 2 or betas.dtype.kind != "f" or not betas.size:
        raise BadInputError(f"{path} is {betas.dtype} {betas.shape}, expected float64 (pictures, voxels); {AGAIN}")
    return betas
