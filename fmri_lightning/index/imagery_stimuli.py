"""Pictures of NSD-Imagery: three sets of six, each with the letter that cued it.

::

    nsddata/experiments/nsdimagery/{A,B,C}_pair_list.mat          picture and cue, six rows
    nsddata/experiments/nsdimagery/rawtargetimages/set{A,B,C}/    the pictures themselves
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.nsd import to_nsd_id
from fmri_lightning.index.prediction_only import SIDE_EXPERIMENTS
from fmri_lightning.index.stimulus_source import require_file, require_known
from fmri_lightning.manifest import content_hash, file_sha256

FOLDER = "nsddata/experiments/nsdimagery"
SETS = ("A", "B", "C")
PER_SET = 6
ORIGIN = "the NSD download (nsddata/experiments/nsdimagery)"
_OF_NSD = re.compile(r"shared(\d+)_nsd(\d+)")
_PICTURE = re.compile(r"\.(png|jpg|jpeg|bmp|tif|tiff)$", re.IGNORECASE)


@dataclass(frozen=True)
class ImageryStimulus:
    """One of the 18 pictures.

    Attributes:
        nsd_id: Our number: 100,000, plus 6 for set B or 12 for set C, plus its row in the list of pairs.
        set: "A", "B" or "C".
        cue: The letter that stands for it.
        file: Name of its file.
        shared: Number among NSD's shared pictures, counted from 1; 0 where its name tells none.
        in_nsd: 0-based nsd_id of the same picture in NSD proper; None where its name tells none.
    """

    nsd_id: int
    set: str
    cue: str
    file: str
    shared: int
    in_nsd: int | None


def read_imagery_stimuli(root: Path) -> list[ImageryStimulus]:
    """Read the lists of pictures and cues.

    Args:
        root: Folder that contains ``nsddata/``.

    Returns:
        18 pictures in the order of their ids.

    Raises:
        BadInputError: If a list is missing, damaged, or not of six pictures with a letter each.
    """
    first = SIDE_EXPERIMENTS["nsd_imagery"].first_id
    found = []
    for number, name in enumerate(SETS):
        for row, (file, cue) in enumerate(_read_pairs(root / FOLDER / f"{name}_pair_list.mat")):
            match = _OF_NSD.search(file)
            shared, of_nsd = (int(match.group(1)), int(match.group(2))) if match else (0, 0)
            in_nsd = int(to_nsd_id(of_nsd)) if of_nsd > 0 else None
            found.append(ImageryStimulus(first + PER_SET * number + row, name, cue, file, shared, in_nsd))
    return found


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    from scipy.io import loadmat

    require_file(path, ORIGIN)
    try:
        cells: NDArray[Any] = np.atleast_2d(loadmat(path)["pair_list"])
        rows = [[str(np.ravel(cell)[0]).strip() for cell in row] for row in cells]
    except Exception as error:  # a damaged .mat file raises almost anything, zlib.error among it
        raise BadInputError(f"{path} cannot be read as a list of pairs ({error!r}); download it again") from error
    pairs = []
    for row in rows:
        files = [text for text in row if _PICTURE.search(text)]
        cues = [text for text in row if len(text) == 1 and text.isalpha()]
        if len(files) != 1 or len(cues) != 1:
            raise BadInputError(f"{path}: the row {row} is not one file of a picture and one letter")
        pairs.append((files[0], cues[0]))
    if len(pairs) != PER_SET or len({cue for _, cue in pairs}) != PER_SET:
        raise BadInputError(f"{path} pairs {len(pairs)} pictures with letters, expected {PER_SET} different ones")
    return pairs


class ImageryStimuli:
    """The pictures that are there, cut to their central square and brought to the size of the smallest.

    Args:
        root: Folder that contains ``nsddata/``.

    Raises:
        BadInputError: If the lists of pairs are missing or damaged, or none of the pictures is there.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER / "rawtargetimages"
        places = {one.nsd_id: self.folder / f"set{one.set}" / one.file for one in read_imagery_stimuli(root)}
        self._paths = {nsd_id: path for nsd_id, path in places.items() if path.is_file()}
        if not self._paths:
            raise BadInputError(f"no picture of NSD-Imagery in {self.folder}/set*; it comes with {ORIGIN}")

    @property
    def ids(self) -> NDArray[np.int32]:
        """Ids of the pictures that are there, ascending, (n,)."""
        return np.array(sorted(self._paths), dtype=np.int32)

    def read(self, ids: ArrayLike) -> NDArray[np.uint8]:
        """Read pictures by id.

        Args:
            ids: In any order, repeats allowed, (n,).

        Returns:
            uint8 (n, side, side, 3), in the order of ``ids``.

        Raises:
            BadInputError: If an id is not there, or a picture cannot be read.
        """
        wanted = np.asarray(ids, dtype=np.int64)
        require_known(np.unique(wanted), self.ids, self.folder)
        return np.stack([self._pictures[int(i)] for i in wanted.tolist()])

    def identity(self) -> str:
        """Tell these pictures from others, by the whole of their files."""
        return "nsd_imagery:" + content_hash(*(f"{i} {file_sha256(path)}" for i, path in sorted(self._paths.items())))

    @cached_property
    def _pictures(self) -> dict[int, NDArray[np.uint8]]:
        from PIL import Image

        squares = {nsd_id: _square(path) for nsd_id, path in self._paths.items()}
        side = min(picture.width for picture in squares.values())
        how = Image.Resampling.LANCZOS
        return {
            nsd_id: np.asarray(picture if picture.width == side else picture.resize((side, side), how))
            for nsd_id, picture in squares.items()
        }


def _square(path: Path) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise BadInputError(f"{path} is not a readable picture ({error}); download it again") from error
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))
