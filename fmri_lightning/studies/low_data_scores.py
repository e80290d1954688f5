"""Scores of encoders fitted on different amounts of data, on the same test items, and their paired differences."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.bootstrap import (
    Interval,
    bootstrap_difference,
    bootstrap_interval,
    top_k_influence,
    two_way_influence,
)
from fmri_lightning.metrics.cosine import centred_cosine, cosine, cosine_matrix, mean_vector_cosine
from fmri_lightning.metrics.identification import two_way_identification
from fmri_lightning.metrics.retrieval import pooled_top_1, retrieval_ranks, top_k

POOL = 300
"""Candidates of top-1, the published gallery; all test stimuli where they are fewer."""

METRICS = ("centred_cosine", "cosine", "two_way", "top_1")
SHARES = ("two_way", "top_1")
"""Metrics between 0 and 1, shown in per cent."""

Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TestItems:
    """What every encoder of a study is scored on.

    Attributes:
        ids: Test picture of each item, ascending, int32 (n,).
        betas: Mean T0 betas over the picture's trials, float32 (n, n_voxels).
        n_repeats: Trials behind each mean, (n,).
        truth: True raw embeddings, float32 (n, dim).
        centre: Mean embedding of the train pictures of all sessions, (dim,).
    """

    __test__ = False  # no test class, whatever pytest makes of its name

    ids: NDArray[np.int32]
    betas: NDArray[np.float32]
    n_repeats: NDArray[np.integer]
    truth: NDArray[np.float32]
    centre: Scores

    @property
    def pool(self) -> int:
        """Candidates of top-1."""
        return min(POOL, len(self.ids))


@dataclass(frozen=True, eq=False)
class Point:
    """Scores of one encoder at one amount of data, averaged over training seeds.

    Attributes:
        n_sessions: Sessions it was fitted on.
        encoder: Name of its configuration.
        values: Metric to the score of each test item, (n,); NaN for an item that no pool of top-1 held.
        resampled: Metric to what the bootstrap resamples, (n,): scores, or the influences of pair scores.
        of_seeds: Metric to the mean over items of each training seed.
    """

    n_sessions: int
    encoder: str
    values: dict[str, Scores]
    resampled: dict[str, Scores]
    of_seeds: dict[str, list[float]]


@dataclass(eq=False)
class Curves:
    """All points of a study.

    Attributes:
        items: What was scored on.
        facts: What all points share, plain types.
        amounts: What each amount holds, plain types, from few sessions to many.
        points: By amount, then encoder.
    """

    items: TestItems
    facts: dict[str, Any]
    amounts: list[dict[str, Any]] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    def mean_vector(self) -> Scores:
        """Cosine that the centre itself reaches, (n,): what a plain cosine is to be read beside."""
        return mean_vector_cosine(self.items.centre, self.items.truth)

    def chance(self, metric: str) -> float | None:
        """Say what guessing reaches; None for the plain cosine, whose floor is that of the mean vector."""
        known: dict[str, float | None] = {"centred_cosine": 0.0, "two_way": 0.5, "top_1": 1 / self.items.pool}
        return known.get(metric)

    def interval(self, point: Point, metric: str, resamples: int) -> Interval:
        """Mean over test stimuli with its 95 % bootstrap interval."""
        known = ~np.isnan(point.resampled[metric])
        found = bootstrap_interval(point.resampled[metric][known], self.items.ids[known], n_resamples=resamples)
        if metric not in SHARES:
            return found
        # Resampled influences may add up to more than all or less than none, which no share can be.
        return Interval(found.value, *(float(bound) for bound in np.clip((found.low, found.high), 0, 1)))

    def difference(self, a: Point, b: Point, metric: str, resamples: int) -> Interval:
        """Mean of a minus that of b, paired by test stimulus, with its 95 % bootstrap interval."""
        of_a, of_b = a.resampled[metric], b.resampled[metric]
        known = ~np.isnan(of_a + of_b)
        return bootstrap_difference(of_a[known], of_b[known], self.items.ids[known], n_resamples=resamples)

    def pairs(self) -> Iterator[tuple[Point, Point]]:
        """Points that differ in the encoder only or in the amount only; the later encoder, or the more data, first."""
        for b, a in itertools.combinations(self.points, 2):
            if (a.n_sessions == b.n_sessions) != (a.encoder == b.encoder):
                yield a, b


def score_point(n_sessions: int, encoder: str, predictions: list[NDArray[np.float32]], items: TestItems) -> Point:
    """Score the predictions of an encoder.

    Args:
        n_sessions: Sessions it was fitted on.
        encoder: Its name.
        predictions: Raw embeddings of the items, (n, dim), one array a training seed.
        items: What was predicted.

    Returns:
        The scores, averaged over seeds.
    """
    scored = [_scores(predicted, items) for predicted in predictions]
    values = {name: np.mean([one[name][0] for one in scored], axis=0) for name in METRICS}
    resampled = {name: np.mean([one[name][1] for one in scored], axis=0) for name in METRICS}
    of_seeds = {name: [float(np.nanmean(one[name][0])) for one in scored] for name in METRICS}
    return Point(n_sessions, encoder, values, resampled, of_seeds)


def _scores(predicted: NDArray[np.float32], items: TestItems) -> dict[str, tuple[Scores, Scores]]:
    """Scores of each item, and what the bootstrap resamples; as the report of a fit and evaluate compute them."""
    # A constant prediction's undefined terms count as 0.
    centred = np.nan_to_num(centred_cosine(predicted, items.truth, items.centre))
    plain = np.nan_to_num(cosine(predicted, items.truth))
    from_brain = cosine_matrix(predicted, items.truth)
    # Anchors are the predictions: columns, as in published code.
    two_way = two_way_identification(from_brain.T, items.ids), two_way_influence(from_brain.T, items.ids)
    if items.pool == len(items.ids):
        first = top_k(retrieval_ranks(from_brain, items.ids), 1)
        top_1 = first, top_k_influence(from_brain, 1, items.ids)
    else:
        # In pools an item is a distractor of other items in each draw anew; evaluate resamples the scores too.
        first = pooled_top_1(from_brain, items.ids, pool=items.pool).per_item
        top_1 = first, first
    return {"centred_cosine": (centred, centred), "cosine": (plain, plain), "two_way": two_way, "top_1": top_1}
