"""Pictures for people: side by side with captions, small, and wherever the run's loggers can show them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_PICTURES = 108
"""W&B cuts longer lists."""
THUMBNAIL_PX = 256
CELL_PX = (128, 256)
"""Smallest and largest side of a picture in a composite."""
CAPTION_PX = 14

Picture = NDArray[np.uint8]


def thumbnail(picture: Picture, side_px: int = THUMBNAIL_PX) -> Any:
    """Shrink a picture that is larger than it is shown.

    Args:
        picture: uint8 (height, width, 3).
        side_px: Longest side it may have, in pixels.

    Returns:
        A Pillow image, RGB.
    """
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    return image


def cell_px(pictures: Sequence[Picture]) -> int:
    """Choose the side of the pictures of a composite.

    Args:
        pictures: uint8 (height, width, 3) each.

    Returns:
        The largest side among them, within :data:`CELL_PX`.
    """
    return int(np.clip(max(max(picture.shape[:2]) for picture in pictures), *CELL_PX))


def side_by_side(pictures: Sequence[Picture], words: Sequence[str]) -> Picture:
    """Lay pictures in a row with a word above each: one picture that no interface can tear apart.

    Args:
        pictures: uint8 (height, width, 3) each, square, of any size.
        words: One a picture.

    Returns:
        uint8 (side + 14, n side, 3).

    Raises:
        ValueError: There is not one word a picture.
    """
    from PIL import Image, ImageDraw

    if len(pictures) != len(words) or not pictures:
        raise ValueError(f"{len(pictures)} pictures and {len(words)} words")
    side = cell_px(pictures)
    sheet = Image.new("RGB", (side * len(pictures), side + CAPTION_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (picture, word) in enumerate(zip(pictures, words, strict=True)):
        draw.text((place * side + 2, 1), word, fill="black")
        image = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
        sheet.paste(image, (place * side, CAPTION_PX))
    return np.asarray(sheet, dtype=np.uint8)


def log_pictures(
    loggers: Iterable[Any],
    key: str,
    pictures: Sequence[Picture] | Callable[[], Sequence[Picture]],
    captions: Sequence[str],
    step: int,
) -> None:
    """Show pictures in W&B and TensorBoard; with neither, write them beside the CSV log.

    Only the first rank does anything; on the others not even the pictures are made.

    Args:
        loggers: The trainer's loggers.
        key: For instance "val/panel".
        pictures: uint8 (height, width, 3) each, or a function that makes them.
        captions: One a picture.
        step: Optimiser step, or pictures done.

    Raises:
        ValueError: More than 108 pictures, which W&B would cut, or not one caption each.
    """
    from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
    from lightning.pytorch.utilities import rank_zero_only

    if getattr(rank_zero_only, "rank", 0) != 0:
        return
    loggers = list(loggers)
    made = list(pictures() if callable(pictures) else pictures)
    if len(made) != len(captions) or len(made) > MAX_PICTURES:
        raise ValueError(f"{len(made)} pictures with {len(captions)} captions for {key}; at most {MAX_PICTURES}")
    shown = False
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            images = [thumbnail(picture, max(picture.shape)) for picture in made]
            kinds = ["jpg"] * len(images)
            logger.log_image(key, images, step, caption=list(captions), file_type=kinds)
            shown = True
        elif isinstance(logger, TensorBoardLogger):
            board: Any = logger.experiment
            for place, picture in enumerate(made):
                board.add_image(f"{key}/{place:02d}", picture, step, dataformats="HWC")
            board.add_text(f"{key}/captions", "\n\n".join(f"{n:02d}: {c}" for n, c in enumerate(captions)), step)
            shown = True
    folder = next((logger.log_dir for logger in loggers if getattr(logger, "log_dir", None) is not None), None)
    if not shown and folder is not None:
        write_pictures(Path(folder) / "pictures", key, made, captions, step)


def write_pictures(folder: Path, key: str, pictures: Sequence[Picture], captions: Sequence[str], step: int) -> None:
    """Write pictures as PNG files, and their captions as lines of ``captions.jsonl``.

    Args:
        folder: Where; made if needed.
        key: The first part of the file names, its slashes turned into underscores.
        pictures: uint8 (height, width, 3) each.
        captions: One a picture.
        step: The second part of the file names.
    """
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "captions.jsonl").open("a", encoding="utf-8") as lines:
        for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
            name = f"{key.replace('/', '_')}_{step:06d}_{place:02d}.png"
            Image.fromarray(picture).save(folder / name)
            lines.write(json.dumps({"file": name, "key": key, "step": step, "caption": caption}) + "\n")
