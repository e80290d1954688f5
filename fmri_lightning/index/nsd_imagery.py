"""NSD-Imagery as a trial table: what a subject saw, or imagined, in the twelve runs of that session.

What the files hold is documented by the NSD Data Manual and by public code that reads them. The columns of the event
files and the order of the runs could not be checked here against a real file: see the data guide.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.delimited import read_columns
from fmri_lightning.index.imagery_stimuli import ImageryStimuli, ImageryStimulus, read_imagery_stimuli
from fmri_lightning.index.nsd import EXPDESIGN, find_subject, read_design
from fmri_lightning.index.prediction_only import SIDE_EXPERIMENTS
from fmri_lightning.index.subject_index import SubjectIndex, assemble_table
from fmri_lightning.manifest import file_fingerprint

RUN_ORDERS = {
    "imgA_1": (
        "imgA_1", "attA", "visA", "imgB_1", "attB", "visB", "imgC_1", "attC", "visC", "imgA_2", "imgB_2", "imgC_2",
    ),
    "visA": (
        "visA", "attA", "imgA_1", "visB", "attB", "imgB_1", "visC", "attC", "imgC_1", "imgA_2", "imgB_2", "imgC_2",
    ),
}  # fmt: skip
"""The two orders of the runs' betas that public code takes for granted, by the first run. They disagree, and to take
the wrong one is to take imagined trials for seen ones: so neither is a default."""
TRIALS_PER_RUN = 48
BETAS_PER_TRIAL = {"vis": 1, "img": 1, "att": 2}
"""An attention trial has a beta for the cue and one for what followed; none of them is indexed."""
TASK_OF_RUN = {"vision": "vis", "imagery": "img"}
ORIGIN = "the NSD download (nsddata/bdata/nsdimagery)"


def event_file(subject: str, run: str) -> str:
    """Name the event file of a run, relative to the data root."""
    return f"nsddata/bdata/nsdimagery/nsdimagery_{subject}_{run}.tsv"


@dataclass(frozen=True)
class RunEvents:
    """Trials of one run, in the order of the file.

    Attributes:
        name: For instance "imgA_1".
        number: 1-based column RUN, the same in all trials of the run.
        cue: Letter of each trial's stimulus, (48,).
        first_beta: 0-based place of the run's first beta in the file of betas.
    """

    name: str
    number: int
    cue: tuple[str, ...]
    first_beta: int = 0


def index_imagery(root: Path, subject: str, task: str | None, first_run: str | None = None) -> SubjectIndex:
    """Read the seen or the imagined trials of one subject; every one is test.

    Args:
        root: Folder that contains ``nsddata/``.
        subject: For instance "subj01".
        task: "vision" or "imagery"; seen and imagined trials of a picture are never averaged together.
        first_run: "imgA_1" or "visA": which of the two known orders the betas are in; needed only where the column
            RUN of the event files does not tell.

    Returns:
        The trials in the order of their betas, with the set of each picture as its category.

    Raises:
        UsageError: If the task is neither.
        BadInputError: If a file is missing, damaged, of another subject, or contradicts another.
    """
    experiment = SIDE_EXPERIMENTS["nsd_imagery"]
    if task not in TASK_OF_RUN:
        raise UsageError(f"--source nsd_imagery needs --task {' or '.join(TASK_OF_RUN)}, not {task!r}")
    if first_run is not None and first_run not in RUN_ORDERS:
        raise UsageError(f"--first_run is {' or '.join(RUN_ORDERS)}, not {first_run!r}")
    find_subject(root, subject)
    stimuli = read_imagery_stimuli(root)
    runs, order_from = _in_order([_read_run(root, subject, name) for name in RUN_ORDERS["visA"]], first_run)
    wanted = [run for run in runs if run.name.startswith(TASK_OF_RUN[task])]
    seen = set(ImageryStimuli(root).ids.tolist())
    cue_of = _ids_of_cues(stimuli)
    rows = [
        (run.number, trial, run.first_beta + trial, cue_of[run.name[3], cue])
        for run in wanted
        for trial, cue in enumerate(run.cue)
        if _known(root, subject, run, cue, cue_of) in seen
    ]
    run, trial, beta, ids = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    if not len(ids):
        raise BadInputError(f"no picture of NSD-Imagery is there under {root}; bring nsddata/experiments/nsdimagery")
    names = {one.nsd_id: one for one in stimuli}
    files = [event_file(subject, one.name) for one in wanted]
    facts = {
        "prediction_only": True,
        "task": task,
        "file_trials": experiment.n_trials,
        "run_order": [one.name for one in runs],
        "run_order_from": order_from,
        "without_picture": sorted({one.file for one in stimuli} - {names[i].file for i in seen}),
        "same_as_nsd_id": _same_as_nsd(root, stimuli),
        "test_set": f"nsd_imagery, {experiment.tasks[task]}; not comparable with NSD's test sets",
    }
    return SubjectIndex(
        table=assemble_table(
            subject,
            session=np.ones(len(ids), dtype=np.int64),
            run=run,
            trial_in_run=trial + 1,
            global_trial=beta,
            nsd_id=ids,
            split=np.full(len(ids), "test"),
            shared1000=np.zeros(len(ids), dtype=bool),
            test_ids=np.array(sorted(names)),
            planned_repeats=TRIALS_PER_RUN // 6 * (1 if task == "vision" else 2),
            beta_path=np.full(
                len(ids), f"{experiment.betas_folder(subject, 'func1pt8mm', 'b3')}/betas_nsdimagery.hdf5"
            ),
            beta_index=beta,
        ),
        inputs={name: str(file_fingerprint(root / name)["head_tail_sha256"]) for name in files},
        n_catalogue=len(stimuli),
        facts=facts,
        categories={i: (task, f"set {names[i].set}") for i in sorted(set(ids.tolist()))},
    )


def _read_run(root: Path, subject: str, name: str) -> RunEvents:
    path = root / event_file(subject, name)
    columns = read_columns(path, ("SUBJECT", "RUN", "TRIAL", "CONDITION"), "\t", ORIGIN)
    try:
        numbers = {key: [int(float(text)) for text in columns[key]] for key in ("SUBJECT", "RUN", "TRIAL")}
    except ValueError as error:
        raise BadInputError(f"{path}: {error}; columns SUBJECT, RUN and TRIAL hold integers") from error
    if set(numbers["SUBJECT"]) != {int(subject[4:])}:
        raise BadInputError(
            f"{path} holds subject {sorted(set(numbers['SUBJECT']))}, expected {subject}; the file was moved from "
            "another subject"
        )
    if len(numbers["TRIAL"]) != TRIALS_PER_RUN:
        raise BadInputError(
            f"{path} lists {len(numbers['TRIAL'])} trials, a run of NSD-Imagery has {TRIALS_PER_RUN}; cut off? "
            "Download it again"
        )
    if numbers["TRIAL"] != list(range(1, TRIALS_PER_RUN + 1)):
        raise BadInputError(
            f"{path}: TRIAL does not count from 1 to {TRIALS_PER_RUN} in the order of the rows; the trials cannot be "
            "put beside their betas"
        )
    if len(set(numbers["RUN"])) != 1:
        raise BadInputError(f"{path} holds several runs ({sorted(set(numbers['RUN']))}); a file is one run")
    return RunEvents(name, numbers["RUN"][0], tuple(text.strip() for text in columns["CONDITION"]))


def _in_order(runs: list[RunEvents], first_run: str | None) -> tuple[list[RunEvents], str]:
    """Bring the runs into the order of their betas, and say who tells it: the column RUN, or else the user."""
    by_name = {run.name: run for run in runs}
    numbers = [run.number for run in runs]
    told: str | None = None
    if sorted(numbers) == list(range(1, len(runs) + 1)):
        names = tuple(run.name for run in sorted(runs, key=lambda run: run.number))
        told = next((first for first, order in RUN_ORDERS.items() if order == names), None)
        if told is None or first_run not in (None, told):
            raise BadInputError(
                f"the column RUN of the event files of NSD-Imagery gives the order {', '.join(names)}; expected one "
                f"that begins with {first_run or ' or '.join(RUN_ORDERS)} as it is documented"
            )
    if told is None and first_run is None:
        raise BadInputError(
            f"the column RUN of the event files of NSD-Imagery does not tell the runs apart ({sorted(set(numbers))}), "
            f"and public code disagrees on their order; give --first_run {' or --first_run '.join(RUN_ORDERS)}, see "
            "fmri_lightning/index/README.md"
        )
    placed, at = [], 0
    for number, name in enumerate(RUN_ORDERS[str(told or first_run)], start=1):
        placed.append(RunEvents(name, number, by_name[name].cue, at))
        at += TRIALS_PER_RUN * BETAS_PER_TRIAL[name[:3]]
    return placed, "--first_run" if told is None else "column RUN of the event files"


def _ids_of_cues(stimuli: list[ImageryStimulus]) -> dict[tuple[str, str], int]:
    return {(one.set, one.cue): one.nsd_id for one in stimuli}


def _known(root: Path, subject: str, run: RunEvents, cue: str, ids: dict[tuple[str, str], int]) -> int:
    """Return the picture of a trial; refuse a condition that the list of pairs does not name."""
    if (run.name[3], cue) not in ids:
        cues = sorted(letter for name, letter in ids if name == run.name[3])
        raise BadInputError(
            f"{root / event_file(subject, run.name)} has the CONDITION {cue!r}, the pairs of set {run.name[3]} are of "
            f"{', '.join(cues)}; the files are not of one download"
        )
    return ids[run.name[3], cue]


def _same_as_nsd(root: Path, stimuli: list[ImageryStimulus]) -> dict[str, int]:
    """Say which pictures are pictures of NSD too, by the number in their names; checked where the design is there."""
    same = {one: one.in_nsd for one in stimuli if one.in_nsd is not None}
    if (root / EXPDESIGN).is_file():
        shared: NDArray[np.int64] = read_design(root).sharedix
        for one, nsd_id in same.items():
            listed = int(shared[one.shared - 1]) if 1 <= one.shared <= len(shared) else 0
            if listed != nsd_id + 1:
                raise BadInputError(
                    f"picture {one.file} calls itself shared picture {one.shared}, which is number {listed} in "
                    f"{EXPDESIGN}, counted from 1, and not {nsd_id + 1}; the files are not of one download"
                )
    return {str(one.nsd_id): int(nsd_id) for one, nsd_id in same.items()}
