"""The Algonauts 2023 challenge: NSD on the average surface, a row per picture, repeats averaged.

::

    ROOT/subjXX/training_split/training_fmri/{lh,rh}_training_fmri.npy    float32 (pictures, vertices)
    ROOT/subjXX/training_split/training_images/train-IIII_nsd-NNNNN.png   IIII from 1, NNNNN = nsd_id
    ROOT/subjXX/test_split/test_images/test-IIII_nsd-NNNNN.png
    ROOT/subjXX/test_split/test_fmri/{lh,rh}_test_fmri.npy                the organisers' side
    ROOT/subjXX/roi_masks/…

Row i of the betas belongs to the picture with the number i + 1, and the numbers follow the nsd_id.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.split import NOT_COMPARABLE, assign_split, is_hashed_test
from fmri_lightning.index.subject_index import SubjectIndex, assemble_table
from fmri_lightning.manifest import content_hash

TRAINING, TEST = "training", "test"
PREFIX = {TRAINING: "train", TEST: "test"}
"""Word in the names of folders → word in the names of pictures."""
SESSION = {TRAINING: 1, TEST: 2}
"""The files do not tell scan sessions; the index numbers the two splits instead."""
HEMISPHERES = ("lh", "rh")
ORIGIN = "the Algonauts 2023 challenge"
ARRIVED_AS = "z-score per vertex and session over all its trials, then the mean over the repeats of a picture"
PUBLISHED_TEST = "Algonauts 2023 test split (shown in the last three sessions only)"
_NAME = re.compile(r"(train|test)-(\d{4})_nsd-(\d{5})\.png")


def images_folder(subject: str, split: str) -> str:
    """Name the folder of a split's pictures, relative to the root."""
    return f"{subject}/{split}_split/{split}_images"


def fmri_folder(subject: str, split: str) -> str:
    """Name the folder of a split's betas, relative to the root."""
    return f"{subject}/{split}_split/{split}_fmri"


def fmri_file(subject: str, split: str, hemisphere: str) -> str:
    """Name the betas of a split and hemisphere, relative to the root."""
    return f"{fmri_folder(subject, split)}/{hemisphere}_{split}_fmri.npy"


def picture_files(folder: Path, split: str) -> dict[int, Path]:
    """List the pictures of a split in the order of its rows.

    Args:
        folder: Of the pictures.
        split: "training" or "test".

    Returns:
        nsd_id → file, ids ascending.

    Raises:
        BadInputError: If a name is of another form, a picture is missing, or numbers and ids are in different orders.
    """
    if not folder.is_dir():
        raise BadInputError(f"{folder} is missing; it comes with {ORIGIN}")
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    found: dict[int, Path] = {}
    last = -1
    for number, path in enumerate(files, 1):
        match = _NAME.fullmatch(path.name)
        if match is None or match[1] != PREFIX[split]:
            raise BadInputError(f"{path} is not named {PREFIX[split]}-IIII_nsd-NNNNN.png; keep other files elsewhere")
        if int(match[2]) != number:
            raise BadInputError(
                f"{folder}: picture {number} is missing or there twice, the next file is {path.name}; unpack it again"
            )
        nsd_id = int(match[3])
        if nsd_id <= last:
            raise BadInputError(
                f"{path}: nsd {nsd_id} comes after nsd {last}, yet numbers follow the ids in the challenge; files were "
                "renamed, and rows of the betas no longer tell their picture: unpack it again"
            )
        found[nsd_id] = path
        last = nsd_id
    if not found:
        raise BadInputError(f"{folder} holds no pictures; unpack {ORIGIN} again")
    return found


def open_fmri(path: Path, n_pictures: int) -> NDArray[np.float32]:
    """Map the betas of a split and hemisphere.

    Args:
        path: An .npy file.
        n_pictures: Pictures of the split.

    Returns:
        float32 (n_pictures, n_vertices), memory-mapped.

    Raises:
        BadInputError: If it is missing, damaged, of another type, transposed, or of another number of pictures.
    """
    if not path.is_file():
        kind = "is a folder, not a file" if path.is_dir() else "is missing"
        raise BadInputError(f"{path} {kind}; it comes with {ORIGIN}")
    betas: Any = load_array(path, mapped=True)
    if betas.ndim != 2 or betas.dtype != np.float32:
        raise BadInputError(
            f"{path} is {betas.dtype} {betas.shape}, the challenge's betas are float32 (pictures, vertices); it was "
            "written anew: unpack it again"
        )
    if len(betas) != n_pictures:
        turned = "it is transposed" if betas.shape[1] == n_pictures else "a picture is missing, or another subject's"
        raise BadInputError(f"{path} has {len(betas)} rows, its split {n_pictures} pictures; {turned}")
    mapped: NDArray[np.float32] = betas
    return mapped


