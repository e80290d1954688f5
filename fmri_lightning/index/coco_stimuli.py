"""NSD's pictures cut from a folder of COCO photographs by NSD's own catalogue.

The catalogue is nsd_stim_info_merged.csv: ``cocoSplit`` and ``cocoId`` name the photograph, ``cropBox`` the shares
(top, bottom, left, right) of its height and width that NSD cut off. What is left is square.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.delimited import read_columns
from fmri_lightning.index.folder_stimuli import read_rgb
from fmri_lightning.index.nsd import STIM_INFO
from fmri_lightning.index.stimulus_source import require_known
from fmri_lightning.manifest import content_hash

COCO = "nsddata_stimuli/stimuli/coco"
COCO_SPLITS = ("train2017", "val2017")
NSD_SIZE_PX = 425
RESAMPLING = "BICUBIC"
"""Pillow's cubic filter, which widens as it shrinks and so antialiases.

NSD does not say which filter it used. Most crops are 425 to 480 pixels wide: at that ratio bilinear, bicubic and
Lanczos differ by about one grey level in the mean; cubic loses less detail than bilinear and rings less than Lanczos.
"""


@dataclass(frozen=True)
class CropTable:
    """Which part of which photograph each nsd_id is.

    Attributes:
        names: ``train2017/000000000123.jpg``, by nsd_id.
        boxes: Shares cut from top, bottom, left and right, 0 to below 1, float64 (n, 4).
    """

    names: list[str]
    boxes: NDArray[np.float64]


def read_crop_table(path: Path) -> CropTable:
    """Read the columns nsdId, cocoSplit, cocoId and cropBox of nsd_stim_info_merged.csv.

    Args:
        path: The catalogue.

    Returns:
        Names and crops, a row per nsd_id.

    Raises:
        BadInputError: If the file is missing or damaged, nsdId is not the row number, or a crop is no crop.
    """
    columns = read_columns(path, ("nsdId", "cocoSplit", "cocoId", "cropBox"), ",", "the NSD download")
    names, boxes = [], []
    rows = zip(columns["nsdId"], columns["cocoSplit"], columns["cocoId"], columns["cropBox"], strict=True)
    for row, (nsd_id, split, coco_id, box) in enumerate(rows):
        if nsd_id.strip() != str(row):
            raise BadInputError(f"{path}: line {row + 2} has nsdId {nsd_id!r}, expected {row}; it is not NSD's file")
        if split not in COCO_SPLITS or not (coco_id.isascii() and coco_id.isdigit()):
            raise BadInputError(
                f"{path}: nsdId {row} is cocoSplit {split!r}, cocoId {coco_id!r}; expected "
                f"{' or '.join(COCO_SPLITS)} and a whole number"
            )
        names.append(f"{split}/{int(coco_id):012d}.jpg")
        boxes.append(_parse_box(box, path, row))
    return CropTable(names, np.array(boxes, dtype=np.float64))


def _parse_box(text: str, path: Path, row: int) -> tuple[float, ...]:
    inner = text.strip()
    try:
        shares = tuple(float(part) for part in inner[1:-1].split(","))
    except ValueError:
        shares = ()
    bracketed = inner.startswith("(") and inner.endswith(")")
    in_range = len(shares) == 4 and all(0 <= share < 1 for share in shares)
    if not bracketed or not in_range or shares[0] + shares[1] >= 1 or shares[2] + shares[3] >= 1:
        raise BadInputError(
            f"{path}: cropBox of nsdId {row} is {text!r}, expected (top, bottom, left, right), four shares from 0 to "
            "below 1 that leave something"
        )
    return shares


class CocoStimuli:
    """COCO photographs, cropped and resized as the catalogue says.

    A part of COCO will do: a photograph is looked for when it is read.

    Args:
        root: Folder that contains ``nsddata/`` with the catalogue, and
            ``nsddata_stimuli/stimuli/coco/{train2017,val2017}`` with the photographs.
        size_px: Side of the pictures, in pixels; NSD's are 425.

    Raises:
        BadInputError: If the catalogue is missing or damaged, or no folder of photographs is there.
    """

    def __init__(self, root: Path, size_px: int = NSD_SIZE_PX) -> None:
        self.folder = root / COCO
        self.size_px = size_px
        if not any((self.folder / split).is_dir() for split in COCO_SPLITS):
            raise BadInputError(f"{self.folder} has no folder {' or '.join(COCO_SPLITS)} of COCO photographs")
        self.table = read_crop_table(root / STIM_INFO)

    @property
    def ids(self) -> NDArray[np.int32]:
        """0-based ids of all pictures of the catalogue, (n,), whether their photographs are there or not."""
        return np.arange(len(self.table.names), dtype=np.int32)

    def read(self, ids: ArrayLike) -> NDArray[np.uint8]:
        """Read pictures by id.

        Args:
            ids: 0-based nsd_ids in any order, repeats allowed, (n,).

        Returns:
            uint8 (n, size_px, size_px, 3), in the order of ``ids``.

        Raises:
            BadInputError: If an id is not in the catalogue, a photograph is missing or damaged, or the catalogue
                cuts no square from it.
        """
        unique, inverse = np.unique(np.asarray(ids, dtype=np.int64), return_inverse=True)
        require_known(unique, self.ids, self.folder)
        pictures = np.empty((len(unique), self.size_px, self.size_px, 3), dtype=np.uint8)
        for place, nsd_id in enumerate(unique.tolist()):
            pictures[place] = self._read_one(nsd_id)
        return pictures[inverse]

    def _read_one(self, nsd_id: int) -> NDArray[np.uint8]:
        from PIL import Image

        path = self.folder / self.table.names[nsd_id]
        if not path.is_file():
            raise BadInputError(f"{path} (nsd_id {nsd_id}) {self._absence(path)}")
        photograph = read_rgb(path)
        square = crop(photograph, self.table.boxes[nsd_id])
        height, width = square.shape[:2]
        # Height and width are rounded apart from each other, so that a square may come out one pixel off.
        if abs(height - width) > 1 or min(height, width) < 1:
            raise BadInputError(
                f"{path} is {photograph.shape[1]} x {photograph.shape[0]} pixels; the cropBox of nsd_id {nsd_id}, "
                f"{tuple(self.table.boxes[nsd_id].tolist())}, leaves {width} x {height}, expected a square; it is not "
                "the photograph that COCO published"
            )
        size = (self.size_px, self.size_px)
        return np.asarray(Image.fromarray(square).resize(size, Image.Resampling[RESAMPLING]), dtype=np.uint8)

    def _absence(self, path: Path) -> str:
        if path.is_dir():
            return "is a folder, expected a JPEG file"
        missing = int((photograph_sizes(self.folder, self.table.names) < 0).sum())
        return (
            f"is missing, one of {missing} missing among the {len(self.table.names)} pictures of the catalogue; "
            "download COCO 2017 train and val images, or ask for fewer pictures"
        )

    def identity(self) -> str:
        """Hash what decides the pictures: names, crops and size, and the length of every photograph that is there.

        Photographs that are added later change it. One look at the folder per photograph: a second for all of NSD
        on a local disk, a minute or more on a slow network file system.

        Returns:
            A short text.
        """
        lengths = photograph_sizes(self.folder, self.table.names)
        names = "\n".join(self.table.names)
        return f"coco:{content_hash(names, self.table.boxes, lengths, f'{self.size_px} {RESAMPLING}')}"


def crop(photograph: NDArray[np.uint8], box: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Cut a share from each side; a cut is rounded to whole pixels, half a pixel to the even number.

    Args:
        photograph: (height, width, 3).
        box: Shares of top, bottom, left and right, (4,).

    Returns:
        A view, (height', width', 3).

    Example:
        >>> crop(np.zeros((480, 640, 3), np.uint8), np.array([0, 0, 0.1671875, 0.0828125])).shape
        (480, 480, 3)
    """
    height, width = photograph.shape[:2]
    top, bottom, left, right = cuts_px(box, height, width)
    return photograph[top : height - bottom, left : width - right]


