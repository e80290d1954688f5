"""Sets of pictures in the order of a run's items, read a few at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.stimuli import StimulusSource
from fmri_lightning.manifest import content_hash

MIN_STD = 2.0
"""A picture that varies less than this (0..255) shows nothing; predict lists such pictures as failures."""


class PictureSet(Protocol):
    """Pictures that are read by position."""

    def __len__(self) -> int:
        """Number of pictures."""

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Pictures start to stop, uint8 (stop - start, height, width, 3), all of one size."""

    def name(self, position: int) -> str:
        """What to call a picture in a message."""


@dataclass(frozen=True)
class PictureFiles:
    """Pictures in files.

    Attributes:
        paths: One file an item.
    """

    paths: Sequence[Path]

    def __len__(self) -> int:
        """Number of files."""
        return len(self.paths)

    def name(self, position: int) -> str:
        """Path of one file."""
        return str(self.paths[position])

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Read files as RGB.

        Args:
            start: First position.
            stop: One past the last.

        Returns:
            uint8 (stop - start, height, width, 3).

        Raises:
            BadInputError: A file is unreadable, has an alpha channel, or another size than its neighbours.
        """
        pictures = [_read_rgb(path) for path in self.paths[start:stop]]
        for path, picture in zip(self.paths[start:stop], pictures, strict=True):
            if picture.shape != pictures[0].shape:
                raise BadInputError(
                    f"{path} is {picture.shape[1]} x {picture.shape[0]} px, others {pictures[0].shape[1]} x "
                    f"{pictures[0].shape[0]}; bring all pictures of a folder to one size"
                )
        return np.stack(pictures)


def _read_rgb(path: Path) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if "A" in image.getbands() and image.getextrema()[-1] != (255, 255):
                raise BadInputError(f"{path} is partly transparent; flatten it, for what lies behind decides its score")
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except FileNotFoundError as error:
        raise BadInputError(f"{path} is missing; run the same predict command again") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadInputError(f"{path} cannot be read as a picture ({error}); draw it again") from error


@dataclass(frozen=True)
class StimulusPictures:
    """Pictures of a stimulus source, in the order of some ids.

    Attributes:
        source: Where they come from.
        ids: nsd_id of each item (n,).
    """

    source: StimulusSource
    ids: NDArray[np.int32]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.ids)

    def name(self, position: int) -> str:
        """Id of one stimulus."""
        return f"stimulus nsd{self.ids[position]}"

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Read stimuli start to stop, uint8 (stop - start, height, width, 3)."""
        return self.source.read(self.ids[start:stop])


def check_pictures(pictures: PictureSet, what: str, chunk: int = 64) -> str:
    """Read every picture once: refuse what cannot be scored, and hash the rest.

    Args:
        pictures: The set.
        what: What they are, for the message.
        chunk: Pictures in memory at a time.

    Returns:
        Hash over all pixels in order.

    Raises:
        BadInputError: A picture is unreadable or constant; constant ones are all named.
    """
    digests, constant = [], []
    for start in range(0, len(pictures), chunk):
        block = pictures.read(start, min(start + chunk, len(pictures)))
        digests.append(content_hash(block))
        spread = block.reshape(len(block), -1).std(axis=1, dtype=np.float64)
        constant += [pictures.name(start + int(i)) for i in np.flatnonzero(spread < MIN_STD)]
    if constant:
        more = f" and {len(constant) - 5} more" if len(constant) > 5 else ""
        raise BadInputError(
            f"{len(constant)} of {len(pictures)} {what} show one flat colour ({', '.join(constant[:5])}{more}); "
            "no correlation is defined for them: draw them again or leave them out"
        )
    return content_hash(*digests)
