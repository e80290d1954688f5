"""Which trials a page asks, and in which order they are listed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import UsageError
from fmri_lightning.manifest import content_hash

MOST_TRIALS = 100
"""Trials of a page by default: about ten minutes."""


@dataclass(frozen=True)
class Trial:
    """One question.

    Attributes:
        item: Whose reconstruction is shown; the stimulus itself in an attention check.
        distractor: The item whose stimulus stands beside the right one.
        check: Whether it is an attention check.
        answer: Which of the two listed pictures is right, 0 or 1.
    """

    item: int
    distractor: int
    check: bool
    answer: int


def plan_trials(
    ids: NDArray[np.int32], n_trials: int | None, n_checks: int | None, seed: int, secret: str
) -> list[Trial]:
    """Draw the trials of a page.

    Chosen stimuli are put into one random circle and each has its successor as distractor: every picture stands once
    as the right and once as the wrong one, so that how often it returns tells nothing. Which stimuli and which
    distractors depends on seed and ids alone, and two systems that drew the same stimuli are asked about alike.

    Args:
        ids: nsd_id of each item, no id twice (n,).
        n_trials: Trials without the checks; all items, at most 100, by default.
        n_checks: Attention checks; one for every ten trials begun by default.
        seed: Of stimuli and distractors.
        secret: Decides the order in which trials and pairs are listed; whoever sees the page must not know it.

    Returns:
        Trials and checks in the order of the page.

    Raises:
        UsageError: More trials or checks are asked for than the stimuli allow.
    """
    n_items = len(ids)
    wanted = min(n_items, MOST_TRIALS) if n_trials is None else n_trials
    if not 2 <= wanted <= n_items:
        raise UsageError(f"--n_trials {wanted}: there are {n_items} stimuli; take 2 to {n_items}")
    checks = min(-(-wanted // 10), n_items // 2) if n_checks is None else n_checks
    if not 0 <= checks <= n_items // 2:
        raise UsageError(f"--n_checks {checks}: {n_items} stimuli allow 0 to {n_items // 2}, each a pair of its own")
    generator = _generator("trials", str(seed), ids)
    shuffled = generator.permutation(n_items).tolist()
    circle, spare = shuffled[:wanted], shuffled[wanted:]
    pairs = list(zip(circle, [*circle[1:], circle[0]], strict=True))
    questions = [(item, other, False) for item, other in pairs]
    candidates = spare + generator.permutation(circle).tolist()
    questions += [(item, other, True) for item, other in _check_pairs(candidates, pairs, checks)]
    listing = _generator("listing", secret, str(seed))
    answers = listing.integers(0, 2, size=len(questions)).tolist()
    order = listing.permutation(len(questions)).tolist()
    return [Trial(item, other, check, answers[i]) for i in order for item, other, check in [questions[i]]]


def _check_pairs(candidates: list[int], asked: list[tuple[int, int]], n: int) -> list[tuple[int, int]]:
    """Pairs of stimuli that no trial asks about, as far as there are such: an answer given away is given away once.

    Args:
        candidates: All items, those of no trial first.
        asked: The pairs of the trials.
        n: How many.
    """
    known = {frozenset(pair) for pair in asked}
    pairs = []
    for k in range(n):
        first, partners = candidates[2 * k], candidates[2 * k + 1 :] + candidates[: 2 * k]
        fresh = [other for other in partners if frozenset((first, other)) not in known]
        pairs.append((first, (fresh or partners)[0]))
        known.add(frozenset(pairs[-1]))
    return pairs


def _generator(*parts: str | NDArray[np.int32]) -> np.random.Generator:
    return np.random.default_rng(int(content_hash(*parts)[:32], 16))
