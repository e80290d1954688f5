"""What decoding loses without a region, and what it reaches with nothing else, beside random sets of as many voxels.

Every set of voxels gets a ridge regression of its own, fitted on the training stimuli, its penalty chosen there. A
region that is taken out of a decoder without fitting it again would only show how much that decoder leant on it.
And a large region costs more than a small one whatever it does: so each is compared with random sets of its size.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.encoder.ridge import AlphaAtEdgeWarning, fit_ridge
from fmri_lightning.metrics.bootstrap import bootstrap_difference, bootstrap_interval, two_way_influence
from fmri_lightning.metrics.cosine import centred_cosine, cosine_matrix
from fmri_lightning.metrics.permutation import permutation_p
from fmri_lightning.progress import track

METRICS = ("centred_cosine", "two_way")
ControlsFrom = Literal["all", "outside"]
Scores = dict[str, NDArray[np.float64]]
"""Metric to what each test stimulus adds to its mean, (n,)."""


@dataclass(frozen=True, eq=False)
class Decoding:
    """Responses and embeddings that ridge regressions of sets of voxels are fitted on and scored with.

    Attributes:
        train: Responses to the training stimuli, float32 (n_train, v).
        train_embeddings: True embeddings of them, raw, (n_train, d).
        test: Responses to the test stimuli, float32 (n, v).
        test_embeddings: True embeddings of them, raw, (n, d).
    """

    train: NDArray[np.float32]
    train_embeddings: NDArray[np.float32]
    test: NDArray[np.float32]
    test_embeddings: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        train: NDArray[np.float32],
        train_embeddings: NDArray[np.float32],
        test: NDArray[np.float32],
        test_embeddings: NDArray[np.float32],
    ) -> Decoding:
        """Standardise every voxel by its mean and spread over the training stimuli."""
        mean, spread = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
        scale = np.where(spread > 0, spread, 1.0)
        return cls(
            ((train - mean) / scale).astype(np.float32),
            train_embeddings,
            ((test - mean) / scale).astype(np.float32),
            test_embeddings,
        )

    def score(self, voxels: NDArray[np.int64]) -> Scores:
        """Fit a set of voxels on the training stimuli and score it on the test stimuli.

        Args:
            voxels: Columns, ascending (m,).

        Returns:
            Centred cosine, and two-way identification as influences (what a stimulus adds as anchor and distractor).
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AlphaAtEdgeWarning)
            fit = fit_ridge(self.train[:, voxels], self.train_embeddings)
        predicted = fit.predict(self.test[:, voxels])
        mean = self.train_embeddings.mean(axis=0, dtype=np.float64)
        cosines = np.nan_to_num(centred_cosine(predicted, self.test_embeddings, mean))
        similarity = np.nan_to_num(cosine_matrix(self.test_embeddings - mean, predicted - mean))
        return dict(zip(METRICS, (cosines, two_way_influence(similarity)), strict=True))


