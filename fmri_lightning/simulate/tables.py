"""NSD's two text tables: what each picture of the catalogue is, and what happened in each trial."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np

from fmri_lightning.simulate.experiment import N_SUBJECTS, Experiment
from fmri_lightning.simulate.recipe import RECIPE

RESPONSE_COLUMNS = [
    *("SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID", "TIME", "ISOLD", "ISCORRECT", "RT", "CHANGEMIND"),
    *("MEMORYRECENT", "MEMORYFIRST", "ISOLDCURRENT", "ISCORRECTCURRENT", "TOTAL1", "TOTAL2", "BUTTON", "MISSINGDATA"),
]
STIM_INFO_COLUMNS = [
    *("cocoId", "cocoSplit", "cropBox", "loss", "nsdId", "flagged", "BOLD5000", "shared1000"),
    *(f"subject{subject}" for subject in range(1, N_SUBJECTS + 1)),
    *(f"subject{subject}_rep{repeat}" for subject in range(1, N_SUBJECTS + 1) for repeat in range(3)),
]


def write_stim_info(path: Path, experiment: Experiment, seed: int) -> None:
    """Write nsd_stim_info_merged.csv: 40 columns after an unnamed index.

    ``subjectN_repM`` are 1-based trial numbers with 0 for "not shown", planned trials of sessions that were never run
    included. COCO ids, splits and crops are invented.
    """
    n = experiment.n_catalogue
    rng = np.random.default_rng([seed, 400])
    coco_id = 1 + np.arange(n) * 131 % 581_929 + rng.integers(0, 131, n)
    n_val = max(1, n // 14)
    crop = rng.integers(0, 120, n) / 640.0
    tall, lopsided = rng.random(n) < 0.3, rng.random(n) < 0.5
    loss, bold5000 = rng.random(n) * 0.4, rng.random(n) < 0.06
    reps = _planned_trials(experiment)
    shared = np.isin(np.arange(n), experiment.sharedix - 1).tolist()
    rows = []
    for row in range(n):
        half = float(crop[row]) / 2
        pair = (0, float(crop[row])) if lopsided[row] else (half, half)
        box = (*pair, 0, 0) if tall[row] else (0, 0, *pair)
        split = "val2017" if row < n_val else "train2017"
        facts = (coco_id[row], split, box, round(float(loss[row]), 6), row, False, bool(bold5000[row]), shared[row])
        rows.append([row, *facts, *(reps[row, :, 0] > 0).astype(int).tolist(), *reps[row].ravel().tolist()])
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["", *STIM_INFO_COLUMNS])
    table.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8")


def _planned_trials(experiment: Experiment) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return the 1-based trial of each showing, (n_catalogue, 8, 3), 0 = not shown."""
    planned = np.zeros((experiment.n_catalogue, N_SUBJECTS, 3), dtype=np.int64)
    repeat = experiment.repeat_of_trial()
    for subject in range(1, N_SUBJECTS + 1):
        planned[experiment.nsd_ids(subject), subject - 1, repeat] = np.arange(1, experiment.n_trials + 1)
    return planned


def write_responses(path: Path, experiment: Experiment, subject: int, seed: int) -> None:
    """Write responses.tsv of a subject: 19 tab-separated columns, one row for each trial that was run."""
    lines = ["\t".join(RESPONSE_COLUMNS)]
    lines += ["\t".join(_cell(cell) for cell in row) for row in response_rows(experiment, subject, seed).tolist()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def response_rows(experiment: Experiment, subject: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return what happened in each trial of a subject that was run.

    The simulated observer says "old" (button 2) to 85 % of old and 15 % of new pictures; where no answer came, the
    columns about the answer are NaN.

    Args:
        experiment: The design.
        subject: 1-based.
        seed: Seed of the simulation.

    Returns:
        float64 (n_trials_run, 19), the columns of :data:`RESPONSE_COLUMNS`, all numbers counted from 1 as NSD does,
        TIME in days, RT in ms, both with the ten digits that the table keeps.
    """
    rng = np.random.default_rng([seed, subject, 401])
    length = experiment.trials_per_session
    runs, trials = experiment.run_of_trial()
    ids = experiment.nsd_ids(subject)
    n_rows = experiment.sessions_run(subject) * length
    answered = rng.random(n_rows) >= RECIPE.missing_response
    answered[min(7, n_rows - 1)] = False
    says_old, reaction_ms = rng.random(n_rows), 500 + rng.gamma(4.0, 90.0, n_rows)
    changes_mind = rng.random(n_rows) < 0.02
    day = np.concatenate([[0], np.cumsum(rng.integers(2, 9, experiment.sessions))])
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    rows = np.empty((n_rows, len(RESPONSE_COLUMNS)))
    for row in range(n_rows):
        session, within = divmod(row, length)
        picture = int(ids[row])
        old = picture in first
        old_now = last.get(picture, -1) >= session * length
        button: float = 2 if says_old[row] < (0.85 if old else 0.15) else 1
        correct, correct_now = float((button == 2) == old), float((button == 2) == old_now)
        presses = (float(button == 1), float(button == 2))
        reaction, changed = float(_cell(reaction_ms[row])), float(changes_mind[row])
        if not answered[row]:
            button = correct = correct_now = reaction = changed = math.nan
            presses = (math.nan, math.nan)
        time_days = float(_cell(day[session] + 0.4 + ((runs[within] - 1) * 330 + trials[within] * 4) / 86_400))
        since_last = row - last[picture] - 1 if old else math.nan
        since_first = row - first[picture] - 1 if old else math.nan
        rows[row, :4] = (subject, session + 1, runs[within], trials[within])
        rows[row, 4:6] = (picture + 1, experiment.masterordering[row])
        rows[row, 6:13] = (time_days, old, correct, reaction, changed, since_last, since_first)
        rows[row, 13:] = (old_now, correct_now, *presses, button, not answered[row])
        first.setdefault(picture, row)
        last[picture] = row
    return rows


def _cell(value: float) -> str:
    """Write whole numbers without a point and missing ones as NaN."""
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if float(value).is_integer() else f"{value:.10g}"
