"""Which stimuli a part says it was fitted on, by the hash it carries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.doctor.leaks.parts import RunParts
from fmri_lightning.encoder.stored import record_of_stimuli
from fmri_lightning.errors import BadInputError


def check_record(what: str, record: dict[str, Any] | None, parts: RunParts, again: str) -> str:
    """Check that a record of training stimuli is that of the subject's train split.

    Args:
        what: File in words.
        record: As made by :func:`~fmri_lightning.encoder.stored.record_of_stimuli`, or None in files of earlier
            versions.
        parts: The run, with an index.
        again: The command that makes the file again.

    Returns:
        A line for the report.

    Raises:
        BadInputError: The record is of other stimuli; those that explain it are named.
    """
    if record is None:
        return f"{what}: has no record of the stimuli it was fitted on (of an earlier version); numbers only"
    expected = record_of_stimuli(parts.train_ids)
    if record == expected:
        return f"{what}: fitted on the {expected['n_stimuli']} training stimuli, by its record"
    raise BadInputError(
        f"{what}: fitted_on records {record.get('n_stimuli')} stimuli ({str(record.get('hash'))[:12]}), expected the "
        f"{expected['n_stimuli']} training stimuli ({expected['hash'][:12]}); it {_explain(record, parts)}; {again}"
    )


def _explain(record: dict[str, Any], parts: RunParts) -> str:
    for words, ids in _candidates(parts):
        if record == record_of_stimuli(ids):
            foreign = np.setdiff1d(ids, parts.train_ids)
            return f"is that of {words}" + (f" and saw {parts.name_stimuli(foreign)}" if len(foreign) else "")
    return "is of stimuli that cannot be told from a hash"


def _candidates(parts: RunParts) -> Iterator[tuple[str, NDArray[np.int32]]]:
    """Whole splits, then the train split and one foreign stimulus."""
    for splits in (("train", "test"), ("train", "val"), ("train", "val", "test"), ("val",), ("test",)):
        yield " and ".join(splits), parts.stimuli(*splits)
    for nsd_id in parts.stimuli("val", "test"):
        yield "train and one more", np.append(parts.train_ids, nsd_id)