def load_array(path: Path, mapped: bool = False) -> NDArray[Any]:
    """Read an .npy file of numbers; what needs unpickling is refused.

    Args:
        path: The file.
        mapped: Map it from disk instead.

    Returns:
        The array.

    Raises:
        BadInputError: If it is missing, damaged, or needs unpickling.
    """
    try:
        found = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise BadInputError(f"{path} is missing; it comes with {ORIGIN}") from error
    except (OSError, ValueError, EOFError) as error:
        raise BadInputError(f"{path} cannot be read as an array of numbers ({error}); unpack it again") from error
    if not isinstance(found, np.ndarray):
        raise BadInputError(f"{path} cannot be read as an array of numbers (an archive); unpack it again")
    return found


def index_algonauts(root: Path, subject: str, sessions: str = "all") -> SubjectIndex:
    """Read one subject of the challenge.

    Args:
        root: Folder that holds the subjects' folders.
        subject: For instance "subj01".
        sessions: "all": the files do not tell sessions.

    Returns:
        A row per picture: training pictures in their order, then the test pictures where their betas are there.

    Raises:
        UsageError: If some sessions are asked for.
        BadInputError: If a file is missing or wrong, pictures and rows disagree, or a picture is in both splits.
    """
    if sessions != "all":
        raise UsageError(f"--sessions {sessions}: repeats are averaged over sessions in {ORIGIN}; leave the flag out")
    if not (root / subject / "training_split").is_dir():
        present = sorted(path.parent.name for path in root.glob("*/training_split"))
        raise BadInputError(f"no subject {subject!r} under {root}; present: {', '.join(present) or 'none'}")
    has_test = (root / fmri_folder(subject, TEST)).is_dir()
    ids = {
        split: np.array(list(picture_files(root / images_folder(subject, split), split)), dtype=np.int64)
        for split in (TRAINING, TEST)
        if has_test or (root / images_folder(subject, split)).is_dir() or split == TRAINING
    }
    both = np.intersect1d(ids[TRAINING], ids.get(TEST, ids[TRAINING][:0]))
    if len(both):
        raise BadInputError(
            f"{root / subject}: {len(both)} pictures are in training and test, first nsd {int(both[0])}; the challenge "
            "has none in both: unpack it again"
        )
    used = [TRAINING, TEST] if has_test else [TRAINING]
    for split in used:
        for hemisphere in HEMISPHERES:
            open_fmri(root / fmri_file(subject, split, hemisphere), len(ids[split]))
    nsd_id = np.concatenate([ids[split] for split in used])
    of_split = np.repeat(used, [len(ids[split]) for split in used])
    is_test = of_split == TEST if has_test else np.array([is_hashed_test(i) for i in nsd_id.tolist()])
    return SubjectIndex(
        table=assemble_table(
            subject,
            session=np.array([SESSION[split] for split in of_split.tolist()]),
            run=np.ones(len(nsd_id), dtype=np.int64),
            trial_in_run=np.concatenate([np.arange(1, len(ids[split]) + 1) for split in used]),
            global_trial=np.arange(len(nsd_id)),
            nsd_id=nsd_id,
            split=assign_split(nsd_id, is_test),
            # The files name no shared pictures.
            shared1000=np.zeros(len(nsd_id), dtype=bool),
            test_ids=np.unique(nsd_id[is_test]),
            planned_repeats=1,
            beta_path=np.array([fmri_file(subject, split, "lh") for split in of_split.tolist()]),
            beta_index=np.concatenate([np.arange(len(ids[split])) for split in used]),
        ),
        inputs={images_folder(subject, split): content_hash(found) for split, found in ids.items()},
        n_catalogue=sum(len(found) for found in ids.values()),
        facts={
            "normalised": True,
            "arrived_as": ARRIVED_AS,
            "test_set": PUBLISHED_TEST if has_test else NOT_COMPARABLE,
        },
    )
