"""NSD-synthetic as a trial table: 744 trials of 284 artificial pictures, all of them test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.nsd import find_subject, to_nsd_id
from fmri_lightning.index.prediction_only import SIDE_EXPERIMENTS
from fmri_lightning.index.stimulus_source import require_file
from fmri_lightning.index.subject_index import SubjectIndex, assemble_table
from fmri_lightning.index.synthetic_stimuli import N_COMMON, SyntheticStimuli, synthetic_ids
from fmri_lightning.manifest import file_fingerprint

EXPDESIGN = "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat"
N_RUNS = 8


def index_synthetic(root: Path, subject: str) -> SubjectIndex:
    """Read the trials of one subject, fixation and one-back runs together.

    Pictures that show nothing in the central square are left out, and named.

    Args:
        root: Folder that contains ``nsddata/``.
        subject: For instance "subj01".

    Returns:
        The trials in the order of their betas.

    Raises:
        BadInputError: If a file is missing, damaged, or contradicts another.
    """
    experiment = SIDE_EXPERIMENTS["nsd_synthetic"]
    number = find_subject(root, subject)
    ids_of_subject = synthetic_ids(number)
    ordering = to_nsd_id(_read_ordering(root / EXPDESIGN, experiment.n_trials, len(ids_of_subject)))
    stimuli = SyntheticStimuli(root)
    absent = np.setdiff1d(ids_of_subject, stimuli.ids)
    if len(absent):
        raise BadInputError(
            f"{stimuli.folder} lacks the coloured pictures of {subject}; it comes with the NSD download"
        )
    flat = ids_of_subject[stimuli.flat(ids_of_subject)]
    shown = ids_of_subject[ordering].astype(np.int64)
    keep = ~np.isin(shown, flat)
    per_run = experiment.n_trials // N_RUNS
    trial = np.arange(experiment.n_trials)
    ids = shown[keep]
    common = SIDE_EXPERIMENTS["nsd_synthetic"].first_id + N_COMMON
    return SubjectIndex(
        table=assemble_table(
            subject,
            session=np.ones(len(ids), dtype=np.int64),
            run=(trial // per_run + 1)[keep],
            trial_in_run=(trial % per_run + 1)[keep],
            global_trial=trial[keep],
            nsd_id=ids,
            split=np.full(len(ids), "test"),
            shared1000=np.zeros(len(ids), dtype=bool),
            test_ids=ids_of_subject.astype(np.int64),
            planned_repeats=int(np.bincount(ordering).max()),
            beta_path=np.full(
                len(ids), f"{experiment.betas_folder(subject, 'func1pt8mm', 'b3')}/betas_nsdsynthetic.hdf5"
            ),
            beta_index=trial[keep],
        ),
        inputs={EXPDESIGN: str(file_fingerprint(root / EXPDESIGN)["head_tail_sha256"])},
        n_catalogue=len(ids_of_subject),
        facts={
            "prediction_only": True,
            "task": "",
            "file_trials": experiment.n_trials,
            "flat_in_the_square": flat.tolist(),
            "test_set": "nsd_synthetic; not comparable with NSD's test sets",
        },
        categories={i: ("common" if i < common else "coloured",) for i in sorted(set(ids.tolist()))},
    )


def _read_ordering(path: Path, n_trials: int, n_pictures: int) -> NDArray[np.int64]:
    """Read masterordering, 1-based as in the file, (n_trials,)."""
    from scipy.io import loadmat

    require_file(path, "the NSD download (nsddata/experiments/nsdsynthetic)")
    try:
        arrays: dict[str, Any] = loadmat(path)
        ordering: NDArray[np.int64] = np.asarray(arrays["masterordering"]).astype(np.int64).ravel()
    except Exception as error:  # a damaged .mat file raises almost anything, zlib.error among it
        raise BadInputError(f"{path} cannot be read ({error!r}); download it again") from error
    if len(ordering) != n_trials:
        raise BadInputError(f"{path} orders {len(ordering)} trials, NSD-synthetic has {n_trials}; download it again")
    if ordering.min() < 1 or ordering.max() != n_pictures:
        raise BadInputError(
            f"{path}: masterordering runs from {ordering.min()} to {ordering.max()}, expected 1 to {n_pictures}, "
            "counted from 1"
        )
    return ordering
