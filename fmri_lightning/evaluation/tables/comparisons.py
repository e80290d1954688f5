"""Paired tests between runs of one subject, over the stimuli that both have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.evaluation.tables.scored import UNKNOWN, ItemScores, ScoredRun
from fmri_lightning.metrics.bootstrap import bootstrap_interval
from fmri_lightning.metrics.permutation import paired_sign_flip

METHOD = (
    "Difference: first minus second, mean over the stimuli that both runs have, repeats of a stimulus averaged first, "
    "with a 95 % bootstrap interval over stimuli; of ranks, too, the mean difference. p: two-sided sign-flip test, "
    "(b + 1) / (n + 1). p (Holm) is corrected for the metrics of one pair of runs, not for the number of pairs. "
    "The metrics are correlated with one another: several small p of one pair are not as many findings, and Holm's "
    "correction, which allows for any dependence, is conservative."
)


@dataclass(frozen=True)
class Comparison:
    """One metric of two runs of a subject.

    Attributes:
        first: System of the first run.
        second: System of the second run.
        subject: Whose runs.
        metric: What is compared.
        difference: Mean of first minus second; None where no stimulus has both scores.
        ci_low: Lower end of its interval.
        ci_high: Upper end.
        p: Of the sign-flip test.
        p_holm: The same, corrected for the metrics of the pair.
        n: Stimuli compared.
        n_undefined: Common stimuli left out because a score is undefined.
    """

    first: str
    second: str
    subject: str
    metric: str
    difference: float | None
    ci_low: float | None
    ci_high: float | None
    p: float | None
    p_holm: float | None
    n: int
    n_undefined: int


def compare_runs(runs: list[ScoredRun], metrics: list[str], n_resamples: int, seed: int) -> list[Comparison]:
    """Test every pair of runs of the same subject.

    Args:
        runs: In the order of the table.
        metrics: What to compare, where both runs have it.
        n_resamples: Bootstrap resamples of the difference.
        seed: Of bootstrap and sign flips.

    Returns:
        Comparisons by pair, in the order of runs, and within a pair in the order of metrics.
    """
    found = []
    for first, second in combinations(runs, 2):
        if first.subject == second.subject != UNKNOWN:
            of_pair = [
                _compare(first, second, metric, n_resamples, seed)
                for metric in metrics
                if metric in first.scores and metric in second.scores
            ]
            found += _corrected(of_pair)
    return found


def _compare(first: ScoredRun, second: ScoredRun, metric: str, n_resamples: int, seed: int) -> Comparison:
    differences, influences, n_undefined = paired_differences(first.scores[metric], second.scores[metric])
    names = (first.system, second.system, first.subject, metric)
    if differences.size == 0:
        return Comparison(*names, None, None, None, None, None, 0, n_undefined)
    interval = bootstrap_interval(influences, n_resamples=n_resamples, seed=seed)
    p = paired_sign_flip(differences, seed=seed)
    return Comparison(*names, *interval, p, None, int(differences.size), n_undefined)


def paired_differences(first: ItemScores, second: ItemScores) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Differences of two runs, one a stimulus.

    Args:
        first: Scores of one run.
        second: Scores of the other.

    Returns:
        First minus second over the stimuli that have a defined score in both, repeats averaged, by stimulus; the same
        of what the bootstrap resamples; and how many common stimuli have none.
    """
    first_defined, second_defined = first.defined(), second.defined()
    ids_a, means_a = _by_stimulus(first_defined.ids, first_defined.values)
    ids_b, means_b = _by_stimulus(second_defined.ids, second_defined.values)
    _, influence_a = _by_stimulus(first_defined.ids, first_defined.influence)
    _, influence_b = _by_stimulus(second_defined.ids, second_defined.influence)
    _, at_a, at_b = np.intersect1d(ids_a, ids_b, assume_unique=True, return_indices=True)
    n_common = len(np.intersect1d(first.ids, second.ids))
    return means_a[at_a] - means_b[at_b], influence_a[at_a] - influence_b[at_b], n_common - len(at_a)


def _by_stimulus(
    item_ids: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    ids, which = np.unique(item_ids, return_inverse=True)
    return ids, np.bincount(which, weights=values, minlength=len(ids)) / np.bincount(which, minlength=len(ids))


def _corrected(of_pair: list[Comparison]) -> list[Comparison]:
    tested = [i for i, one in enumerate(of_pair) if one.p is not None]
    adjusted = holm(np.array([of_pair[i].p for i in tested], dtype=np.float64))
    found = list(of_pair)
    for i, p in zip(tested, adjusted, strict=True):
        found[i] = replace(of_pair[i], p_holm=float(p))
    return found


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correct p values for their number by Holm's step-down method (1979).

    Args:
        p: Values (m,).

    Returns:
        Corrected values (m,), at most 1.
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected
