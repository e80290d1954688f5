"""The causal ladder: from pictures of the real embedding down to those of somebody else's brain."""

from __future__ import annotations

from dataclasses import dataclass

from fmri_lightning.evaluation.metric_table import is_share
from fmri_lightning.report.figures import condition_label, ladder
from fmri_lightning.report.runs import Interval
from fmri_lightning.report.sections.section import Material, Section
from fmri_lightning.report.verdict import EXPECTED, LADDER, chance, rung
from fmri_lightning.report.wording import Number, interval_of, metric_info, number, value_of


@dataclass(frozen=True)
class Rung:
    """One line of the ladder in numbers."""

    run: str
    condition: str
    value: Number
    interval: Number


@dataclass(frozen=True)
class LadderSection(Section):
    """The ladder as a figure and in numbers.

    Attributes:
        svg: The figure.
        metric: What is scored, in words.
        higher_is_better: Its direction.
        chance: Chance level.
        rungs: The same in numbers.
        conditions: Which conditions are on it.
        missing: What was not scored, and the command that scores it.
    """

    anchor = "ladder"
    title = "Does the picture come from the brain?"
    template = "sections/ladder.html.j2"
    svg: str
    metric: str
    higher_is_better: bool
    chance: Number
    rungs: list[Rung]
    conditions: set[str]
    missing: list[str]


def build(material: Material) -> LadderSection | None:
    """Draw the ladder of every run; None when nothing was scored."""
    scored, metric = material.scored(), material.headline()
    if metric is None or material.protocol is None:
        return None
    found = {(run.label, at): rung(run, material.protocol, metric, at) for run, _ in scored for at in LADDER}
    rungs = [(label, condition, score) for (label, condition), score in found.items() if score is not None]
    info, floor = metric_info(metric), chance(scored[0][1], metric)
    return LadderSection(
        svg=ladder(rungs, floor, info.label, is_share(metric), _spoken(info.label, metric, rungs)),
        metric=info.label,
        higher_is_better=info.higher_is_better,
        chance=number(metric, floor),
        rungs=[
            Rung(label, condition_label(condition), value_of(metric, score), interval_of(metric, score))
            for label, condition, score in rungs
        ],
        conditions={condition for _, condition, _ in rungs},
        missing=_missing(material, found),
    )


def _spoken(label: str, metric: str, rungs: list[tuple[str, str, Interval]]) -> str:
    said = "; ".join(f"{run}, {condition_label(name)}: {value_of(metric, score)}" for run, name, score in rungs)
    return f"Ladder of {label}. {said}"


def _missing(material: Material, found: dict[tuple[str, str], Interval | None]) -> list[str]:
    said = []
    for run, _ in material.scored():
        for condition in EXPECTED:
            if found[run.label, condition] is not None:
                continue
            how = "" if condition == "predicted" else _how(condition, condition in run.controls)
            said.append(f"Not scored: {condition_label(condition)}, of {run.label}{how}.")
    return said


def _how(condition: str, is_drawn: bool) -> str:
    if is_drawn:
        return "; the pictures are there: run fmri-lightning evaluate again"
    return f"; run fmri-lightning predict --model.condition {condition}, then evaluate"