def cuts_px(box: NDArray[np.floating], height: int, width: int) -> tuple[int, int, int, int]:
    """Say how many rows and columns a crop takes off; half a pixel is rounded to the even number.

    Args:
        box: Shares of top, bottom, left and right, 0 to below 1, (4,).
        height: Of the photograph, in pixels.
        width: Of the photograph, in pixels.

    Returns:
        Pixels off top, bottom, left and right.
    """
    # 0.29 * 100 is 28.999999999999996: truncation would leave a column too many.
    top, bottom, left, right = np.round(box * np.array([height, height, width, width])).astype(int).tolist()
    return top, bottom, left, right


def photograph_sizes(folder: Path, names: list[str]) -> NDArray[np.int64]:
    """Look up which photographs are there.

    Args:
        folder: Holds ``train2017`` and ``val2017``, or one of them.
        names: For instance ``val2017/000000000123.jpg``, (n,).

    Returns:
        Bytes of each file, -1 where there is none, (n,).
    """
    wanted, sizes = set(names), dict[str, int]()
    # Listing a folder is cheaper than asking for tens of thousands of names one by one.
    for split in COCO_SPLITS:
        if (folder / split).is_dir():
            with os.scandir(folder / split) as entries:
                here = [(f"{split}/{entry.name}", entry) for entry in entries]
                sizes |= {name: entry.stat().st_size for name, entry in here if name in wanted and entry.is_file()}
    return np.array([sizes.get(name, -1) for name in names], dtype=np.int64)
