"""Checks that brain-diffuser's arrays belong together; each has a name of its own."""

from __future__ import annotations

import numpy as np

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.brain_diffuser import (
    AGAIN,
    ANNOTATIONS,
    PARTS,
    PROCESSED,
    BrainDiffuserTables,
    array_file,
    subjects_of,
)
from fmri_lightning.index.curated import open_text
from fmri_lightning.index.published import (
    FIRST37_PICTURES,
    FIRST37_SUBJECTS,
    NSD_CATALOGUE,
    SUBJECTS,
    subject_of_size,
)
from fmri_lightning.index.subject_index import FIRST37


def check_captions(tables: BrainDiffuserTables) -> int | None:
    """The captions of a row are those of its picture: what tells a shift, another order or another subject.

    Returns:
        Rows that were compared, or None where captions or their table are not there.

    Raises:
        BadInputError: A row has the captions of another picture.
    """
    if tables.curated is None or not tables.captions:
        return None
    compared = 0
    for part, captions in tables.captions.items():
        path, ids = tables.root / array_file(tables.subject, part, "cap"), tables.ids[part]
        if len(captions) != len(ids):
            raise BadInputError(f"{path} has {len(captions)} rows, the betas have {len(ids)}; {AGAIN}")
        if ids.max() >= len(tables.curated):
            raise BadInputError(
                f"{tables.root / ANNOTATIONS} has {len(tables.curated)} pictures, the design shows picture {ids.max()}"
            )
        wrong = np.flatnonzero((np.asarray(captions) != np.asarray(tables.curated[ids])).any(axis=1))
        if len(wrong):
            raise BadInputError(
                f"{path}: the captions of {len(wrong)} of {len(ids)} rows are not those of the pictures that the "
                f"design puts there, first row {int(wrong[0])} (picture {int(ids[wrong[0]])}); the rows are shifted, "
                "in another order or of another subject"
            )
        compared += len(ids)
    return compared


def check_test_order(tables: BrainDiffuserTables) -> None:
    """Subjects who saw as many shared pictures have the same test captions, row by row.

    A subject whose captions cannot be read is passed over: it is told so when it is indexed itself.

    Raises:
        BadInputError: Two subjects differ.
    """
    own = tables.captions.get("test")
    for other in subjects_of(tables.root):
        path = tables.root / array_file(other, "test", "cap")
        if own is None or other == tables.subject or not path.exists():
            continue
        try:
            theirs = open_text(path)
        except BadInputError:
            continue
        if len(theirs) == len(own) and not np.array_equal(np.asarray(theirs), np.asarray(own)):
            raise BadInputError(
                f"{path} and that of {tables.subject} have as many rows and other captions, though all saw the shared "
                f"pictures in one order; {AGAIN}"
            )


def check_published(tables: BrainDiffuserTables, n_catalogue: int) -> None:
    """Arrays that claim to be of NSD have the published sizes, and are not another subject's.

    Raises:
        BadInputError: A size differs.
    """
    n_voxels, facts = tables.betas["train"].shape[1], SUBJECTS.get(tables.subject)
    where, found = tables.root / PROCESSED / tables.subject, subject_of_size(n_voxels)
    listed = tables.curated is not None and len(tables.curated) != NSD_CATALOGUE
    if found not in (None, tables.subject) and not listed:
        raise BadInputError(f"{where}: the betas have {n_voxels} voxels, which is {found}; the files were renamed")
    if n_catalogue != NSD_CATALOGUE:
        return
    if facts is not None and n_voxels != facts.nsdgeneral:
        raise BadInputError(
            f"{where}: the betas have {n_voxels} voxels, nsdgeneral of NSD's {tables.subject} has {facts.nsdgeneral}; "
            "they are of another region or subject"
        )
    if tables.sessions == FIRST37 and tables.subject in FIRST37_SUBJECTS:
        counts = {part: len(tables.ids[part]) for part in PARTS}
        if counts != FIRST37_PICTURES:
            raise BadInputError(
                f"{where}: {counts} pictures, the first 37 sessions of NSD have {FIRST37_PICTURES}; the design is not "
                "NSD's"
            )
