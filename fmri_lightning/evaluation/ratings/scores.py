"""From sessions to scores: who counts, how often the right picture was chosen, and how sure that is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.ratings.key import Key
from fmri_lightning.evaluation.ratings.sessions import Session
from fmri_lightning.evaluation.ratings.statistics import (
    CHANCE,
    Table,
    above_chance,
    agreement,
    crossed_interval,
    stimulus_means,
)
from fmri_lightning.locks import run_lock
from fmri_lightning.manifest import Manifest, atomic_path, content_hash, write_json, write_manifest

RATINGS = "ratings.parquet"
SUMMARY = "summary.json"


def exclusion(session: Session, key: Key, min_checks: float) -> str | None:
    """Say why a rater does not count.

    Args:
        session: The rater's answers.
        key: The page's key.
        min_checks: Least share of right answers in attention checks, 0..1.

    Returns:
        The reason, or None for a rater who counts.
    """
    is_check = _is_check(key)
    checks = is_check[session.trial]
    if not len(session.trial) or checks.all():
        return "answered no trial"
    if not is_check.any():
        return None
    n, right = int(checks.sum()), int(session.correct[checks].sum())
    if n == 0:
        return "answered no attention check"
    if right < min_checks * n - 1e-9:
        return f"{right} of {n} attention checks right, below {min_checks:.0%}"
    return None


def summarise(
    sessions: list[Session], key: Key, min_checks: float = 0.8, n_resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Turn sessions into the contents of summary.json.

    Args:
        sessions: Of one page.
        key: Its key.
        min_checks: Least share of right answers in attention checks, 0..1.
        n_resamples: Bootstrap resamples.
        seed: Of bootstrap and permutations.

    Returns:
        Plain types: ``identification`` (accuracy 0..1 with interval, chance, p), ``raters``, ``excluded`` with reasons,
        ``incomplete``, ``agreement``, ``stimuli``, and what the key says about the pictures.

    Raises:
        BadInputError: No rater counts.
    """
    reasons = {session.rater: exclusion(session, key, min_checks) for session in sessions}
    counted = [session for session in sessions if reasons[session.rater] is None]
    excluded = {rater: reason for rater, reason in reasons.items() if reason is not None}
    if not counted:
        named = "; ".join(f"{rater}: {reason}" for rater, reason in excluded.items())
        raise BadInputError(f"none of {len(sessions)} raters counts ({named}); collect more or lower --min_checks")
    correct = rating_table(counted, key)
    means = stimulus_means(correct)
    rated = np.isfinite(means)
    overall = crossed_interval(correct, n_resamples, seed=seed)
    same = agreement(_chosen(correct, key))
    trials = [trial for trial in key.trials if not trial.check]
    times = np.concatenate([session.time_ms[~_is_check(key)[session.trial]] for session in counted])
    incomplete = {s.rater: f"{len(s.trial)} of {len(key.trials)} trials" for s in counted}
    return {
        "task": "two-alternative identification by people",
        "simulated": key.about.get("simulated"),
        "source": key.about.get("source"),
        "page": key.page,
        "identification": {
            "value": overall.value,
            "ci_low": overall.low,
            "ci_high": overall.high,
            "chance": CHANCE,
            "p_above_chance": above_chance(means[rated], seed=seed),
            "resampled": ["raters", "stimuli"] if len(counted) > 1 else ["stimuli"],
            "n_answers": int(np.isfinite(correct).sum()),
        },
        "n_raters": len(counted),
        "n_stimuli": int(rated.sum()),
        "n_checks": int(_is_check(key).sum()),
        "min_checks": min_checks,
        "excluded": excluded,
        "incomplete": {s.rater: incomplete[s.rater] for s in counted if len(s.trial) < len(key.trials)},
        "same_code": _same_code(sessions),
        "median_response_time_ms": _median(times),
        "agreement": None if same is None else {"pairwise": same.pairwise, "chance": 0.5, "alpha": same.alpha},
        "raters": {session.rater: _rater(session, key, n_resamples, seed) for session in counted},
        "stimuli": {
            trial.name: {
                "nsd_id": trial.nsd_id,
                "distractor": trial.distractor,
                "value": None if math.isnan(mean) else mean,
                "n": n,
            }
            for trial, mean, n in zip(trials, means.tolist(), np.isfinite(correct).sum(axis=0).tolist(), strict=True)
        },
        "caveats": key.about.get("caveats", []),
    }


