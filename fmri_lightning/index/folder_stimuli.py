"""A folder of pictures, by nsd_id in their names or by their order."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.stimulus_source import require_known

OWN_STIMULI = "stimuli"
"""Folder of the pictures below a data root of one's own (``--source arrays``)."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_NSD_NAME = re.compile(r"nsd[-_]?0*(\d+)")


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read a picture file as it is stored; an orientation noted in its metadata is not applied.

    Args:
        path: A file that Pillow reads, of any colour mode.

    Returns:
        uint8 (height, width, 3), RGB.

    Raises:
        BadInputError: If it is missing, no picture, damaged or cut off.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadInputError(f"{path} cannot be read as a picture: {error}") from error


class FolderStimuli:
    """A folder of pictures of one size.

    Args:
        folder: Searched recursively for PNG, JPEG, BMP and WebP files.

    Raises:
        BadInputError: If it holds no pictures, or two files claim one id.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise BadInputError(f"no folder {folder}; give --images a folder of pictures")
        self.folder = folder
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        if not files:
            raise BadInputError(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")
        named = [_NSD_NAME.match(path.stem) for path in files]
        if any(named) and not all(named):
            odd = files[named.index(None)]
            raise BadInputError(f"{folder}: some names carry an nsd id and {odd.name} does not; name all or none")
        ids = [int(match.group(1)) if match else i for i, match in enumerate(named)]
        self._files: dict[int, Path] = dict(zip(ids, files, strict=True))
        if len(self._files) != len(files):
            twice = next(i for i in ids if ids.count(i) > 1)
            raise BadInputError(f"{folder}: {ids.count(twice)} files claim nsd id {twice}")

    @property
    def ids(self) -> NDArray[np.int32]:
        """Ids of all pictures, ascending, (n,)."""
        return np.array(sorted(self._files), dtype=np.int32)

    @property
    def id_of_name(self) -> dict[str, int]:
        """Id of each file, by its path below the folder, suffix included, with forward slashes."""
        return {path.relative_to(self.folder).as_posix(): i for i, path in self._files.items()}

    def read(self, ids: ArrayLike) -> NDArray[np.uint8]:
        """Read pictures by id.

        Args:
            ids: Ids in any order, repeats allowed, (n,).

        Returns:
            uint8 (n, height, width, 3), in the order of ``ids``.

        Raises:
            BadInputError: If an id is unknown, a file is damaged, or sizes differ within the request.
        """
        wanted = np.asarray(ids, dtype=np.int64).ravel()
        require_known(wanted, self.ids, self.folder)
        pictures: list[NDArray[np.uint8]] = []
        for i in wanted.tolist():
            pictures.append(read_rgb(self._files[i]))
            if pictures[-1].shape != pictures[0].shape:
                raise BadInputError(
                    f"{self._files[i]} is {pictures[-1].shape[:2]} pixels, others are {pictures[0].shape[:2]}; "
                    "bring all pictures to one size"
                )
        return np.stack(pictures) if pictures else np.zeros((0, 0, 0, 3), dtype=np.uint8)
