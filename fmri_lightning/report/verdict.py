"""What the scores say, in words: the first lines of the page."""

from __future__ import annotations

from dataclasses import dataclass

from fmri_lightning.evaluation.embedding_scores import tell_collapse
from fmri_lightning.evaluation.literature.literature import PublishedCell, comparable_cells, load_literature
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.report.runs import Evaluation, Interval, ReportRun
from fmri_lightning.report.wording import format_number, format_score, meaning, metric_info

LADDER = (
    "true_target",
    "true_source",
    "predicted",
    "shuffled_as_drawn",
    "nearest_training",
    "mean",
    "unconditional",
    "shuffled",
)
"""Conditions from the decoder's ceiling down to the null; shuffled_as_drawn are the shuffled pictures scored
against the stimuli whose embeddings drew them, which must equal predicted, and nearest_training is what looking
the prediction up among the training pictures would show."""
EXPECTED = ("true_target", "predicted", "shuffled")
"""Those without which the cause of a score is not shown."""


@dataclass(frozen=True)
class Verdict:
    """One run in a few sentences.

    Attributes:
        label: Name of the run.
        text: The sentences.
        tone: "good" when pictures follow the brain, "bad" when that is not shown, "open" when it was not scored.
    """

    label: str
    text: str
    tone: str


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
        shuffled control and above chance. A published value stands in it only where the evaluation says that
        it is comparable.
    """
    evaluation = None if protocol is None else run.evaluations.get(protocol)
    metric = None if evaluation is None else headline(evaluation)
    score = None if evaluation is None or metric is None else evaluation.score(metric)
    if evaluation is None or metric is None or score is None:
        return Verdict(run.label, f"not scored yet: fmri-lightning evaluate --run {run.folder.resolve().name}", "open")
    null = rung(run, evaluation.protocol, metric, "shuffled")
    sentences = [_numbers(evaluation, metric, score, null), meaning(metric, score.value)]
    sentences.append(_published(run, evaluation, metric))
    if run.summary.get("simulated"):
        sentences.append("This is a simulation: no brain was measured.")
    concluded, tone = _conclude(run, evaluation, metric, score, null)
    return Verdict(run.label, " ".join(sentence for sentence in (*sentences, concluded) if sentence), tone)


def _numbers(evaluation: Evaluation, metric: str, score: Interval, null: Interval | None) -> str:
    floor = chance(evaluation, metric)
    text = f"{metric_info(metric).label}: {format_score(metric, score)}"
    if floor is not None:
        text += f", chance {format_number(metric, floor)}"
    if null is not None:
        owner = evaluation.borrowed().get("shuffled")
        text += f", shuffled control{f' of {owner}' if owner else ''} {format_score(metric, null)}"
    return f"{text}."


def _published(run: ReportRun, evaluation: Evaluation, metric: str) -> str:
    """Name the best published value of the same metric and test set; of the same subject where there is one."""
    if not is_comparable(run, evaluation):
        return ""
    cells = [cell for cell in published_beside(evaluation) if cell.metric == metric]
    subject = str(run.summary.get("subject"))
    cells = [cell for cell in cells if cell.subjects == (subject,)] or cells
    if not cells:
        return ""
    sign = 1 if metric_info(metric).higher_is_better else -1
    best = max(cells, key=lambda cell: sign * cell.value)
    return (
        f"Published on the same {evaluation.summary['n']} pictures: {best.title}, "
        f"{format_number(metric, best.value)} ({best.subject_words})."
    )


def is_comparable(run: ReportRun, evaluation: Evaluation) -> bool:
    """Tell whether a run's scores may stand beside published ones."""
    simulated = run.summary.get("simulated") or evaluation.summary.get("simulated")
    return bool(evaluation.summary.get("comparable")) and not simulated


def published_beside(evaluation: Evaluation) -> list[PublishedCell]:
    """Published numbers of the same scoring code and of as many test pictures."""
    return comparable_cells(load_literature(), evaluation.protocol, int(evaluation.summary.get("n") or 0))


def _conclude(
    run: ReportRun, evaluation: Evaluation, metric: str, score: Interval, null: Interval | None
) -> tuple[str, str]:
    if run.null_decoder:
        return f"Its decoder is a null ({run.null_decoder}): whatever its pictures score, they follow no brain.", "bad"
    collapsed = tell_collapse(evaluation.summary)
    if collapsed is not None:
        return collapsed, "bad"
    if null is None:
        return "No shuffled control was scored, so the cause is not shown.", "open"
    floor, upwards = chance(evaluation, metric), metric_info(metric).higher_is_better
    follows = _above(score, null, upwards) and (floor is None or _above(score, Interval(floor), upwards))
    brain = "simulated brain" if run.summary.get("simulated") else "brain"
    if follows:
        return f"The pictures follow the {brain}.", "good"
    return f"That the pictures follow the {brain} is not shown.", "bad"


def _above(score: Interval, other: Interval, higher_is_better: bool) -> bool:
    """Tell whether the interval of a score lies wholly on the better side of another."""
    if score.low is None or score.high is None:
        return False
    if higher_is_better:
        return score.low > (other.high if other.high is not None else other.value)
    return score.high < (other.low if other.low is not None else other.value)
