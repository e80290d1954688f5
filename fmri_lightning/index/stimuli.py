"""The pictures themselves: NSD's stimulus file, or a folder of pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.manifest import content_hash, file_fingerprint

STIMULI = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_NSD_NAME = re.compile(r"nsd[-_]?0*(\d+)")


class StimulusSource(Protocol):
    """Pictures addressed by nsd_id."""

    @property
    def ids(self) -> NDArray[np.int32]:
        """0-based ids of all pictures, ascending, (n,)."""

    def read(self, ids: ArrayLike) -> NDArray[np.uint8]:
        """Read pictures in the order asked for, repeats included: uint8 (n, height, width, 3), RGB."""


def open_stimuli(root: Path | str | None = None, images: Path | str | None = None) -> StimulusSource:
    """Open the pictures of an NSD tree or of a folder.

    Args:
        root: Folder that contains ``nsddata_stimuli/``.
        images: A folder of pictures. Ids come from names such as ``nsd00123.png``; where no file is named so,
            they are the position in the sorted list of names.

    Returns:
        The source.

    Raises:
        UsageError: If not exactly one of the two is given.
        BadInputError: If nothing readable is there.
    """
    if (root is None) == (images is None):
        raise UsageError("give the pictures by --root (an NSD tree) or by --images (a folder), one of the two")
    return NSDStimuli(Path(root)) if root is not None else FolderStimuli(Path(str(images)))


def stimuli_identity(root: Path | str | None = None, images: Path | str | None = None) -> str:
    """Tell a set of pictures from another: the same ids of another tree are other pictures.

    Args:
        root: NSD tree; identified by size, head and tail of its stimulus file.
        images: Folder of pictures; identified by names and sizes.

    Returns:
        A short text.
    """
    if root is not None:
        stimuli = file_fingerprint(Path(root) / STIMULI)
        return f"{stimuli['size']}:{stimuli['head_tail_sha256']}"
    assert images is not None
    folder = Path(images)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return content_hash("\n".join(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}" for path in files))


class NSDStimuli:
    """``imgBrick`` of nsd_stimuli.hdf5: uint8 (n, height, width, 3), the row number is the nsd_id.

    Args:
        root: Folder that contains ``nsddata_stimuli/``.

    Raises:
        BadInputError: If the file is missing, unreadable or of another shape.
    """

    def __init__(self, root: Path) -> None:
        import h5py

        self.path = root / STIMULI
        if not self.path.is_file():
            raise BadInputError(f"{self.path} is missing; it comes with the NSD download (nsddata_stimuli)")
        try:
            with h5py.File(self.path, "r") as handle:
                shape, dtype = handle["imgBrick"].shape, handle["imgBrick"].dtype
        except (OSError, KeyError) as error:
            raise BadInputError(f"{self.path} cannot be read ({error}); download it again") from error
        if len(shape) != 4 or shape[-1] != 3 or dtype != np.uint8:
            raise BadInputError(f"{self.path}: imgBrick is {dtype} {shape}, expected uint8 (n, height, width, 3)")
        self._n = int(shape[0])

    @property
    def ids(self) -> NDArray[np.int32]:
        """0-based ids of all pictures, (n,)."""
        return np.arange(self._n, dtype=np.int32)

    def read(self, ids: ArrayLike) -> NDArray[np.uint8]:
        """Read pictures by id.

        Args:
            ids: 0-based nsd_ids in any order, repeats allowed, (n,).

        Returns:
            uint8 (n, height, width, 3), in the order of ``ids``.

        Raises:
            BadInputError: If an id is not in the file, or the file is damaged.
        """
        import h5py

        # h5py wants strictly increasing positions.
        unique, inverse = np.unique(np.asarray(ids, dtype=np.int64), return_inverse=True)
        _require_known(unique, self.ids, self.path)
        try:
            with h5py.File(self.path, "r") as handle:
                pictures: NDArray[np.uint8] = handle["imgBrick"][unique]
        except OSError as error:
            raise BadInputError(f"{self.path} cannot be read ({error}); download it again") from error
        return pictures[inverse]


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

    def read(self, ids: ArrayLike) -> NDArray[np.uint8]:
        """Read pictures by id.

        Args:
            ids: Ids in any order, repeats allowed, (n,).

        Returns:
            uint8 (n, height, width, 3), in the order of ``ids``.

        Raises:
            BadInputError: If an id is unknown, a file is damaged, or sizes differ within the request.
        """
        from PIL import Image

        wanted = np.asarray(ids, dtype=np.int64).ravel()
        _require_known(wanted, self.ids, self.folder)
        pictures = []
        for i in wanted.tolist():
            try:
                with Image.open(self._files[i]) as image:
                    pictures.append(np.asarray(image.convert("RGB"), dtype=np.uint8))
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                raise BadInputError(f"{self._files[i]} cannot be read as a picture: {error}") from error
            if pictures[-1].shape != pictures[0].shape:
                raise BadInputError(
                    f"{self._files[i]} is {pictures[-1].shape[:2]} pixels, others are {pictures[0].shape[:2]}; "
                    "bring all pictures to one size"
                )
        return np.stack(pictures) if pictures else np.zeros((0, 0, 0, 3), dtype=np.uint8)


def _require_known(wanted: NDArray[np.int64], known: NDArray[np.int32], where: Path) -> None:
    unknown = np.setdiff1d(wanted, known)
    if len(unknown):
        raise BadInputError(f"{where} lacks {len(unknown)} of the pictures asked for, first {unknown[:5].tolist()}")
