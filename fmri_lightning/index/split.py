"""Split by stimulus: shared pictures are test, a hashed tenth of the others is val, the rest is train."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import content_hash

SPLITS = ("train", "val", "test")
VAL_ONE_IN = 10
NOT_COMPARABLE = "a hashed tenth, not comparable with published numbers"
"""What a test set is called that nobody else has."""


def is_validation(nsd_id: int) -> bool:
    """Say whether a picture outside the shared ones belongs to the hashed tenth.

    A hash of the id alone, so that subjects, sessions and limits never move a picture from one split to another.

    Args:
        nsd_id: 0-based picture id.

    Returns:
        True for one picture in ten.
    """
    return _tenth(nsd_id) == 0


def is_hashed_test(nsd_id: int) -> bool:
    """Say whether a picture belongs to the test tenth of an experiment without shared pictures or published split.

    Args:
        nsd_id: 0-based picture id.

    Returns:
        True for one picture in ten, none of them a validation picture.
    """
    return _tenth(nsd_id) == 1


def _tenth(nsd_id: int) -> int:
    return int.from_bytes(blake2b(str(int(nsd_id)).encode(), digest_size=8).digest(), "big") % VAL_ONE_IN


def assign_split(nsd_id: NDArray[np.integer], is_test: NDArray[np.bool_]) -> NDArray[np.str_]:
    """Assign each trial to the split of its picture.

    Args:
        nsd_id: 0-based picture id per trial, (n,).
        is_test: Whether the picture is a test picture: in NSD, whether it was shown to all subjects, (n,).

    Returns:
        "train", "val" or "test" per trial, (n,) str.

    Raises:
        BadInputError: If a split is empty.
    """
    unique, inverse = np.unique(nsd_id, return_inverse=True)
    of_unique = np.array(["val" if is_validation(i) else "train" for i in unique])
    split = np.where(is_test, "test", of_unique[inverse])
    require_all_splits(nsd_id, split)
    return split


def require_all_splits(nsd_id: NDArray[np.integer], split: NDArray[np.str_]) -> None:
    """Refuse a table in which a split has no trial.

    Args:
        nsd_id: 0-based picture id per trial, (n,).
        split: "train", "val" or "test" per trial, (n,).

    Raises:
        BadInputError: If a split is empty.
    """
    for name in SPLITS:
        if not np.any(split == name):
            raise BadInputError(
                f"the {name} split is empty: {len(np.unique(nsd_id))} pictures in {len(nsd_id)} trials; index more "
                "sessions"
            )


def split_hash(nsd_id: NDArray[np.integer], split: NDArray[np.str_]) -> str:
    """Hash which picture is in which split; every later stage carries it.

    Args:
        nsd_id: 0-based picture id per trial, (n,).
        split: Split per trial, (n,).

    Returns:
        64 hexadecimal digits.

    Raises:
        BadInputError: If a picture is in two splits.
    """
    unique, first = np.unique(nsd_id, return_index=True)
    of_unique = np.asarray(split)[first]
    torn = np.asarray(split) != of_unique[np.searchsorted(unique, nsd_id)]
    if np.any(torn):
        ids = np.unique(np.asarray(nsd_id)[torn])
        raise BadInputError(f"{len(ids)} pictures are in two splits, first {ids[:5].tolist()}; rebuild the index")
    return content_hash(unique.astype(np.int32), of_unique)
