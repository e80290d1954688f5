"""Tables of a low-data study: JSON, CSV, Markdown and a row per test stimulus."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.manifest import atomic_path, versions, write_json
from fmri_lightning.metrics.bootstrap import Interval
from fmri_lightning.studies.low_data_plan import in_words
from fmri_lightning.studies.low_data_scores import METRICS, SHARES, Curves


def labels(pool: int) -> dict[str, str]:
    """Name the metrics for tables and figure."""
    return {
        "centred_cosine": "centred cosine",
        "cosine": "cosine",
        "two_way": "two-way identification, %",
        "top_1": f"top-1 of {pool}, %",
    }


def summarise(curves: Curves, resamples: int) -> dict[str, Any]:
    """Compute means, intervals and paired differences.

    Args:
        curves: Scores per stimulus.
        resamples: Bootstrap resamples.

    Returns:
        The contents of low_data.json, plain types: ``facts``, ``metrics``, ``amounts``, ``points`` (a score is value,
        low and high) and ``differences`` (a minus b).
    """
    return {
        "facts": {**curves.facts, "pool": curves.items.pool, "resamples": resamples},
        "metrics": {
            name: {"label": labels(curves.items.pool)[name], "chance": curves.chance(name)} for name in METRICS
        },
        "mean_vector_cosine": float(curves.mean_vector().mean()),
        "amounts": curves.amounts,
        "points": [
            {
                "n_sessions": point.n_sessions,
                "encoder": point.encoder,
                "scores": {name: curves.interval(point, name, resamples)._asdict() for name in METRICS},
                "of_seeds": point.of_seeds,
            }
            for point in curves.points
        ],
        "differences": [
            {
                "a": {"n_sessions": a.n_sessions, "encoder": a.encoder},
                "b": {"n_sessions": b.n_sessions, "encoder": b.encoder},
                "scores": {name: curves.difference(a, b, name, resamples)._asdict() for name in METRICS},
            }
            for a, b in curves.pairs()
        ],
        "versions": versions(),
    }


def write_results(folder: Path, curves: Curves, result: dict[str, Any]) -> None:
    """Write per_stimulus.parquet, low_data.csv, low_data.md and, last, low_data.json.

    Args:
        folder: Folder of the subject.
        curves: Scores per stimulus.
        result: From :func:`summarise`.
    """
    _write_per_stimulus(folder / "per_stimulus.parquet", curves)
    with atomic_path(folder / "low_data.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["subject", "n_sessions", "n_train_stimuli", "n_train_trials", "encoder", "metric", "value", "low", "high",
             "chance", "n_test_stimuli"]
        )  # fmt: skip
        writer.writerows(_csv_rows(result))
    with atomic_path(folder / "low_data.md") as temporary:
        temporary.write_text(markdown(result), encoding="utf-8")
    write_json(folder / "low_data.json", result)


def _csv_rows(result: dict[str, Any]) -> Iterator[list[Any]]:
    amounts = {amount["n_sessions"]: amount for amount in result["amounts"]}
    for point in result["points"]:
        amount = amounts[point["n_sessions"]]
        for name, score in point["scores"].items():
            yield [
                result["facts"]["subject"], point["n_sessions"], amount["n_train_stimuli"], amount["n_train_trials"],
                point["encoder"], name, *(score[bound] for bound in ("value", "low", "high")),
                result["metrics"][name]["chance"], result["facts"]["n_test_stimuli"],
            ]  # fmt: skip


def _write_per_stimulus(path: Path, curves: Curves) -> None:
    """A row per point and test stimulus; ``*_resampled`` is what the bootstrap of a pair score takes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n, points = len(curves.items.ids), curves.points

    def joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(parts)

    columns: dict[str, Any] = {
        "n_sessions": joined([np.full(n, point.n_sessions, dtype=np.int16) for point in points]),
        "encoder": [point.encoder for point in points for _ in range(n)],
        "nsd_id": np.tile(curves.items.ids, len(points)),
        "n_repeats": np.tile(curves.items.n_repeats.astype(np.int16), len(points)),
        "mean_vector_cosine": np.tile(curves.mean_vector(), len(points)),
    }
    for name in METRICS:
        columns[name] = joined([point.values[name] for point in points])
        columns[f"{name}_resampled"] = joined([point.resampled[name] for point in points])
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary, write_page_checksum=True)


def markdown(result: dict[str, Any]) -> str:
    """Write the table of all points, the paired differences of the centred cosine, and what all points share."""
    facts, amounts = result["facts"], {amount["n_sessions"]: amount for amount in result["amounts"]}
    head = ["sessions", "train pictures (trials)", "encoder", *(one["label"] for one in result["metrics"].values())]
    lines = [
        f"## Low-data curves of {facts['subject']}" + (" (simulated)" if facts["simulated"] else ""),
        "",
        _row(head),
        _row(["---"] * len(head)),
    ]
    for point in result["points"]:
        amount = amounts[point["n_sessions"]]
        trained = f"{amount['n_train_stimuli']} ({amount['n_train_trials']})"
        scores = [number(name, Interval(**score)) for name, score in point["scores"].items()]
        lines.append(_row([str(point["n_sessions"]), trained, point["encoder"], *scores]))
    lines += ["", *_notes(result), "", "Paired differences of the centred cosine:", ""]
    lines += [_row(["a", "b", "a minus b"]), _row(["---"] * 3)]
    for one in _shown(result):
        names = [f"{one[side]['encoder']}, {in_words(one[side]['n_sessions'])}" for side in ("a", "b")]
        difference = number("centred_cosine", Interval(**one["scores"]["centred_cosine"]), signed=True)
        lines.append(_row([*names, difference]))
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _notes(result: dict[str, Any]) -> list[str]:
    facts = result["facts"]
    chance = {name: one["chance"] for name, one in result["metrics"].items()}
    own = facts["test_sessions_without_train_trials"]
    # T0 of betas that come normalised is not ours to describe; the store's own words say what was done.
    return [
        f"Test set of every point: {facts['n_test_stimuli']} pictures, means over {facts['n_test_trials']} trials of "
        f"all {facts['n_sessions_present']} sessions. Test betas: {facts['test_betas']}"
        + (f"; sessions {own} have no train trials and are standardised by their test trials." if own else "."),
        f"Fitted on the first sessions only: scaling, mask ({facts['mask']}), {facts['tier']}, target statistics, "
        "encoder; val pictures are those of the same sessions.",
        f"Centred by the {facts['centre']}. A constant reaches cosine {result['mean_vector_cosine']:.3f}, centred "
        f"cosine 0, two-way {100 * chance['two_way']:.0f} %, top-1 {100 * chance['top_1']:.2f} %.",
        f"Intervals: 95 %, {facts['resamples']} bootstrap resamples of test pictures; not of training runs.",
    ]


def _shown(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Differences between encoders, and between neighbouring amounts of one encoder; JSON holds the others."""
    order = [amount["n_sessions"] for amount in result["amounts"]]
    neighbours = {(more, fewer) for fewer, more in itertools.pairwise(order)}
    return [
        one
        for one in result["differences"]
        if one["a"]["n_sessions"] == one["b"]["n_sessions"]
        or (one["a"]["n_sessions"], one["b"]["n_sessions"]) in neighbours
    ]


def number(metric: str, score: Interval, signed: bool = False) -> str:
    """Write a score with its interval, shares in per cent."""
    factor, digits = (100, 1) if metric in SHARES else (1, 3)
    sign = "+" if signed else ""
    value, low, high = (f"{factor * bound:{sign}.{digits}f}" for bound in score)
    return f"{value} [{low}, {high}]"