@dataclass(frozen=True)
class AblationPlan:
    """What is fitted.

    Attributes:
        n_controls: Random sets of each region's size.
        controls_from: Whether they are drawn from all voxels or from those outside the region.
        min_voxels: Sets of fewer voxels are not fitted.
        resamples: Of every interval.
        seed: Of the random sets and the bootstrap.
    """

    n_controls: int = 20
    controls_from: ControlsFrom = "all"
    min_voxels: int = 10
    resamples: int = 2000
    seed: int = 0

    def sets(self, name: str, members: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
        """Draw the random sets of a region.

        Args:
            name: Of the region; each has random numbers of its own, whatever other regions there are.
            members: Its voxels (v,) bool.

        Returns:
            As many sets as asked for, each ascending and as large as the region; none where too few voxels lie
            outside it and they are to come from there.
        """
        size, n_voxels = int(members.sum()), len(members)
        pool = np.flatnonzero(~members) if self.controls_from == "outside" else np.arange(n_voxels)
        if len(pool) < size or size == n_voxels:
            return []
        generator = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        return [np.sort(generator.choice(pool, size, replace=False)) for _ in range(self.n_controls)]

    def n_fits(self, regions: dict[str, NDArray[np.bool_]]) -> int:
        """Ridge regressions that the plan takes."""
        fits = 1
        for name, members in regions.items():
            fits += (1 + len(self.sets(name, members))) * (1 + self.can_drop(members))
        return fits

    def can_drop(self, members: NDArray[np.bool_]) -> bool:
        """Whether enough voxels are left without a region."""
        return int((~members).sum()) >= self.min_voxels


def ablate(
    decoding: Decoding,
    regions: dict[str, NDArray[np.bool_]],
    plan: AblationPlan,
    fitted: Callable[[NDArray[np.int64]], Scores] | None = None,
) -> dict[str, Any]:
    """Score every region left out, and alone.

    Args:
        decoding: What is fitted and scored.
        regions: Region to its voxels (v,) bool.
        plan: How.
        fitted: What fits and scores a set; ``decoding.score`` by default.

    Returns:
        Plain types. ``full`` holds every metric with its interval; ``regions.{name}`` holds n_voxels, ``keep`` and
        ``drop`` (or ``not_dropped``, why not) and ``no_controls`` where there are none. In either, a metric has value,
        ci_low and ci_high; ``drop`` also ``difference`` from the full set, with its interval over stimuli;
        ``controls`` are the values of the random sets and ``p`` how often one of them did as much.
    """
    score = decoding.score if fitted is None else fitted
    n_voxels = decoding.train.shape[1]
    every = np.arange(n_voxels)
    full = score(every)
    found: dict[str, Any] = {}
    for name, members in track(regions.items(), "leaving regions out", len(regions)):
        sets = plan.sets(name, members)
        entry: dict[str, Any] = {"n_voxels": int(members.sum())}
        if not sets:
            entry["no_controls"] = (
                "no random sets were asked for"
                if plan.n_controls == 0
                else f"fewer than {entry['n_voxels']} voxels are left to draw as many from"
            )
        kept, random_kept = score(np.flatnonzero(members)), [score(one) for one in sets]
        entry["keep"] = {metric: _kept(metric, kept, random_kept, plan) for metric in METRICS}
        if plan.can_drop(members):
            dropped = score(np.flatnonzero(~members))
            random_dropped = [score(np.setdiff1d(every, one)) for one in sets]
            entry["drop"] = {metric: _dropped(metric, full, dropped, random_dropped, plan) for metric in METRICS}
        else:
            entry["not_dropped"] = f"without it {int((~members).sum())} voxels are left, fewer than {plan.min_voxels}"
        found[name] = entry
    return {
        "n_train": len(decoding.train),
        "n_test": len(decoding.test),
        "n_voxels": n_voxels,
        "n_controls": plan.n_controls,
        "controls_from": plan.controls_from,
        "full": {metric: _interval(full[metric], plan) for metric in METRICS},
        "regions": found,
    }


def _interval(values: NDArray[np.float64], plan: AblationPlan) -> dict[str, float]:
    found = bootstrap_interval(values, n_resamples=plan.resamples, seed=plan.seed)
    return {"value": found.value, "ci_low": found.low, "ci_high": found.high}


def _kept(metric: str, kept: Scores, controls: list[Scores], plan: AblationPlan) -> dict[str, Any]:
    entry: dict[str, Any] = _interval(kept[metric], plan)
    values = [float(one[metric].mean()) for one in controls]
    entry["controls"] = values
    entry["p"] = permutation_p(entry["value"], np.array(values)) if values else None
    return entry


def _dropped(metric: str, full: Scores, dropped: Scores, controls: list[Scores], plan: AblationPlan) -> dict[str, Any]:
    entry: dict[str, Any] = _interval(dropped[metric], plan)
    change = bootstrap_difference(dropped[metric], full[metric], n_resamples=plan.resamples, seed=plan.seed)
    entry["difference"] = {"value": change.value, "ci_low": change.low, "ci_high": change.high}
    values = [float(one[metric].mean() - full[metric].mean()) for one in controls]
    entry["controls"] = values
    # The cost of a set is minus its difference: a random set counts that costs as much as the region.
    entry["p"] = permutation_p(-change.value, -np.array(values)) if values else None
    return entry
