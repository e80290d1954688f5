"""What people said: blind two-alternative identification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fmri_lightning.errors import BadInputError
from fmri_lightning.report.runs import Interval, ReportRun, read_interval, read_optional
from fmri_lightning.report.sections.section import Material, Section
from fmri_lightning.report.wording import Number, format_score, interval_of, value_of

SCORES = "ratings/scores/summary.json"
PAGE = "ratings/ratings.html"
METRIC = "rating_two_way"
"""Named so that its numbers are written as shares."""


@dataclass(frozen=True)
class RaterRow:
    """One rater, by number: codes are for those who collected them."""

    rater: str
    value: Number
    interval: Number
    n: int
    checks: str


@dataclass(frozen=True)
class RatingsOfRun:
    """Ratings of a run: sentences, and every rater."""

    run: str
    sentences: list[str]
    raters: list[RaterRow]


@dataclass(frozen=True)
class RatingsSection(Section):
    """Ratings of every run that people rated."""

    anchor = "ratings"
    title = "What people say"
    template = "sections/ratings.html.j2"
    runs: list[RatingsOfRun]


def build(material: Material) -> RatingsSection | None:
    """Put ratings into words; None where nobody rated."""
    found = [(run, read_optional(run.folder / SCORES)) for run in material.runs]
    runs = [_of_run(run, one) for run, one in found if one is not None]
    return RatingsSection(runs) if runs else None


def _of_run(run: ReportRun, summary: dict[str, Any]) -> RatingsOfRun:
    overall = read_interval(summary.get("identification") or {})
    if overall is None:
        raise BadInputError(f"{run.folder / SCORES} holds no identification; score the ratings again")
    raters = [_rater(i, one) for i, one in enumerate((summary.get("raters") or {}).values(), start=1)]
    return RatingsOfRun(run.label, _sentences(summary, overall), raters)


def _sentences(summary: dict[str, Any], overall: Interval) -> list[str]:
    found, n = summary["identification"], summary.get("n_raters", 0)
    who = "One person, blind to the answer," if n == 1 else f"{n} people, blind to the answer,"
    said = [
        f"{who} picked the stimulus that a picture was drawn from, out of two, in {format_score(METRIC, overall)} of "
        f"{found.get('n_answers', '?')} answers about {summary.get('n_stimuli', '?')} stimuli; guessing gives "
        f"{100 * found.get('chance', 0.5):.0f} %"
        + (f" (p = {found['p_above_chance']:.4f})." if found.get("p_above_chance") is not None else ".")
    ]
    if found.get("resampled") == ["stimuli"]:
        said.append("With one rater the interval is over stimuli and says nothing of other people.")
    else:
        said.append("The interval is over people and stimuli.")
    same = summary.get("agreement")
    if same:
        alpha = "undefined" if same.get("alpha") is None else f"{same['alpha']:.2f}"
        said.append(
            f"Two of them choose the same picture in {100 * same['pairwise']:.0f} % of cases (guessing 50 %, "
            f"Krippendorff's alpha {alpha})."
        )
    excluded = summary.get("excluded") or {}
    if excluded:
        said.append(f"Left out: {len(excluded)} ({'; '.join(dict.fromkeys(map(str, excluded.values())))}).")
    if summary.get("incomplete"):
        said.append(f"Stopped early and counted as far as they went: {len(summary['incomplete'])}.")
    if summary.get("simulated"):
        said.append("The brain is simulated.")
    return said


def _rater(number: int, one: dict[str, Any]) -> RaterRow:
    score = read_interval(one)
    return RaterRow(
        f"rater {number}",
        value_of(METRIC, score),
        interval_of(METRIC, score),
        int(one.get("n") or 0),
        f"{one.get('checks_right', 0)} of {one.get('checks', 0)}",
    )
