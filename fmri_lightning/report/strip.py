"""strip.png: a few stimuli and what every run and control drew of them, one row each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from fmri_lightning.manifest import atomic_path
from fmri_lightning.report.gallery.columns import draws_stimuli
from fmri_lightning.report.grids import enlarged, open_picture
from fmri_lightning.report.runs import ReportRun
from fmri_lightning.report.truth import Truth

N_STIMULI = 10
_SIDE_PX, _GAP_PX, _LABEL_PX = 96, 2, 112
_PAPER, _INK = (255, 255, 255), (40, 40, 40)
_ROW_NAMES = {"true_target": "true embedding", "shuffled": "shuffled (control)"}

Row = tuple[str, dict[int, Path]]


def write_strip(
    runs: list[ReportRun], truth: Truth, path: Path, n_stimuli: int = N_STIMULI, share: bool = False
) -> Path | None:
    """Draw rows of shown, true embedding, each run, shuffled, over the first stimuli that all rows have.

    The first by the runs' own order, never the best ones.

    Args:
        runs: The runs of a page.
        truth: Stimuli.
        path: PNG to write.
        n_stimuli: Columns at most.
        share: Leave out the row of what was shown, and runs whose pictures are stimuli.

    Returns:
        The path, or None where no stimulus has a picture in every row.

    Raises:
        BadInputError: A finished picture is missing or unreadable.
    """
    rows = list(_rows([run for run in runs if not (share and draws_stimuli(run))]))
    columns = _columns(runs[0], rows, None if share else truth)[:n_stimuli] if rows else []
    if not columns:
        path.unlink(missing_ok=True)
        return None
    lines: list[tuple[str, list[Image.Image | None]]] = [
        (name, [open_picture(files[nsd_id]) for nsd_id in columns]) for name, files in rows
    ]
    if not share:
        lines.insert(0, ("shown", [truth.picture(nsd_id) for nsd_id in columns]))
    step = _SIDE_PX + _GAP_PX
    canvas = Image.new("RGB", (_LABEL_PX + len(columns) * step, len(lines) * step), _PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default()
    for number, (name, pictures) in enumerate(lines):
        draw.text((4, number * step + _SIDE_PX // 2 - 5), name, _INK, font=font)
        for column, picture in enumerate(pictures):
            assert picture is not None
            canvas.paste(enlarged(picture, _SIDE_PX, _SIDE_PX), (_LABEL_PX + column * step, number * step))
    with atomic_path(path) as temporary:
        canvas.save(temporary, format="PNG", compress_type=3)
    return path


def _columns(run: ReportRun, rows: list[Row], truth: Truth | None) -> list[int]:
    """List the stimuli that every row has, in the run's own order."""
    ids = dict.fromkeys(int(result["nsdId"]) for result in run.results)
    known = [i for i in ids if truth is None or truth.picture(i) is not None]
    return [i for i in known if all(i in files for _, files in rows)]


def _rows(runs: list[ReportRun]) -> Iterator[Row]:
    controls = {name: control for run in runs for name, control in run.controls.items()}
    if "true_target" in controls:
        yield _ROW_NAMES["true_target"], _pictures(controls["true_target"])
    for run in runs:
        yield run.label, _pictures(run)
    if "shuffled" in controls:
        yield _ROW_NAMES["shuffled"], _pictures(controls["shuffled"])


def _pictures(run: ReportRun) -> dict[int, Path]:
    return {int(result["nsdId"]): run.picture(result) for result in run.results}
