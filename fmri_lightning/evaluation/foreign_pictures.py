"""Picture files of any system: read as 8-bit RGB of one size, with a note of whatever had to be done for that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.pictures import PictureFiles
from fmri_lightning.manifest import content_hash

BACKGROUND = (255, 255, 255)
"""What transparent pictures are laid on."""
Pixels = NDArray[np.uint8]


@dataclass
class Inspection:
    """What reading every file of a folder once found.

    Attributes:
        size_px: (width, height) of most pictures.
        other_sizes: Files of another size, and which.
        transparent: Files with transparent pixels.
        constant: Files of one colour.
        unreadable: Files that are no pictures, and why.
        digests: Readable file to the hash of its pixels, at its own size.
    """

    size_px: tuple[int, int] = (0, 0)
    other_sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    transparent: list[str] = field(default_factory=list)
    constant: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    def digest(self, paths: Sequence[Path]) -> str:
        """Hash over the pixels of some readable files, in their order."""
        return content_hash(*(self.digests[path.name] for path in paths))


@dataclass(frozen=True)
class ForeignPictures(PictureFiles):
    """Readable files of a folder, brought to one size.

    Attributes:
        paths: One file an item.
        size_px: (width, height) that odd ones are resized to, by Pillow's bicubic filter.
    """

    size_px: tuple[int, int]

    def read(self, start: int, stop: int) -> Pixels:
        """Read files start to stop.

        Args:
            start: First position.
            stop: One past the last.

        Returns:
            uint8 (stop - start, height, width, 3).

        Raises:
            BadInputError: A file is no picture, which :func:`inspect` would have told.
        """
        from PIL import Image

        pictures = []
        for path in self.paths[start:stop]:
            pixels, _ = read_any(path)
            if (pixels.shape[1], pixels.shape[0]) != self.size_px:
                resized = Image.fromarray(pixels).resize(self.size_px, Image.Resampling.BICUBIC)
                pixels = np.asarray(resized)
            pictures.append(pixels)
        return np.stack(pictures)


def inspect(paths: Sequence[Path]) -> Inspection:
    """Read every file once and note what a reader of the scores must know.

    Args:
        paths: The files.

    Returns:
        What was found.
    """
    found = Inspection()
    sizes: dict[str, tuple[int, int]] = {}
    for path in paths:
        try:
            pixels, transparent = read_any(path)
        except BadInputError as error:
            found.unreadable[path.name] = str(error)
            continue
        sizes[path.name] = (pixels.shape[1], pixels.shape[0])
        found.digests[path.name] = content_hash(pixels)
        if transparent:
            found.transparent.append(path.name)
        if (pixels == pixels[0, 0]).all():
            found.constant.append(path.name)
    if sizes:
        # The commonest size, and of two equally common ones the larger.
        found.size_px = max(Counter(sizes.values()).items(), key=lambda entry: (entry[1], entry[0]))[0]
    found.other_sizes = {name: size for name, size in sizes.items() if size != found.size_px}
    return found


def read_any(path: Path) -> tuple[Pixels, bool]:
    """Read a picture file of any mode.

    Grey pictures and palettes become RGB, CMYK by Pillow's plain formula; an orientation or a colour profile in the
    metadata is not applied. Of 16 bits, grey ones are divided by 257 and rounded; of colours Pillow keeps the upper 8.

    Args:
        path: A file that Pillow reads.

    Returns:
        uint8 (height, width, 3) and whether some of it was transparent; such pictures are laid on white.

    Raises:
        BadInputError: It is no picture, damaged, or holds numbers without a known range.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            if image.mode.startswith("I"):
                return _from_16_bit(image), False
            if image.mode == "F":
                raise ValueError("floating-point values, whose range is not known; save it with 8 bits")
            if "A" in image.getbands() or "transparency" in image.info:
                return _on_background(image.convert("RGBA"))
            return np.asarray(image.convert("RGB"), dtype=np.uint8), False
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadInputError(f"{path} cannot be read as a picture ({error})") from error


def _from_16_bit(image: Any) -> Pixels:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"whole numbers {values.min()}..{values.max()}, whose range is not known; save it with 8 bits")
    grey = ((values + 128) // 257).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _on_background(image: Any) -> tuple[Pixels, bool]:
    from PIL import Image

    if image.getextrema()[-1][0] == 255:
        return np.asarray(image.convert("RGB"), dtype=np.uint8), False
    paper = Image.new("RGBA", image.size, (*BACKGROUND, 255))
    return np.asarray(Image.alpha_composite(paper, image).convert("RGB"), dtype=np.uint8), True
