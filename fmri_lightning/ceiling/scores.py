"""Scores of encoders as fractions of what is attainable, and the table that shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.bootstrap import bootstrap_interval
from fmri_lightning.metrics.cosine import centred_cosine, cosine, mean_vector_cosine

Kind = Literal["floor", "ridge", "network", "ceiling"]


@dataclass(frozen=True, eq=False)
class Row:
    """Scores of one predictor, one per test row and training seed.

    Attributes:
        name: For the table.
        kind: "floor", "ridge", "network" or "ceiling".
        centred: Centred cosine, (seeds, N), or None where it is not defined.
        plain: Cosine, (seeds, N), or None where only the direction off the mean was predicted.
    """

    name: str
    kind: Kind
    centred: NDArray[np.float64] | None
    plain: NDArray[np.float64] | None

    @property
    def centred_mean(self) -> float | None:
        """Mean over rows and seeds."""
        return None if self.centred is None else float(self.centred.mean())


@dataclass(eq=False)
class ModeScores:
    """All predictors in one use of repeats.

    Attributes:
        mode: "average" or "single".
        n_repeats: Trials averaged in each row.
        ids: Picture of each row, (N,).
        truth: True raw embeddings, (N, D).
        mean: Mean embedding of the training pictures, (D,).
        rows: Filled by :meth:`add`.
        sampler: Diagnostics of the posterior mean.
    """

    mode: str
    n_repeats: int
    ids: NDArray[np.int32]
    truth: NDArray[np.float32]
    mean: NDArray[np.float64]
    rows: list[Row] = field(default_factory=list)
    sampler: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, kind: Kind, predictions: list[NDArray[Any]], direction_only: bool = False) -> None:
        """Score a predictor.

        Args:
            name: For the table.
            kind: What it is.
            predictions: Raw embeddings (N, D), one array a training seed.
            direction_only: Only the direction off the mean means something: no plain cosine.
        """
        centred = np.stack([centred_cosine(p, self.truth, self.mean) for p in predictions])
        plain = None if direction_only else np.stack([cosine(p, self.truth) for p in predictions])
        self.rows.append(Row(name, kind, centred, plain))

    def add_mean_vector(self) -> None:
        """Add the floor: the training mean as every prediction; centred, it has no direction."""
        self.rows.append(Row("mean vector", "floor", None, mean_vector_cosine(self.mean, self.truth)[None]))

    def row(self, name: str) -> Row:
        """Find a predictor by name."""
        return next(row for row in self.rows if row.name == name)

    def fraction(self, row: Row, ceiling: str) -> float | None:
        """Divide a predictor's mean centred cosine by that of a ceiling; None where chains did not converge to it."""
        if ceiling == POSTERIOR and not self.sampler["converged"]:
            return None
        top = self.row(ceiling).centred_mean
        return None if row.centred_mean is None or not top or top <= 0 else row.centred_mean / top

    def differences(self) -> list[dict[str, Any]]:
        """Compare every network with every ridge, paired by test row.

        Returns:
            Mean difference of centred cosine and its 95 % bootstrap interval over test stimuli; the scores of a
            network are averaged over training seeds, repeats of a picture are one block.
        """
        found = []
        for network in (row for row in self.rows if row.kind == "network"):
            for ridge in (row for row in self.rows if row.kind == "ridge"):
                if network.centred is None or ridge.centred is None:
                    continue
                gain = bootstrap_interval(network.centred.mean(axis=0) - ridge.centred.mean(axis=0), self.ids)
                found.append({"network": network.name, "ridge": ridge.name, **gain._asdict()})
        return found

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain types."""
        return {
            "n_rows": len(self.ids),
            "n_stimuli": len(np.unique(self.ids)),
            "n_repeats": self.n_repeats,
            "predictors": {row.name: self._row_json(row) for row in self.rows},
            "network_minus_ridge": self.differences(),
            "posterior": self.sampler,
        }

    def _row_json(self, row: Row) -> dict[str, Any]:
        return {
            "kind": row.kind,
            "centred_cosine": row.centred_mean,
            "centred_cosine_of_seeds": None if row.centred is None else row.centred.mean(axis=1).tolist(),
            "cosine": None if row.plain is None else float(row.plain.mean()),
            "mean_vector_cosine": float(mean_vector_cosine(self.mean, self.truth).mean()),
            "fraction_of_linear_optimum": self.fraction(row, LINEAR),
            "fraction_of_posterior_mean": self.fraction(row, POSTERIOR),
        }

    def lines(self) -> list[str]:
        """Write the table."""
        what = f"mean of {self.n_repeats} repeats" if self.mode == "average" else "single trials"
        width = max(len(row.name) for row in self.rows)
        lines = [
            f"simulated, {what}: {len(np.unique(self.ids))} test stimuli, {len(self.ids)} rows",
            f"  {'':<{width}}  centred cosine (seeds)      cosine  of linear optimum  of posterior mean",
        ]
        for row in self.rows:
            of_seeds = [] if row.centred is None else row.centred.mean(axis=1).tolist()
            spread = f" ({min(of_seeds):.4f}-{max(of_seeds):.4f})" if len(of_seeds) > 1 else ""
            score = f"{_number(row.centred_mean)}{spread}"
            plain = _number(None if row.plain is None else float(row.plain.mean()))
            parts = [_percent(self.fraction(row, ceiling)) for ceiling in (LINEAR, POSTERIOR)]
            lines.append(f"  {row.name:<{width}}  {score:<26}  {plain:<6}  {parts[0]:>17}  {parts[1]:>17}")
        for one in self.differences():
            lines.append(
                f"  {one['network']} minus {one['ridge']}: {one['value']:+.4f}, 95 % interval "
                f"{one['low']:+.4f} to {one['high']:+.4f} over test stimuli"
            )
        return [*lines, f"  {sampler_line(self.sampler)}"]


LINEAR, POSTERIOR = "linear optimum", "posterior mean"
"""Names of the two ceilings."""


def sampler_line(sampler: dict[str, Any]) -> str:
    """Say in one line how far the posterior mean is to be trusted."""
    verdict = "" if sampler["converged"] else "NOT CONVERGED, no ceiling: "
    return (
        f"posterior mean: {verdict}split R-hat above {sampler['rhat_limit']} in {sampler['n_rhat_above_limit']} of "
        f"{sampler['n_items']} rows (99th percentile {sampler['rhat_p99']:.3f}), "
        f"{sampler['n_tempered']} rows sampled twice, acceptance {sampler['acceptance_mean']:.2f}, "
        f"Monte Carlo error {sampler['monte_carlo_error_relative']:.1%} of its length"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
