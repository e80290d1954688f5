"""The rows of the gallery: one stimulus, what was shown, and what every run drew for it."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmri_lightning.report.grids import open_picture
from fmri_lightning.report.runs import ReportRun
from fmri_lightning.report.truth import Truth
from fmri_lightning.report.verdict import metric_info

if TYPE_CHECKING:
    from PIL import Image

THUMB_PX = 192
"""Longer side of a picture on the page; smaller ones keep their size."""


@dataclass(frozen=True)
class Panel:
    """One picture of a row.

    Attributes:
        heading: What it is, above the picture.
        caption: Scores or ids, below it; may be empty.
        alt: What those who cannot see it are told.
        uri: `data:` address of the picture, or None where it is not at hand.
    """

    heading: str
    caption: str
    alt: str
    uri: str | None


@dataclass(frozen=True)
class Row:
    """One stimulus, or one trial of it.

    Attributes:
        key: For instance "nsd12" or "nsd12_trial340".
        panels: Pictures from left to right.
        scores: Label to value, what the page can sort by.
    """

    key: str
    panels: list[Panel]
    scores: dict[str, float] = field(default_factory=dict)


def build_rows(runs: list[ReportRun], truth: Truth, protocol: str | None, limit: int, seed: int) -> list[Row]:
    """Build the gallery in a random order that is the same every time.

    Args:
        runs: Runs side by side; their control pictures follow each run's own.
        truth: Stimuli.
        protocol: Whose per-stimulus scores the rows carry, or None.
        limit: At most this many rows, drawn at random.
        seed: Of the order.

    Returns:
        The rows.

    Raises:
        BadInputError: A finished picture is missing or unreadable.
    """
    by_key: dict[str, int] = {}
    for run in runs:
        for result in run.results:
            by_key.setdefault(row_key(result), int(result["nsdId"]))
    keys = sorted(by_key, key=lambda key: hashlib.blake2b(f"{seed} {key}".encode()).digest())[:limit]
    lookups = {id(r): {row_key(x): x for x in r.results} for run in runs for r in (run, *run.controls.values())}
    return [_row(key, by_key[key], runs, truth, protocol, lookups) for key in keys]


def row_key(result: dict[str, Any]) -> str:
    """Name the item of a result; controls use the same name for the same item."""
    return Path(str(result["image_path"])).name.removesuffix("_generated.png")


def _row(
    key: str,
    nsd_id: int,
    runs: list[ReportRun],
    truth: Truth,
    protocol: str | None,
    lookups: dict[int, dict[str, dict[str, Any]]],
) -> Row:
    panels = [_panel("ground truth", key, f"Stimulus {nsd_id} as it was shown", truth.picture(nsd_id))]
    scores: dict[str, float] = {}
    for run in runs:
        result = lookups[id(run)].get(key)
        if result is None:
            panels.append(Panel(run.label, "not drawn by this run", f"No picture by {run.label}", None))
            continue
        panels += _panels_of_run(run, result, truth)
        panels += [
            _panel_of_control(run, condition, control, lookups[id(control)][key])
            for condition, control in run.controls.items()
            if key in lookups[id(control)]
        ]
        scores |= _scores(run, result, protocol)
    return Row(key, panels, scores)


def _panels_of_run(run: ReportRun, result: dict[str, Any], truth: Truth) -> list[Panel]:
    nsd_id, neighbour = result["nsdId"], result.get("nn_nsdId")
    generated = _panel(
        f"{run.label}: generated",
        _cosine(result.get("cosine_pred_gt")),
        f"Reconstruction of stimulus {nsd_id} by {run.label}",
        open_picture(run.picture(result)),
    )
    near = _panel(
        f"{run.label}: nearest neighbour",
        "none" if neighbour is None else f"nsd{neighbour}, {_cosine(result.get('nn_cosine'))}",
        f"Training stimulus {neighbour}, nearest to the embedding that {run.label} predicted for {nsd_id}",
        truth.picture(neighbour),
    )
    return [generated, near]


def _panel_of_control(run: ReportRun, condition: str, control: ReportRun, result: dict[str, Any]) -> Panel:
    source = control.drawn_from.get(int(result["nsdId"]))
    moved = source is not None and source != result["nsdId"]
    caption = f"embedding of nsd{source}" if moved else _cosine(result.get("cosine_pred_gt"))
    alt = f"Control {condition} of {run.label} for stimulus {result['nsdId']}"
    return _panel(f"{run.label}: {condition}", caption, alt, open_picture(control.picture(result)))


def _panel(heading: str, caption: str, alt: str, picture: Image.Image | None) -> Panel:
    return Panel(heading, caption, alt, None if picture is None else data_uri(picture))


def _cosine(value: Any) -> str:
    return "" if value is None else f"cosine {float(value):.3f}"


def _scores(run: ReportRun, result: dict[str, Any], protocol: str | None) -> dict[str, float]:
    scores = {}
    if result.get("cosine_pred_gt") is not None:
        scores[f"{run.label}: embedding cosine"] = float(result["cosine_pred_gt"])
    evaluation = None if protocol is None else run.evaluations.get(protocol)
    for metric, values in {} if evaluation is None else evaluation.per_stimulus.items():
        if "/" not in metric and int(result["nsdId"]) in values:
            scores[f"{run.label}: {metric_info(metric).label}"] = values[int(result["nsdId"])]
    return scores


def data_uri(picture: Image.Image) -> str:
    """Turn a picture into an address that carries it: JPEG without colour subsampling.

    Args:
        picture: RGB; shrunk to THUMB_PX where it is larger.
    """
    from PIL import Image

    picture = picture.copy()
    picture.thumbnail((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    picture.save(target, format="JPEG", quality=90, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(target.getvalue()).decode()}"
