"""grids/: ground truth | generated | nearest neighbour, as pictures to look through."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import atomic_path
from fmri_lightning.report.runs import ReportRun
from fmri_lightning.report.truth import Truth

PANELS = ("ground truth", "generated", "nearest neighbour")
PER_SHEET = 16
_GAP_PX, _STRIP_PX, _LEAST_PX = 4, 16, 128
_PAPER, _INK, _EMPTY = (255, 255, 255), (40, 40, 40), (225, 225, 225)


def write_grids(run: ReportRun, truth: Truth) -> list[Path]:
    """Write one triptych a result and one sheet for every sixteen.

    Args:
        run: The run; its `grids` folder is filled.
        truth: Stimuli to set beside the results.

    Returns:
        The files written, triptychs first.

    Raises:
        BadInputError: A finished picture is missing or unreadable.
    """
    folder = run.folder / "grids"
    triptychs, written = [], []
    for result in run.results:
        panels = (
            truth.picture(result["nsdId"]),
            open_picture(run.picture(result)),
            truth.picture(result.get("nn_nsdId")),
        )
        grid = triptych(panels, f"nsd{result['nsdId']}")
        triptychs.append(grid)
        name = Path(result["image_path"]).name.replace("_generated.png", "_grid.png")
        written.append(_save(grid, folder / name))
    for start in range(0, len(triptychs), PER_SHEET):
        sheet = _sheet(triptychs[start : start + PER_SHEET])
        written.append(_save(sheet, folder / f"sheet_{start // PER_SHEET + 1:03d}.png"))
    return written


def triptych(panels: tuple[Image.Image | None, ...], title: str) -> Image.Image:
    """Set pictures side by side under their names.

    Args:
        panels: Ground truth, generated, nearest neighbour; None where one is not at hand.
        title: Written at the left of the strip.

    Returns:
        One RGB picture; panels take the size of the largest, at least 128 px high.
    """
    sizes = [panel.size for panel in panels if panel is not None]
    height = max([_LEAST_PX, *(size[1] for size in sizes)])
    width = max([round(height * size[0] / size[1]) for size in sizes], default=height)
    canvas = Image.new("RGB", (len(panels) * (width + _GAP_PX) - _GAP_PX, height + _STRIP_PX), _PAPER)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default()
    for i, (panel, name) in enumerate(zip(panels, PANELS, strict=True)):
        left = i * (width + _GAP_PX)
        draw.text((left + 2, 2), f"{title} {name}" if i == 0 else name, _INK, font=font)
        if panel is None:
            draw.rectangle((left, _STRIP_PX, left + width - 1, _STRIP_PX + height - 1), _EMPTY)
            draw.text((left + 6, _STRIP_PX + 6), "not available", _INK, font=font)
        else:
            canvas.paste(enlarged(panel, width, height), (left, _STRIP_PX))
    return canvas


def enlarged(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Bring a picture to a size; whole multiples repeat pixels, so that nothing is invented."""
    if picture.size == (width, height):
        return picture
    whole = width % picture.width == 0 and height % picture.height == 0
    return picture.resize((width, height), Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS)


def open_picture(path: Path) -> Image.Image:
    """Read a picture as RGB.

    Args:
        path: PNG or JPEG.

    Raises:
        BadInputError: The file is missing or unreadable.
    """
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise BadInputError(f"{path} {reason}; run the same predict command again") from error


def _sheet(grids: list[Image.Image]) -> Image.Image:
    columns = 2 if len(grids) > 1 else 1
    width, height = (max(grid.size[axis] for grid in grids) + 2 * _GAP_PX for axis in (0, 1))
    rows = -(-len(grids) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), _PAPER)
    for i, grid in enumerate(grids):
        sheet.paste(grid, (i % columns * width + _GAP_PX, i // columns * height + _GAP_PX))
    return sheet


def _save(picture: Image.Image, path: Path) -> Path:
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", compress_type=3)
    return path
