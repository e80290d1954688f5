"""Checks that MindEye1's samples agree among themselves and with what else lies there; each has a name of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.mindeye1 import (
    BETAS,
    BRAIN,
    FOLDER,
    ROWS,
    MindEye1Tables,
    metadata_file,
    read_samples,
    subjects_of,
)
from fmri_lightning.index.nsd import EXPDESIGN
from fmri_lightning.index.planned import picture_counts, read_planned
from fmri_lightning.index.published import (
    FIRST37_PICTURES,
    FIRST37_SUBJECTS,
    FIRST37_TRIALS,
    NSD_CATALOGUE,
    SUBJECTS,
    subject_of_size,
)
from fmri_lightning.index.split import SPLITS

AGAIN = "download them again"


def check_totals(tables: MindEye1Tables) -> None:
    """Each split has as many samples as the metadata say.

    Raises:
        BadInputError: Samples are missing or too many.
    """
    for split in SPLITS if tables.totals is not None else ():
        found, told = int((tables.split == split).sum()), (tables.totals or {})[split]
        if found != told:
            path = metadata_file(tables.root, tables.subject)
            raise BadInputError(
                f"{tables.root / FOLDER / split} holds {found} samples of {tables.subject}, {path.name} says {told}; "
                f"{AGAIN}"
            )


def check_pictures(tables: MindEye1Tables) -> None:
    """Each picture is one sample of one split, and in the catalogue.

    Raises:
        BadInputError: A picture is there twice, or its id is none.
    """
    ids, where = tables.nsd_id, f"samples of {tables.subject} in {tables.root / FOLDER}"
    limit = len(tables.captions) if tables.captions is not None else NSD_CATALOGUE
    if ids.min() < 0 or ids.max() >= limit:
        raise BadInputError(
            f"{where}: coco73k goes from {ids.min()} to {ids.max()}, the catalogue has {limit} pictures"
        )
    unique, inverse, counts = np.unique(ids, return_inverse=True, return_counts=True)
    if counts.max() > 1:
        twice = np.flatnonzero(counts[inverse] > 1)
        rows = twice[inverse[twice] == inverse[twice[0]]]
        splits = sorted(set(tables.split[rows].tolist()))
        kind = f"the splits {' and '.join(splits)}" if len(splits) > 1 else f"{len(rows)} samples of {splits[0]}"
        raise BadInputError(
            f"{where}: {int((counts > 1).sum())} pictures are there twice, first {int(unique[inverse[rows[0]]])} in "
            f"{kind}; {AGAIN}"
        )


def check_shared(tables: MindEye1Tables) -> None:
    """The test pictures are those of the other subjects, as far as both saw them.

    A subject whose own test samples cannot be read is passed over: it is told so when it is indexed itself.

    Raises:
        BadInputError: Two subjects have different test pictures.
    """
    own = set(tables.nsd_id[tables.split == "test"].tolist())
    for other in subjects_of(tables.root):
        if other == tables.subject:
            continue
        try:
            theirs = {sample.number("coco73k.npy") for sample in read_samples(tables.root, other, ("test",))}
        except BadInputError:
            continue
        # All test pictures are shared; who ran fewer sessions saw fewer of them.
        if not (own <= theirs or theirs <= own):
            raise BadInputError(
                f"{tables.root / FOLDER}: the test pictures of {tables.subject} and {other} are not the same, though "
                f"both come from the shared ones ({len(own - theirs)} of {len(own)} differ); the ids of one are wrong"
            )
        stray = theirs & set(tables.nsd_id[tables.split != "test"].tolist())
        if stray:
            raise BadInputError(
                f"{tables.root / FOLDER}: picture {min(stray)} is a test picture of {other} and not of "
                f"{tables.subject}; the ids of one are wrong"
            )


def check_design(tables: MindEye1Tables) -> int | None:
    """Each picture has as many independent rows as NSD's design shows it in the first sessions.

    Returns:
        Sessions whose showings fit, or None where the design does not lie there.

    Raises:
        BadInputError: The pictures are another subject's, or shown another number of times.
    """
    if not (tables.root / EXPDESIGN).is_file():
        return None
    planned = read_planned(tables.root, tables.subject)
    order = np.argsort(tables.nsd_id)
    ids, found = tables.nsd_id[order], tables.num_uniques[order]
    unknown = np.setdiff1d(ids, planned.shown)
    if len(unknown):
        raise BadInputError(
            f"{len(unknown)} pictures of {tables.subject} in {tables.root / FOLDER} are not that subject's by "
            f"{EXPDESIGN}, first {int(unknown[0])}; the files are another subject's, or the ids are wrong"
        )
    is_shared = np.isin(ids, planned.shared)
    wrong = np.flatnonzero(is_shared != (tables.split[order] == "test"))
    if len(wrong):
        raise BadInputError(
            f"picture {int(ids[wrong[0]])} is in {tables.split[order][wrong[0]]} of {tables.subject}, by {EXPDESIGN} "
            f"it is {'' if is_shared[wrong[0]] else 'not '}shared; {AGAIN}"
        )
    fewest, closest = len(ids) + 1, 0
    for sessions in planned.in_order:
        expected_ids, expected = picture_counts(planned, sessions)
        if np.array_equal(expected_ids, ids):
            differ = int((np.minimum(expected, ROWS) != found).sum())
            if differ == 0:
                return sessions
            fewest, closest = min((fewest, closest), (differ, sessions))
    if closest:
        raise BadInputError(
            f"num_uniques of {fewest} samples of {tables.subject} is not how often {EXPDESIGN} shows the picture in "
            f"{closest} sessions; {AGAIN}"
        )
    raise BadInputError(
        f"{len(ids)} pictures of {tables.subject} in {tables.root / FOLDER} are not those of any number of first "
        f"sessions by {EXPDESIGN}; {AGAIN}"
    )


def check_rows(tables: MindEye1Tables) -> int:
    """All betas have one shape, and rows behind num_uniques, and only these, repeat earlier ones.

    Reads every row once.

    Returns:
        Voxels of a row.

    Raises:
        BadInputError: A sample is of another shape, holds values that are not finite, or its num_uniques is wrong.
    """
    first = tables.samples[0]
    n_voxels, box = int(first.betas().shape[1]), first.box()
    gaps: list[tuple[str, NDArray[np.int64]]] = []
    always = np.ones(n_voxels, dtype=bool)
    for sample, n_unique in zip(tables.samples, tables.num_uniques.tolist(), strict=True):
        rows = sample.betas()
        if rows.shape[1] != n_voxels or sample.box() != box:
            raise BadInputError(
                f"{sample.name} has {rows.shape[1]} voxels in a box of {sample.box()}, {first.name} has {n_voxels} in "
                f"{box}; they are not of one subject"
            )
        if not 1 <= n_unique <= ROWS:
            raise BadInputError(f"{sample.name}.num_uniques.npy is {n_unique}, expected 1 to {ROWS}; {AGAIN}")
        gap = ~np.isfinite(rows).all(axis=0)
        always &= gap
        if gap.any():
            gaps.append((sample.name, np.flatnonzero(gap)))
        independent = [row.tobytes() for row in rows[:n_unique]]
        if len(set(independent)) < n_unique:
            raise BadInputError(
                f"{sample.name}: num_uniques says {n_unique} independent rows, some of them are equal; {AGAIN}"
            )
        if any(row.tobytes() not in independent for row in rows[n_unique:]):
            raise BadInputError(
                f"{sample.name}: num_uniques says {n_unique}, but a later row repeats none of them; {AGAIN}"
            )
    for name, voxels in gaps:
        # A voxel without signal may be so everywhere; in some samples only it is damage.
        torn = int((~always[voxels]).sum())
        if torn:
            raise BadInputError(f"{name}.{BETAS} holds NaN or infinity in {torn} voxels; {AGAIN}")
    return n_voxels


def check_published(tables: MindEye1Tables, n_voxels: int, n_catalogue: int) -> None:
    """Files that claim to be NSD's have the published sizes, and are not another subject's.

    Raises:
        BadInputError: A size differs.
    """
    found, box = subject_of_size(n_voxels), tables.samples[0].box()
    listed = tables.captions is not None and len(tables.captions) != NSD_CATALOGUE
    if found not in (None, tables.subject) and not listed:
        raise BadInputError(
            f"the samples of {tables.subject} in {tables.root / FOLDER} have {n_voxels} voxels, which is {found}; the "
            "files were renamed"
        )
    if n_catalogue != NSD_CATALOGUE:
        return
    facts = SUBJECTS.get(tables.subject)
    if facts is not None and (n_voxels != facts.nsdgeneral or (box is not None and box != facts.shape)):
        raise BadInputError(
            f"the samples of {tables.subject} have {n_voxels} voxels in a box of {box}, NSD's have {facts.nsdgeneral} "
            f"in {facts.shape} ({BETAS}, {BRAIN}); they are of another subject"
        )
    if tables.subject not in FIRST37_SUBJECTS:
        return
    for side, is_side in (("test", tables.split == "test"), ("train", tables.split != "test")):
        counts = int(is_side.sum()), int(tables.num_uniques[is_side].sum())
        if counts != (FIRST37_PICTURES[side], FIRST37_TRIALS[side]):
            raise BadInputError(
                f"{tables.subject} has {counts[0]} pictures and {counts[1]} independent rows of {side} (val counted "
                f"with train), the first 37 sessions of NSD {FIRST37_PICTURES[side]} and {FIRST37_TRIALS[side]}; "
                f"{AGAIN}"
            )
