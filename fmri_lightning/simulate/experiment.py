"""Who sees which picture when: the design of a simulated experiment, in the terms of NSD.

One order of trials (``masterordering``) serves all subjects; it numbers the pictures of a subject, shared
ones first, and ``subjectim`` says which catalogue picture such a number is. All numbers in these two tables
are 1-based, as in nsd_expdesign.mat; everything else here is 0-based unless its name says NSD's column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmri_lightning.simulate.recipe import FULL_SUBJECTS, RECIPE

N_SUBJECTS = 8
"""NSD's tables always have eight subjects, also where fewer are simulated."""

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Experiment:
    """A design.

    Attributes:
        subjects: simulated subjects, 1-based numbers.
        n_shared: pictures shown to every subject.
        repeats: planned showings of each picture.
        sessions: planned sessions.
        missing_sessions: how many of them the subjects outside FULL_SUBJECTS never ran.
        n_catalogue: pictures in the catalogue, including some that nobody sees.
        masterordering: int64 (n_trials,), 1-based number of the picture within the subject's list.
        subjectim: int64 (8, n_images), 1-based catalogue number; shared pictures first and ascending.
    """

    subjects: tuple[int, ...]
    n_shared: int
    repeats: int
    sessions: int
    missing_sessions: int
    n_catalogue: int
    masterordering: IntArray
    subjectim: IntArray

    @property
    def n_trials(self) -> int:
        """Planned trials of a subject."""
        return len(self.masterordering)

    @property
    def trials_per_session(self) -> int:
        """Trials in each session."""
        return self.n_trials // self.sessions

    @property
    def sharedix(self) -> IntArray:
        """1-based catalogue numbers of the shared pictures, ascending."""
        return self.subjectim[0, : self.n_shared]

    def sessions_run(self, subject: int) -> int:
        """Return how many sessions a subject (1-based number) really ran."""
        return self.sessions - (0 if subject in FULL_SUBJECTS else self.missing_sessions)

    def run_of_trial(self) -> tuple[IntArray, IntArray]:
        """Return run and trial within the run (both 1-based) of each trial of a session."""
        lengths = run_lengths(self.trials_per_session)
        runs = np.repeat(np.arange(1, len(lengths) + 1), lengths)
        return runs, np.concatenate([np.arange(1, length + 1) for length in lengths])

    def nsd_ids(self, subject: int) -> IntArray:
        """Return the 0-based catalogue number shown in each planned trial, int64 (n_trials,)."""
        ids: IntArray = self.subjectim[subject - 1, self.masterordering - 1] - 1
        return ids

    def repeat_of_trial(self) -> IntArray:
        """Return how often the picture of each planned trial was shown before, int64 (n_trials,)."""
        order = np.argsort(self.masterordering, kind="stable")
        repeat = np.empty(self.n_trials, dtype=np.int64)
        repeat[order] = np.tile(np.arange(self.repeats), self.n_trials // self.repeats)
        return repeat

    def basiccnt(self) -> IntArray:
        """Return how many pictures are shown 1x, 2x, 3x within each session, int64 (3, sessions)."""
        counts = np.zeros((3, self.sessions), dtype=np.int64)
        for session, shown in enumerate(self.masterordering.reshape(self.sessions, -1)):
            times = np.unique(shown, return_counts=True)[1]
            counts[:, session] = [np.count_nonzero(times == n) for n in (1, 2, 3)]
        return counts

    def stimpattern(self) -> npt.NDArray[np.uint8]:
        """Return which 4-s slots of a run hold a picture, uint8 (sessions, runs, slots)."""
        lengths = run_lengths(self.trials_per_session)
        lead_in, lead_out, blanks = 3, 4, 5
        pattern = np.zeros((self.sessions, len(lengths), lead_in + max(lengths) + blanks + lead_out), dtype=np.uint8)
        for run, length in enumerate(lengths):
            slots = np.ones(length + blanks, dtype=np.uint8)
            slots[np.linspace(0, len(slots) - 1, blanks + 2).round().astype(int)[1:-1]] = 0
            pattern[:, run, lead_in : lead_in + len(slots)] = slots
        return pattern


def run_lengths(trials_per_session: int) -> list[int]:
    """Return the trials of each of a session's 12 runs (fewer in tiny sessions), odd runs first served.

    Example:
        >>> run_lengths(750)[:3], sum(run_lengths(750))
        ([63, 62, 63], 750)
    """
    runs = max(1, min(12, trials_per_session // 3))
    lengths = [trials_per_session // runs] * runs
    for run in [*range(0, runs, 2), *range(1, runs, 2)][: trials_per_session % runs]:
        lengths[run] += 1
    return lengths


def make_experiment(
    subjects: tuple[int, ...],
    n_shared: int,
    n_unique: int,
    repeats: int,
    sessions: int,
    missing_sessions: int,
    seed: int,
) -> Experiment:
    """Plan an experiment.

    The rows of ``subjectim`` for subjects that are not simulated borrow the pictures of one that is, so that the
    catalogue holds no picture without use; they have no data.

    Args:
        subjects: Simulated subjects, 1-based.
        n_shared: Pictures that all subjects see.
        n_unique: Pictures that one simulated subject alone sees.
        repeats: Showings of each picture.
        sessions: Planned sessions; their number must divide the number of trials.
        missing_sessions: Sessions at the end that most subjects never run.
        seed: Seed of the design.

    Returns:
        The design.
    """
    rng = np.random.default_rng([seed, 100])
    used = n_shared + n_unique * len(subjects)
    n_catalogue = used + max(3, round(RECIPE.spare_pictures * used))
    numbers = rng.permutation(n_catalogue)[:used] + 1
    shared = np.sort(numbers[:n_shared])
    own = dict(zip(subjects, numbers[n_shared:].reshape(len(subjects), n_unique), strict=True))
    tails = [
        own[subject] if subject in own else rng.permutation(own[subjects[subject % len(subjects)]])
        for subject in range(1, N_SUBJECTS + 1)
    ]
    subjectim = np.stack([np.concatenate([shared, tail]) for tail in tails])
    order = _order_trials(n_shared, n_shared + n_unique, repeats, sessions, missing_sessions, rng)
    return Experiment(subjects, n_shared, repeats, sessions, missing_sessions, n_catalogue, order, subjectim)


def _order_trials(
    n_shared: int, n_images: int, repeats: int, sessions: int, missing: int, rng: np.random.Generator
) -> IntArray:
    """Spread the showings over the experiment: some repeats soon after the first, the others anywhere."""
    first = rng.random((n_images, 1))
    soon = np.minimum(first + rng.exponential(0.3 / sessions, (n_images, repeats)), 1.0)
    when = np.where(rng.random((n_images, repeats)) < RECIPE.same_session, soon, rng.random((n_images, repeats)))
    when[:, :1] = first
    pictures = np.repeat(np.arange(1, n_images + 1), repeats)
    order = pictures[np.argsort(when.ravel(), kind="stable")]
    # Two shared pictures come late: one that short subjects never see, one that they see only once.
    last, before = sessions - 1, sessions - 1 - missing
    _move(order, n_shared, [last] * repeats, sessions, rng)
    _move(order, n_shared - 1, [before] + [last] * (repeats - 1), sessions, rng)
    _part_neighbours(order, sessions, rng)
    return order


def _move(order: IntArray, picture: int, wanted_sessions: list[int], sessions: int, rng: np.random.Generator) -> None:
    """Bring the showings of a picture into given sessions by exchanging them with others."""
    length = len(order) // sessions
    parked: list[int] = []
    for position, session in zip(np.flatnonzero(order == picture), wanted_sessions, strict=True):
        free = [p for p in range(session * length, (session + 1) * length) if order[p] != picture and p not in parked]
        target = int(position) if position // length == session else int(rng.choice(free))
        order[position], order[target] = order[target], order[position]
        parked.append(target)


def _part_neighbours(order: IntArray, sessions: int, rng: np.random.Generator) -> None:
    """Exchange trials within a session until no picture follows itself."""
    length = len(order) // sessions
    for _ in range(1000):
        doubles = np.flatnonzero(order[1:] == order[:-1]) + 1
        if len(doubles) == 0:
            return
        for position in doubles:
            start = position // length * length
            target = int(rng.integers(start, start + length))
            order[position], order[target] = order[target], order[position]
