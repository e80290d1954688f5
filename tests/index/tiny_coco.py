"""A tiny COCO folder and the nsd_stimuli.hdf5 that NSD would have cut from it, each made without the package.

Crops are cut here by whole pixels that are written down, and resized by torch; the catalogue holds shares.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from PIL import Image

SIZE_PX = 425


@dataclass(frozen=True)
class Photo:
    split: str
    coco_id: int
    width: int
    height: int
    cuts_px: tuple[int, int, int, int]  # top, bottom, left, right
    shares: tuple[float, float, float, float]
    grey: bool = False


PHOTOS = [
    Photo("train2017", 532481, 640, 480, (0, 0, 107, 53), (0, 0, 0.1671875, 0.0828125)),
    Photo("val2017", 532481, 480, 640, (40, 120, 0, 0), (0.0625, 0.1875, 0, 0)),  # the same number in the other split
    # Shares that fall short of a pixel or overshoot it: 147.97, 107.52 and 52.48, 130.94, 29.06.
    Photo("val2017", 9, 640, 480, (0, 0, 12, 148), (0, 0, 0.01886, 0.2312)),
    Photo("train2017", 77, 640, 480, (0, 0, 108, 52), (0, 0, 0.1680, 0.0820)),
    Photo("train2017", 581921, 480, 640, (131, 29, 0, 0), (0.2046, 0.0454, 0, 0)),
    # Cut on all sides, and one whole photograph.
    Photo("train2017", 1000, 640, 480, (15, 25, 30, 170), (15 / 480, 25 / 480, 30 / 640, 170 / 640)),
    Photo("val2017", 285, 612, 612, (0, 0, 0, 0), (0, 0, 0, 0), grey=True),
]


def write_catalogue(root: Path, rows: list[tuple[object, object, object, object]]) -> None:
    """Write the columns that say which photograph is cropped how: nsdId, cocoSplit, cocoId, cropBox."""
    path = root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["", "cocoId", "cocoSplit", "cropBox", "loss", "nsdId"])
        for nsd_id, split, coco_id, box in rows:
            table.writerow([nsd_id, coco_id, split, box, 0.1, nsd_id])


def write_coco(root: Path) -> None:
    """Write photographs and catalogue."""
    write_catalogue(root, [(i, photo.split, photo.coco_id, photo.shares) for i, photo in enumerate(PHOTOS)])
    for number, photo in enumerate(PHOTOS):
        path = root / "nsddata_stimuli/stimuli/coco" / photo.split / f"{photo.coco_id:012d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(canvas(photo, number))
        (image.convert("L") if photo.grey else image).save(path, quality=100, subsampling=0)


def write_nsd_stimuli(root: Path) -> None:
    """Write what the subjects would have seen."""
    bricks = []
    for number, photo in enumerate(PHOTOS):
        top, bottom, left, right = photo.cuts_px
        inside = canvas(photo, number)[top : photo.height - bottom, left : photo.width - right]
        assert inside.shape[0] == inside.shape[1]
        planes = torch.from_numpy(inside.astype(np.float32)).permute(2, 0, 1)[None]
        small = torch.nn.functional.interpolate(planes, (SIZE_PX, SIZE_PX), mode="bicubic", antialias=True)[0]
        bricks.append(small.permute(1, 2, 0).round().clamp(0, 255).byte().numpy())
    path = root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as handle:
        handle["imgBrick"] = np.stack(bricks)


def canvas(photo: Photo, number: int) -> np.ndarray:
    """Waves of 24 to 60 pixels where the crop is, saturated green around it: one pixel of it inside shows."""
    y, x = np.mgrid[: photo.height, : photo.width].astype(float)
    waves = [
        np.sin(2 * np.pi * (x / (24 + 6 * number) + phase)) + np.sin(2 * np.pi * y / 60) for phase in (0, 0.2, 0.5)
    ]
    picture = np.stack([128 + 45 * wave for wave in waves], axis=-1)
    if photo.grey:
        picture[:] = picture[..., :1]
    outside = np.ones((photo.height, photo.width), dtype=bool)
    top, bottom, left, right = photo.cuts_px
    outside[top : photo.height - bottom, left : photo.width - right] = False
    picture[outside] = (0, 255, 0)
    return np.round(picture).astype(np.uint8)
