"""What all sections are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fmri_lightning.evaluation.metric_table import is_further
from fmri_lightning.report.paths import shorten_paths
from fmri_lightning.report.runs import Evaluation, ReportRun
from fmri_lightning.report.verdict import headline


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: Its id in the page.
        title: Its heading.
        template: Its partial, which finds the section under the name ``section``.
    """

    anchor: ClassVar[str]
    title: ClassVar[str]
    template: ClassVar[str]


@dataclass(frozen=True)
class Material:
    """What sections are built from.

    Attributes:
        runs: Runs of the page.
        protocol: Whose scores lead the page; None when nothing was scored.
        share: Whether paths are cut to their last part.
    """

    runs: list[ReportRun]
    protocol: str | None
    share: bool = False

    @property
    def several(self) -> bool:
        """Whether there is more than one run, so that each needs its name."""
        return len(self.runs) > 1

    def scored(self) -> list[tuple[ReportRun, Evaluation]]:
        """Runs with their scores by the leading protocol."""
        if self.protocol is None:
            return []
        return [(run, run.evaluations[self.protocol]) for run in self.runs if self.protocol in run.evaluations]

    def headline(self) -> str | None:
        """The metric that the page leads with: the first scored run's."""
        return next((metric for _, one in self.scored() if (metric := headline(one)) is not None), None)

    def metrics(self) -> list[str]:
        """Metrics of the leading protocol for short tables: the headline first, then as they were written."""
        names = [name for _, one in self.scored() for name in one.summary["metrics"] if not is_further(name)]
        lead = self.headline()
        return list(dict.fromkeys(([lead] if lead is not None else []) + names))

    def found(self, key: str) -> list[tuple[ReportRun, dict[str, Any]]]:
        """Runs with a part of their summaries, of the leading protocol or else of any that has it."""
        parts = []
        for run in self.runs:
            ordered = sorted(run.evaluations.values(), key=lambda one: one.protocol != self.protocol)
            part = next((one.summary[key] for one in ordered if one.summary.get(key)), None)
            if part is not None:
                parts.append((run, part))
        return parts

    def plain(self, text: object) -> str:
        """Text of a file without the folders of whoever wrote it."""
        return shorten_paths(str(text), self.share)
