"""What the scores say, in words: the first lines of the page."""

from __future__ import annotations

from dataclasses import dataclass

from fmri_lightning.evaluation.embedding_scores import tell_collapse
from fmri_lightning.evaluation.metric_table import METRICS, MetricInfo, is_share
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.report.runs import Evaluation, Interval, ReportRun

LADDER = ("true_target", "true_source", "predicted", "shuffled_as_drawn", "mean", "unconditional", "shuffled")
"""Conditions from the decoder's ceiling down to the null; shuffled_as_drawn are the shuffled pictures scored
against the stimuli whose embeddings drew them, which must equal predicted."""
EXPECTED = ("true_target", "predicted", "shuffled")
"""Those without which the cause of a score is not shown."""


@dataclass(frozen=True)
class Verdict:
    """One run in a sentence or two.

    Attributes:
        label: Name of the run.
        text: The sentences.
        tone: "good" when pictures follow the brain, "bad" when that is not shown, "open" when it was not scored.
    """

    label: str
    text: str
    tone: str


def metric_info(name: str) -> MetricInfo:
    """Describe a metric; one that this version does not know keeps its name."""
    return METRICS.get(name, MetricInfo(name.replace("_", " ")))


def headline(evaluation: Evaluation) -> str | None:
    """Choose the metric that the verdict and the ladder are read from.

    Args:
        evaluation: Scores of a run.

    Returns:
        The protocol's own headline; else the first two-way identification, else the first metric.
    """
    scored = list(evaluation.summary["metrics"])
    known = PROTOCOLS.get(evaluation.protocol)
    recorded = evaluation.summary.get("headline")
    preferred = [str(recorded)] if recorded else [] if known is None else [known.headline]
    preferred += [name for name in scored if "two_way" in name] + scored
    return next((name for name in preferred if name in scored and evaluation.score(name)), None)


def rung(run: ReportRun, protocol: str, metric: str, condition: str) -> Interval | None:
    """Score of one condition of the ladder.

    Args:
        run: The run.
        protocol: Name of the protocol.
        metric: Name of the metric.
        condition: One of :data:`LADDER`.

    Returns:
        The score, with its interval where one was written; None where not scored.
    """
    evaluation = run.evaluations.get(protocol)
    if evaluation is None or (condition == "shuffled_as_drawn" and condition in evaluation.borrowed()):
        # Another encoder drew borrowed pictures: against their own stimuli they measure that encoder.
        return None
    return evaluation.score(metric, condition)


def chance(evaluation: Evaluation, metric: str) -> float | None:
    """Score expected of pictures that know nothing, where one is defined."""
    found = evaluation.summary["metrics"].get(metric, {}).get("chance")
    return None if found is None else float(found)


def verdict(run: ReportRun, protocol: str | None) -> Verdict:
    """Put a run's headline score into words.

    Args:
        run: The run.
        protocol: Whose score is meant; None when nothing was scored.

    Returns:
        The verdict; it claims that pictures follow the brain only when the whole interval lies above the
        shuffled control and above chance.
    """
    evaluation = None if protocol is None else run.evaluations.get(protocol)
    metric = None if evaluation is None else headline(evaluation)
    if evaluation is None or metric is None:
        return Verdict(run.label, f"not scored yet: fmri-lightning evaluate --run {run.folder.name}", "open")
    info, score = metric_info(metric), evaluation.score(metric)
    assert score is not None
    floor, null = chance(evaluation, metric), rung(run, str(protocol), metric, "shuffled")
    text = f"{info.label}: {format_score(metric, score)}"
    if floor is not None:
        text += f", chance {format_number(metric, floor)}"
    if null is not None:
        owner = evaluation.borrowed().get("shuffled")
        text += f", shuffled control{f' of {owner}' if owner else ''} {format_score(metric, null)}"
    collapsed = tell_collapse(evaluation.summary)
    if collapsed is not None:
        return Verdict(run.label, f"{text}. {collapsed}", "bad")
    if null is None:
        return Verdict(run.label, f"{text}. No shuffled control was scored, so the cause is not shown.", "open")
    follows = _above(score, null, info.higher_is_better) and (
        floor is None or _above(score, Interval(floor), info.higher_is_better)
    )
    brain = "simulated brain" if run.summary.get("simulated") else "brain"
    if follows:
        return Verdict(run.label, f"{text}. The pictures follow the {brain}.", "good")
    return Verdict(run.label, f"{text}. That the pictures follow the {brain} is not shown.", "bad")


def _above(score: Interval, other: Interval, higher_is_better: bool) -> bool:
    """Tell whether the interval of a score lies wholly on the better side of another."""
    if not score.bounded:
        return False
    assert score.low is not None
    assert score.high is not None
    if higher_is_better:
        return score.low > (other.high if other.high is not None else other.value)
    return score.high < (other.low if other.low is not None else other.value)


def format_number(metric: str, value: float) -> str:
    """Write a score: shares in per cent, anything else with three decimals."""
    if is_share(metric):
        return f"{100 * value:.1f} %"
    return f"{value:.1f}" if "rank" in metric else f"{value:.3f}"


def format_score(metric: str, score: Interval) -> str:
    """Write a score with its interval, for instance "78.1 % (95 % interval 74.0 to 81.9)"."""
    text = format_number(metric, score.value)
    if not score.bounded:
        return text
    assert score.low is not None
    assert score.high is not None
    low, high = (format_number(metric, end).removesuffix(" %") for end in (score.low, score.high))
    return f"{text} (95 % interval {low} to {high})"
