"""Which trials a ridge regression leaves out together, and which rows are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError

Values = TypeVar("Values", NDArray[np.floating], scipy.sparse.csr_array)


@dataclass(frozen=True)
class Folds:
    """Parts of the trials, each predicted from all others; no stimulus lies in two of them.

    Attributes:
        fold_of_trial: (trials,), 0..n_folds-1.
        row_of_trial: Scored row of each trial, (trials,), 0..n_rows-1: the number of its stimulus when repeats are
            averaged, else its own number.
        stimulus_of_trial: Number of its stimulus in ascending order of the ids, (trials,).
    """

    fold_of_trial: NDArray[np.int64]
    row_of_trial: NDArray[np.int64]
    stimulus_of_trial: NDArray[np.int64]

    @property
    def folds_are_stimuli(self) -> bool:
        """Whether every fold is one stimulus."""
        return np.array_equal(self.fold_of_trial, self.stimulus_of_trial)

    def members(self) -> list[NDArray[np.int64]]:
        """Trials of every fold, ascending."""
        order = np.argsort(self.fold_of_trial, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.fold_of_trial))[:-1])

    def rows(self, per_trial: Values) -> Values:
        """Average the trials of every scored row: (trials, targets) to (rows, targets), dense or sparse."""
        averaged: Values = _averaged(per_trial, self.row_of_trial)
        return averaged

    def stimuli(self, per_row: NDArray[np.floating]) -> NDArray[np.floating]:
        """Average the scored rows of every stimulus: (rows, targets) to (stimuli, targets)."""
        _, first_trial = np.unique(self.row_of_trial, return_index=True)
        return np.asarray(_averaged(per_row, self.stimulus_of_trial[first_trial]))

    def training_means(self, centred: NDArray[np.floating]) -> NDArray[np.floating]:
        """Mean over the trials outside a row's fold, of values that sum to 0 over all trials: (rows, targets)."""
        sizes = np.bincount(self.fold_of_trial)
        sums = _membership(self.fold_of_trial, centred.dtype) @ centred
        means = (-sums / (len(self.fold_of_trial) - sizes)[:, None]).astype(centred.dtype)
        _, first_trial = np.unique(self.row_of_trial, return_index=True)
        return np.asarray(means[self.fold_of_trial[first_trial]])


def make_folds(
    stimuli: NDArray[np.integer], cv: str | int, folds: NDArray[np.integer] | None, average_repeats: bool
) -> Folds:
    """Assign trials to folds, the same for the same stimuli.

    Args:
        stimuli: Stimulus id of each trial.
        cv: "stimulus" for one fold per stimulus; or a number of folds, filled by turns in ascending order of the
            ids, so that neighbouring ids lie in different folds.
        folds: Fold number of each trial, any integers; replaces ``cv``.
        average_repeats: Whether a scored row is a stimulus or a trial.

    Returns:
        The folds.

    Raises:
        BadInputError: If there are fewer than two folds, more folds than stimuli, or a stimulus in two folds.
    """
    unique, groups = np.unique(stimuli, return_inverse=True)
    if len(unique) < 2:
        raise BadInputError("ridge: leaving one stimulus out needs at least two stimuli")
    if folds is not None:
        fold_of_trial = _given_folds(np.asarray(folds), unique, groups)
    elif isinstance(cv, str):
        if cv != "stimulus":
            raise BadInputError(f"ridge: cv is 'stimulus' or a number of folds, got {cv!r}")
        fold_of_trial = groups
    else:
        if not 2 <= cv <= len(unique):
            raise BadInputError(f"ridge: cv={cv} folds of {len(unique)} stimuli; take 2 to {len(unique)}")
        fold_of_trial = groups % cv
    rows = groups if average_repeats else np.arange(len(groups))
    return Folds(fold_of_trial.astype(np.int64), rows.astype(np.int64), groups.astype(np.int64))


def _given_folds(
    folds: NDArray[np.integer], unique: NDArray[np.integer], groups: NDArray[np.int64]
) -> NDArray[np.int64]:
    if folds.shape != groups.shape:
        raise BadInputError(f"ridge: {len(groups)} trials need as many fold numbers, got {folds.shape}")
    numbers, fold_of_trial = np.unique(folds, return_inverse=True)
    if len(numbers) < 2:
        raise BadInputError("ridge: all trials lie in one fold; at least two are needed")
    fold_of_stimulus = np.empty(len(unique), dtype=np.int64)
    fold_of_stimulus[groups] = fold_of_trial
    torn = np.flatnonzero(fold_of_stimulus[groups] != fold_of_trial)
    if len(torn):
        raise BadInputError(
            f"ridge: stimulus {unique[groups[torn[0]]]} has trials in two folds; it would be predicted from its repeats"
        )
    return np.asarray(fold_of_trial)


def _membership(part_of: NDArray[np.int64], dtype: np.dtype) -> scipy.sparse.csr_array:
    return scipy.sparse.csr_array((np.ones(len(part_of), dtype=dtype), (part_of, np.arange(len(part_of)))))


def _averaged(values: Values, part_of: NDArray[np.int64]) -> Values:
    if np.array_equal(part_of, np.arange(len(part_of))):
        return values
    counts = np.bincount(part_of)
    shares = (1 / counts[part_of]).astype(values.dtype)
    shape = (len(counts), len(part_of))
    averaged: Values = scipy.sparse.csr_array((shares, (part_of, np.arange(len(part_of)))), shape=shape) @ values
    return averaged
