"""Numbers and metrics in words, the same on every part of the page."""

from __future__ import annotations

from dataclasses import dataclass

from fmri_lightning.evaluation.metric_table import METRICS, MetricInfo, is_share
from fmri_lightning.report.runs import Interval

DASH = "–"


@dataclass(frozen=True)
class Number:
    """A number as it is shown, with all its digits for those who download it.

    Attributes:
        text: Rounded, with its unit; a dash where there is none.
        raw: Every digit, "" where there is none.
    """

    text: str = DASH
    raw: str = ""

    def __str__(self) -> str:
        return self.text


NOTHING = Number()


def metric_info(name: str) -> MetricInfo:
    """Describe a metric; one that this version does not know keeps its name."""
    return METRICS.get(name, MetricInfo(name.replace("_", " ")))


def arrow(metric: str) -> str:
    """Arrow in the direction of better."""
    return "↑" if metric_info(metric).higher_is_better else "↓"


def format_number(metric: str, value: float) -> str:
    """Write a score: shares in per cent, ranks with one decimal, anything else with three."""
    if is_share(metric):
        return f"{_rounded(100 * value, 1)} %"
    return _rounded(value, 1 if "rank" in metric else 3)


def _rounded(value: float, digits: int) -> str:
    # Adding 0 makes 0 of what would read -0.
    return f"{round(value, digits) + 0.0:.{digits}f}"


def format_range(metric: str, low: float, high: float) -> str:
    """Write an interval, for instance "74.0 to 81.9"; per cent are not said again."""
    return " to ".join(format_number(metric, end).removesuffix(" %") for end in (low, high))


def format_score(metric: str, score: Interval) -> str:
    """Write a score with its interval, for instance "78.1 % (95 % interval 74.0 to 81.9)"."""
    text = format_number(metric, score.value)
    if score.low is None or score.high is None:
        return text
    return f"{text} (95 % interval {format_range(metric, score.low, score.high)})"


def number(metric: str, value: float | None) -> Number:
    """A score to show; a dash for None."""
    return NOTHING if value is None else Number(format_number(metric, value), repr(float(value)))


def value_of(metric: str, score: Interval | None) -> Number:
    """The value of a score, without its interval."""
    return number(metric, None if score is None else score.value)


def interval_of(metric: str, score: Interval | None) -> Number:
    """The interval of a score; nothing at all where none was computed."""
    if score is None or score.low is None or score.high is None:
        return Number("")
    return Number(format_range(metric, score.low, score.high), f"{score.low!r} to {score.high!r}")


def meaning(metric: str, value: float) -> str:
    """Say in a sentence what a score means; "" for a metric that needs more than one.

    Args:
        metric: Its name.
        value: The score, a share as a fraction of 1.
    """
    if "two_way" in metric:
        return f"The right picture is preferred to a random other one in {100 * value:.0f} % of pairs."
    if "_top" in metric:
        k = metric.rpartition("_top")[2].split("_")[0]
        what, by = ("picture", "brain response") if metric.startswith("picture") else ("brain response", "picture")
        place = "the nearest candidate" if k == "1" else f"among the {k} nearest candidates"
        return f"For {100 * value:.0f} % of {by}s the right {what} is {place}."
    if metric.endswith("_rank"):
        return f"Half of the right answers stand among the first {value:.0f} candidates."
    if metric in ("pixcorr", "ssim"):
        return "1 would be the very same picture."
    if metric.endswith("_distance") or metric == "lpips":
        return "0 would be the very same picture."
    return ""