def rating_table(sessions: list[Session], key: Key) -> Table:
    """Answers of raters about stimuli, without the checks.

    Args:
        sessions: The raters.
        key: The page's key.

    Returns:
        (raters, trials without checks): 1 right, 0 wrong, NaN not answered.
    """
    table = np.full((len(sessions), len(key.trials)), np.nan)
    for row, session in enumerate(sessions):
        table[row, session.trial] = session.correct
    return table[:, ~_is_check(key)]


def rating_columns(sessions: list[Session], key: Key, min_checks: float) -> dict[str, NDArray[Any]]:
    """All answers as a long table, those of excluded raters and of checks included and marked.

    Args:
        sessions: Of one page.
        key: Its key.
        min_checks: Least share of right answers in attention checks, 0..1.

    Returns:
        Columns rater, trial, nsd_id, distractor, correct, response_time_ms (NaN where not measured), check, counted
        (whether the summary uses the answer), position (in the rater's order), left (whether the left picture was
        chosen) and revised.
    """
    trial = np.concatenate([session.trial for session in sessions])
    ids = np.array([t.nsd_id for t in key.trials], dtype=np.int32)
    distractors = np.array([t.distractor for t in key.trials], dtype=np.int32)
    counts = [np.full(len(s.trial), exclusion(s, key, min_checks) is None) for s in sessions]
    check = _is_check(key)[trial]
    return {
        "rater": np.concatenate([np.full(len(s.trial), s.rater) for s in sessions]),
        "trial": trial,
        "nsd_id": ids[trial],
        "distractor": distractors[trial],
        "correct": np.concatenate([s.correct for s in sessions]),
        "response_time_ms": np.concatenate([s.time_ms for s in sessions]),
        "check": check,
        "counted": np.concatenate(counts) & ~check,
        "position": np.concatenate([s.position for s in sessions]),
        "left": np.concatenate([s.left for s in sessions]),
        "revised": np.concatenate([s.revised for s in sessions]),
    }


def write_scores(
    folder: Path, sessions: list[Session], key: Key, summary: dict[str, Any], config: dict[str, Any]
) -> None:
    """Write ratings.parquet, summary.json and a manifest that says both are whole.

    Args:
        folder: Where.
        sessions: Of one page.
        key: Its key.
        summary: From summarise.
        config: Settings, among them min_checks.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = rating_columns(sessions, key, config["min_checks"])
    table = pa.table({name: pa.array(column) for name, column in columns.items()})
    with run_lock(folder):
        (folder / "manifest.json").unlink(missing_ok=True)
        with atomic_path(folder / RATINGS) as temporary:
            pq.write_table(table, temporary, write_page_checksum=True)
        write_json(folder / SUMMARY, summary)
        inputs = {"key": key.content_hash} | {f"session {s.session}": s.digest for s in sessions}
        digest = content_hash(*columns.values())
        write_manifest(folder, Manifest(kind="ratings", content_hash=digest, inputs=inputs, config=config))


def _rater(session: Session, key: Key, n_resamples: int, seed: int) -> dict[str, Any]:
    checks = _is_check(key)[session.trial]
    found = crossed_interval(rating_table([session], key), n_resamples, seed=seed)
    return {
        "value": found.value,
        "ci_low": found.low,
        "ci_high": found.high,
        "n": int((~checks).sum()),
        "checks_right": int(session.correct[checks].sum()),
        "checks": int(checks.sum()),
        "share_left": float(session.left[~checks].mean()),
        "median_response_time_ms": _median(session.time_ms[~checks]),
        "revised": int(session.revised.sum()),
    }


def _chosen(correct: Table, key: Key) -> Table:
    """Which of the two listed pictures was chosen, from whether it was right."""
    answers = np.array([trial.answer for trial in key.trials if not trial.check], dtype=np.float64)
    return np.where(np.isnan(correct), np.nan, np.where(correct == 1.0, answers, 1.0 - answers))


def _is_check(key: Key) -> NDArray[np.bool_]:
    return np.array([trial.check for trial in key.trials], dtype=np.bool_)


def _same_code(sessions: list[Session]) -> list[str]:
    codes = [session.code for session in sessions if session.code]
    return sorted({code for code in codes if codes.count(code) > 1})


def _median(times: NDArray[np.float64]) -> float | None:
    measured = times[np.isfinite(times)]
    return float(np.median(measured)) if measured.size else None
