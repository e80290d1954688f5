"""How scores lie over the stimuli: a mean may hide half that work and half that do not."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from fmri_lightning.evaluation.metric_table import is_share
from fmri_lightning.report.figures import condition_label, distributions
from fmri_lightning.report.sections.section import Material, Section
from fmri_lightning.report.verdict import EXPECTED, chance
from fmri_lightning.report.wording import metric_info, number


@dataclass(frozen=True)
class Histogram:
    """One metric over the stimuli.

    Attributes:
        label: The metric in words.
        svg: The figure.
        caption: Medians in words.
    """

    label: str
    svg: str
    caption: str


@dataclass(frozen=True)
class DistributionsSection(Section):
    """Histograms.

    Attributes:
        first: Of the headline metric.
        others: Folded away.
        without: Metrics that have no histogram, in words.
    """

    anchor = "distributions"
    title = "Over the stimuli"
    template = "sections/distributions.html.j2"
    first: Histogram
    others: list[Histogram]
    without: list[str]


def build(material: Material) -> DistributionsSection | None:
    """Draw a histogram a metric; None without scores of single stimuli."""
    drawn, without = [], []
    for metric in material.metrics():
        values = _values(material, metric)
        if not any(condition == "predicted" for _, condition, _ in values):
            continue
        if {value for _, _, scores in values for value in scores} <= {0.0, 1.0}:
            without.append(metric_info(metric).label)
            continue
        drawn.append(_histogram(material, metric, values))
    return DistributionsSection(drawn[0], drawn[1:], without) if drawn else None


def _values(material: Material, metric: str) -> list[tuple[str, str, list[float]]]:
    found = [
        (run.label, condition, list(one.values(metric, condition).values()))
        for run, one in material.scored()
        for condition in EXPECTED
    ]
    return [(label, condition, scores) for label, condition, scores in found if scores]


def _histogram(material: Material, metric: str, values: list[tuple[str, str, list[float]]]) -> Histogram:
    info, floor = metric_info(metric), chance(material.scored()[0][1], metric)
    said = "; ".join(
        f"{f'{run}, ' if material.several else ''}{condition_label(condition)} {number(metric, median(scores))}"
        for run, condition, scores in values
    )
    caption = f"Medians: {said}."
    if floor is not None:
        caption += f" Chance: {number(metric, floor)}."
    title = f"Histogram of {info.label} over the stimuli. {caption}"
    return Histogram(info.label, distributions(values, floor, info.label, is_share(metric), title), caption)
