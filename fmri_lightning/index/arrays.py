"""Your own scans: a folder with betas as .npy, a table of trials and a folder of pictures.

::

    ROOT/stimuli/…            pictures of one size
    ROOT/SUBJECT/trials.tsv   stimulus, session, betas, row; run, trial and split where you have them
    ROOT/SUBJECT/*.npy        betas, (trials, voxels), float or integer
    ROOT/SUBJECT/voxels.tsv   optional: i, j, k and one column of labels per region
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.delimited import read_columns
from fmri_lightning.index.folder_stimuli import OWN_STIMULI, FolderStimuli
from fmri_lightning.index.split import (
    NOT_COMPARABLE,
    SPLITS,
    assign_split,
    is_hashed_test,
    is_validation,
    require_all_splits,
)
from fmri_lightning.index.subject_index import SubjectIndex, assemble_table, sessions_to_keep
from fmri_lightning.manifest import file_fingerprint
from fmri_lightning.records import TrialTable

ORIGIN = "your own scans (--source arrays; see the data guide, fmri_lightning/index/README.md)"
NUMBERS = ("session", "row", "run", "trial")


def index_arrays(
    root: Path, subject: str, sessions: str = "all", split_file: Path | None = None, normalised: bool = False
) -> SubjectIndex:
    """Read one subject of a folder of one's own.

    Args:
        root: Folder that holds ``stimuli`` and the subject's folder.
        subject: Name of that folder.
        sessions: "all", or the number of first sessions to keep.
        split_file: Table with the columns stimulus and split (train, val or test). Without it and without a column
            split in trials.tsv, a hashed tenth of the pictures is test, marked as not comparable.
        normalised: The betas come z-scored or averaged, so that T0 is skipped.

    Returns:
        The trials, sorted by session, file and row.

    Raises:
        BadInputError: If a file is missing, names unknown pictures, lists a row twice, or tears a picture apart.
    """
    path = root / subject / "trials.tsv"
    if not (root / subject).is_dir():
        present = sorted(p.parent.name for p in root.glob("*/trials.tsv"))
        raise BadInputError(f"no subject {subject!r} under {root}; present: {', '.join(present) or 'none'}")
    columns = read_columns(path, ("stimulus", "session", "betas", "row"), "\t", ORIGIN, ("run", "trial", "split"))
    numbers = {name: _integers(path, name, columns[name]) for name in NUMBERS if name in columns}
    files = np.array(columns["betas"])
    time = np.lexsort((numbers["row"], files, numbers["session"]))
    files, numbers = files[time], {name: column[time] for name, column in numbers.items()}
    _check_rows(path, numbers["session"], files, numbers["row"])
    names = [columns["stimulus"][t] for t in time]
    ids = FolderStimuli(root / OWN_STIMULI).id_of_name
    unknown = sorted(set(names) - set(ids))
    if unknown:
        raise BadInputError(
            f"{path} names {len(unknown)} pictures that {root / OWN_STIMULI} lacks, first {unknown[0]!r}"
        )
    nsd_id = np.array([ids[name] for name in names], dtype=np.int64)
    given = [columns["split"][t] for t in time] if "split" in columns else None
    split, test_set = _split(path, nsd_id, given, split_file, ids)
    keep = sessions_to_keep(sessions, numbers["session"], subject)
    table = _trial_table(subject, nsd_id, split, files, numbers, keep)
    require_all_splits(table.nsd_id, table.split)
    inputs = {f"{subject}/trials.tsv": _hash(path)}
    if split_file is not None:
        inputs["split_file"] = _hash(split_file)
    return SubjectIndex(table, inputs, len(ids), {"normalised": normalised, "test_set": test_set})


def _hash(path: Path) -> str:
    return str(file_fingerprint(path)["head_tail_sha256"])


def _integers(path: Path, name: str, column: list[str]) -> NDArray[np.int64]:
    lowest = 0 if name == "row" else 1
    for number, text in enumerate(column):
        if not text.strip().isdigit() or int(text) < lowest:
            raise BadInputError(
                f"{path}: line {number + 2} has {name} {text!r}, expected a whole number from {lowest} on"
            )
    return np.array([int(text) for text in column], dtype=np.int64)


def _check_rows(path: Path, session: NDArray[np.int64], files: NDArray[np.str_], row: NDArray[np.int64]) -> None:
    """Each row of the betas belongs to one trial, and a session lies in one file."""
    seen: dict[tuple[str, int], int] = {}
    file_of_session: dict[int, str] = {}
    for s, file, r in zip(session.tolist(), files.tolist(), row.tolist(), strict=True):
        if (file, r) in seen:
            raise BadInputError(f"{path} lists row {r} of {file} twice")
        seen[file, r] = s
        if file_of_session.setdefault(s, file) != file:
            raise BadInputError(f"{path}: session {s} is spread over {file_of_session[s]} and {file}; give one file")


def _split(
    path: Path, nsd_id: NDArray[np.int64], given: list[str] | None, split_file: Path | None, ids: dict[str, int]
) -> tuple[NDArray[np.str_], str]:
    """Return the split of each trial and what its test set is called."""
    if split_file is not None:
        columns = read_columns(split_file, ("stimulus", "split"), "\t", "your split (--split_file)")
        of_name = dict(zip(columns["stimulus"], columns["split"], strict=True))
        if len(of_name) != len(columns["stimulus"]):
            raise BadInputError(f"{split_file} lists a picture twice")
        of_id = {ids[name]: split for name, split in of_name.items() if name in ids}
        missing = sorted(set(nsd_id.tolist()) - set(of_id))
        if missing:
            name = next(name for name, i in ids.items() if i == missing[0])
            raise BadInputError(f"{split_file} leaves out {len(missing)} pictures of {path}, first {name!r}")
        return _with_validation(split_file, nsd_id, np.array([of_id[i] for i in nsd_id.tolist()])), split_file.name
    if given is not None:
        return _with_validation(path, nsd_id, np.array(given)), "the column split of trials.tsv"
    return assign_split(nsd_id, np.array([is_hashed_test(i) for i in nsd_id.tolist()])), NOT_COMPARABLE


def _with_validation(path: Path, nsd_id: NDArray[np.int64], split: NDArray[np.str_]) -> NDArray[np.str_]:
    """Check a given split; where it has no val, a hashed tenth of train becomes it."""
    unknown = sorted(set(split.tolist()) - set(SPLITS))
    if unknown:
        raise BadInputError(f"{path} has the split {unknown[0]!r}, expected {', '.join(SPLITS)}")
    pairs = np.unique(np.stack([nsd_id.astype(str), split]), axis=1)
    torn = len(pairs[0]) - len(np.unique(pairs[0]))
    if torn:
        raise BadInputError(f"{path} puts {torn} pictures in two splits; a split is by picture, never by trial")
    if "val" in split:
        return split
    held_out = np.array([is_validation(i) for i in nsd_id.tolist()])
    return np.where((split == "train") & held_out, "val", split)


def _trial_table(
    subject: str,
    nsd_id: NDArray[np.int64],
    split: NDArray[np.str_],
    files: NDArray[np.str_],
    numbers: dict[str, NDArray[np.int64]],
    keep: NDArray[np.bool_],
) -> TrialTable:
    n, session = len(nsd_id), numbers["session"]
    _, first, counts = np.unique(session, return_index=True, return_counts=True)
    within = np.arange(n) - np.repeat(first, counts)
    return assemble_table(
        subject,
        session=session[keep],
        run=numbers.get("run", np.ones(n, dtype=np.int64))[keep],
        trial_in_run=numbers.get("trial", within + 1)[keep],
        global_trial=np.arange(n)[keep],
        nsd_id=nsd_id[keep],
        split=split[keep],
        shared1000=np.zeros(int(keep.sum()), dtype=bool),
        # Of all sessions, so that fewer of them renumber nothing.
        test_ids=np.unique(nsd_id[split == "test"]),
        planned_repeats=int(np.unique(nsd_id, return_counts=True)[1].max()),
        beta_path=np.array([f"{subject}/{file}" for file in files.tolist()])[keep],
        beta_index=numbers["row"][keep],
    )
