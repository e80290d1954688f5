"""The causal ladder: pictures of the true embedding > of the predicted one > of another brain's ~ chance."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import read_json, read_manifest

Z_95 = 1.959964
RUNGS = ("true_target", "predicted", "shuffled", "shuffled_as_drawn")
CHANCE_SD = 0.29
"""Standard deviation of one picture's two-way score at chance: uniform on 0..1."""


def ladder(run_dir: Path | str, protocol: str = "demo", metric: str | None = None) -> dict[str, Any]:
    """Read the ladder of an evaluated run.

    Args:
        run_dir: Run folder that holds ``evaluation/{protocol}``.
        protocol: Protocol of the evaluation.
        metric: A two-way metric; the protocol's headline by default.

    Returns:
        ``metric``, ``label``, ``n``, ``simulated``, ``chance``; ``rungs`` with value, ci_low, ci_high and
        from (or None where a rung is missing) for true_target, predicted, shuffled and shuffled_as_drawn;
        and ``checks``, each True, False, or None where it cannot be made: ``predicted_above_shuffled``
        (95 % intervals apart), ``shuffled_at_chance`` (within 3 x 0.29 / sqrt(n) of chance) and
        ``as_drawn_equals_predicted`` (within three standard errors of their difference).

    Raises:
        BadInputError: The run has not been evaluated by the protocol, or the metric is not in it.
    """
    folder = Path(run_dir) / "evaluation" / protocol
    read_manifest(folder, "evaluation")
    summary = read_json(folder / "summary.json")
    name = metric if metric is not None else summary["headline"]
    if name not in summary["metrics"]:
        why = summary["skipped"].get(name, f"known: {', '.join(summary['metrics'])}")
        raise BadInputError(f"{folder} holds no {name}: {why}")
    entry = summary["metrics"][name]
    rungs: dict[str, dict[str, Any] | None] = {rung: entry["rows"].get(rung) for rung in RUNGS}
    rungs["predicted"] = {key: entry[key] for key in ("value", "ci_low", "ci_high", "n")} | {"from": None}
    return {
        "metric": name,
        "label": entry["label"],
        "stand_in_for": entry["stand_in_for"],
        "n": summary["n"],
        "simulated": summary["simulated"],
        "protocol": summary["protocol"],
        "chance": entry["chance"],
        "rungs": rungs,
        "checks": _checks(rungs, entry["chance"], entry["higher_is_better"]),
    }


def _checks(
    rungs: dict[str, dict[str, Any] | None], chance: float | None, higher_is_better: bool
) -> dict[str, bool | None]:
    predicted, shuffled, as_drawn = rungs["predicted"], rungs["shuffled"], rungs["shuffled_as_drawn"]
    apart = at_chance = equal = None
    if predicted is not None and shuffled is not None:
        if higher_is_better:
            apart = predicted["ci_low"] > shuffled["ci_high"]
        else:
            apart = predicted["ci_high"] < shuffled["ci_low"]
        if chance == 0.5:
            at_chance = abs(shuffled["value"] - chance) <= 3.0 * CHANCE_SD / math.sqrt(shuffled["n"])
    # A borrowed null was drawn by another encoder: its pictures say nothing about this one's score.
    if predicted is not None and as_drawn is not None and as_drawn["from"] is None:
        error = math.hypot(_standard_error(predicted), _standard_error(as_drawn))
        equal = abs(as_drawn["value"] - predicted["value"]) <= 3.0 * error
    return {
        "predicted_above_shuffled": apart,
        "shuffled_at_chance": at_chance,
        "as_drawn_equals_predicted": equal,
    }


def _standard_error(row: dict[str, Any]) -> float:
    return float(row["ci_high"] - row["ci_low"]) / (2.0 * Z_95)
