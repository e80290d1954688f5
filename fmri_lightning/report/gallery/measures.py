"""Numbers that every card carries: what the gallery is sorted, filtered and plotted by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fmri_lightning.evaluation.metric_table import is_share
from fmri_lightning.report.runs import ReportRun
from fmri_lightning.report.wording import metric_info

EMBEDDING_COSINE = "embedding_cosine"


@dataclass(frozen=True)
class Measure:
    """One number per stimulus.

    Attributes:
        name: Unique, for instance "mlp/pixcorr".
        label: What a reader calls it.
        higher_is_better: Direction.
        share: Whether it is shown in per cent.
        values: By nsd_id.
    """

    name: str
    label: str
    higher_is_better: bool
    share: bool
    values: dict[int, float]


def measures_of(runs: list[ReportRun], protocol: str | None) -> list[Measure]:
    """List what the stimuli of a page were scored by.

    Args:
        runs: Runs side by side.
        protocol: Whose per-stimulus scores are taken, or None when nothing was scored.

    Returns:
        Scores of each run; then, for several runs, how much better each is than the first one.
    """
    by_run = [dict(_of_run(run, protocol)) for run in runs]
    measures = [measure for found in by_run for measure in found.values()]
    for run, found in zip(runs[1:], by_run[1:], strict=True):
        measures += [
            _difference(run, runs[0], metric, one, by_run[0][metric])
            for metric, one in found.items()
            if metric in by_run[0]
        ]
    return measures


def _of_run(run: ReportRun, protocol: str | None) -> list[tuple[str, Measure]]:
    evaluation = None if protocol is None else run.evaluations.get(protocol)
    found = []
    for metric, values in {} if evaluation is None else evaluation.per_stimulus.items():
        if "/" not in metric:
            info = metric_info(metric)
            label = f"{run.label}: {info.label}"
            found.append(
                (metric, Measure(f"{run.label}/{metric}", label, info.higher_is_better, is_share(metric), values))
            )
    cosines = _cosines(run.results)
    if cosines:
        label = f"{run.label}: cosine of the predicted embedding"
        found.append((EMBEDDING_COSINE, Measure(f"{run.label}/{EMBEDDING_COSINE}", label, True, False, cosines)))
    return found


def _cosines(results: list[dict[str, Any]]) -> dict[int, float]:
    """Collect the cosine of each stimulus; the mean over its trials where single trials were drawn."""
    gathered: dict[int, list[float]] = {}
    for result in results:
        if result.get("cosine_pred_gt") is not None:
            gathered.setdefault(int(result["nsdId"]), []).append(float(result["cosine_pred_gt"]))
    return {nsd_id: sum(values) / len(values) for nsd_id, values in gathered.items()}


def _difference(run: ReportRun, first: ReportRun, metric: str, one: Measure, other: Measure) -> Measure:
    shared = one.values.keys() & other.values.keys()
    return Measure(
        name=f"{run.label}-{first.label}/{metric}",
        label=f"{run.label} minus {one.label.replace(run.label, first.label, 1)}",
        higher_is_better=one.higher_is_better,
        share=one.share,
        values={nsd_id: one.values[nsd_id] - other.values[nsd_id] for nsd_id in shared},
    )
