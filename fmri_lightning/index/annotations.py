"""What the stimuli of an index show: sentences of people, and objects in what was left of each photograph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.coco_annotations import CAPTIONS, INSTANCES, CocoFile, annotation_file, read_coco_file
from fmri_lightning.index.coco_stimuli import COCO_SPLITS, NSD_SIZE_PX, CocoStimuli, CropTable, cuts_px, read_crop_table
from fmri_lightning.index.nsd import STIM_INFO
from fmri_lightning.index.shown_objects import ShownBox, Window, shown_box

ANNOTATIONS = "nsddata_stimuli/stimuli/nsd/annotations"
"""Where a data root may hold COCO's annotation files."""


@dataclass(frozen=True)
class ShownObject:
    """One object of a stimulus.

    Attributes:
        category: COCO's name.
        supercategory: COCO's name of its group.
        box: Where it is in the shown square.
        is_crowd: Whether the box is around a group.
    """

    category: str
    supercategory: str
    box: ShownBox
    is_crowd: bool


@dataclass(frozen=True)
class Annotations:
    """What stimuli show, in the order of their ids.

    Attributes:
        nsd_ids: Ascending, (n,) int32.
        captions: Sentences of each stimulus; None where no file of captions was read.
        objects: Objects of each stimulus, those that were cut off left out; None where no file of instances was read.
    """

    nsd_ids: NDArray[np.int32]
    captions: list[list[str]] | None
    objects: list[list[ShownObject]] | None

    def captions_of(self) -> dict[int, list[str]]:
        """Return nsd_id to sentences; empty where none were read."""
        return {} if self.captions is None else dict(zip(self.nsd_ids.tolist(), self.captions, strict=True))

    def objects_of(self) -> dict[int, list[ShownObject]]:
        """Return nsd_id to objects; empty where none were read."""
        return {} if self.objects is None else dict(zip(self.nsd_ids.tolist(), self.objects, strict=True))


def read_coco(root: Path, folder: Path, nsd_ids: NDArray[np.integer]) -> tuple[Annotations, dict[str, str], int]:
    """Read COCO's annotation files for some stimuli; each is looked up in the files of its own split.

    Args:
        root: Data root with the catalogue, whose crops are applied, and the stimuli, whose size the boxes take.
        folder: Holds captions_{train,val}2017.json, instances_{train,val}2017.json, or both kinds.
        nsd_ids: 0-based stimuli, (n,).

    Returns:
        What the stimuli show, a SHA-256 per file that was read, and the side of the stimuli in pixels.

    Raises:
        BadInputError: If neither kind of file is there, one is damaged or of another split, the catalogue is missing,
            or a crop leaves no square of a photograph.
    """
    ids = np.unique(nsd_ids).astype(np.int32)
    table = read_crop_table(root / STIM_INFO)
    if len(ids) and ids[-1] >= len(table.names):
        raise BadInputError(f"{root / STIM_INFO} has {len(table.names)} pictures, the index names nsd_id {ids[-1]}")
    photographs = {nsd_id: _photograph(table.names[nsd_id]) for nsd_id in ids.tolist()}
    wanted = {split: {coco for own, coco in photographs.values() if own == split} for split in COCO_SPLITS}
    kinds = [
        kind
        for kind in (CAPTIONS, INSTANCES)
        if any(annotation_file(folder, kind, split).is_file() for split in COCO_SPLITS)
    ]
    if not kinds:
        raise BadInputError(
            f"{folder} holds neither captions_train2017.json and captions_val2017.json nor instances_train2017.json "
            "and instances_val2017.json; unpack annotations_trainval2017.zip of COCO there"
        )
    size_px = stimulus_size(root)
    captions: list[list[str]] | None = None
    objects: list[list[ShownObject]] | None = None
    inputs: dict[str, str] = {}
    for kind in kinds:
        files = {
            split: read_coco_file(annotation_file(folder, kind, split), kind, cocos)
            for split, cocos in wanted.items()
            if cocos
        }
        inputs |= {file.path.name: file.sha256 for file in files.values()}
        if kind == CAPTIONS:
            captions = [files[split].captions.get(coco, []) for split, coco in photographs.values()]
        else:
            objects = [
                _objects(files[split], coco, nsd_id, table, size_px) for nsd_id, (split, coco) in photographs.items()
            ]
    return Annotations(ids, captions, objects), inputs, size_px


def _photograph(name: str) -> tuple[str, int]:
    split, _, file = name.partition("/")
    return split, int(file.removesuffix(".jpg"))


def _objects(file: CocoFile, coco: int, nsd_id: int, table: CropTable, size_px: int) -> list[ShownObject]:
    window = _window(file, coco, nsd_id, table, size_px)
    found = []
    for one in file.objects.get(coco, []):
        box = shown_box(one.bbox, window)
        if box is not None:
            found.append(ShownObject(*file.categories[one.category_id], box, one.is_crowd))
    return found


def _window(file: CocoFile, coco: int, nsd_id: int, table: CropTable, size_px: int) -> Window:
    height, width = file.sizes[coco]
    top, bottom, left, right = cuts_px(table.boxes[nsd_id], height, width)
    rows, columns = height - top - bottom, width - left - right
    # As for the pictures themselves: height and width are rounded apart from each other.
    if abs(rows - columns) > 1 or min(rows, columns) < 1:
        raise BadInputError(
            f"{file.path}: image {coco} is {width} x {height} pixels; the cropBox of nsd_id {nsd_id} leaves "
            f"{columns} x {rows}, expected a square; it is not the file that COCO published, or of the other split"
        )
    return Window(top, left, rows, columns, size_px)


def stimulus_size(root: Path) -> int:
    """Return the side of a root's pictures in pixels; 425, NSD's own, where it holds no pictures.

    Args:
        root: Data root.

    Raises:
        BadInputError: If the pictures are there and cannot be read.
    """
    from fmri_lightning.index.stimuli import holds_stimuli, open_stimuli

    if not holds_stimuli(root):
        return NSD_SIZE_PX
    source = open_stimuli(root)
    # The first photograph of the catalogue need not be there.
    return source.size_px if isinstance(source, CocoStimuli) else int(source.read(source.ids[:1]).shape[1])


def read_curated(path: Path, nsd_ids: NDArray[np.integer], n_catalogue: int) -> Annotations:
    """Read captions from an array such as COCO_73k_annots_curated.npy.

    Args:
        path: Text of fixed width, (n_catalogue, 5); the row is the nsd_id, an empty entry is no caption.
        nsd_ids: 0-based stimuli, (n,).
        n_catalogue: Pictures in the catalogue of the data, 73,000 for NSD.

    Returns:
        What the stimuli show; objects are not known.

    Raises:
        BadInputError: If the file is missing, no such array, or of another catalogue.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInputError(f"{path} cannot be read as an array: {error}") from error
    if array.dtype.kind != "U" or array.shape != (n_catalogue, 5):
        raise BadInputError(
            f"{path} is {array.dtype} {array.shape}, expected text ({n_catalogue}, 5), a row for each picture of the "
            "catalogue; it belongs to other data"
        )
    ids = np.unique(nsd_ids).astype(np.int32)
    captions = [[text.strip() for text in array[nsd_id].tolist() if text.strip()] for nsd_id in ids.tolist()]
    return Annotations(ids, captions, None)
