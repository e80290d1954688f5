"""Bringing pictures to a protocol's sizes, with the filter that its published code used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Filter = Literal["bilinear", "bilinear_antialias", "pil_bilinear", "pil_bicubic"]


@dataclass(frozen=True)
class Resize:
    """One step of resizing to a square.

    Attributes:
        size_px: Side afterwards; pictures of that size already are not touched.
        filter: ``bilinear`` is torch's without antialiasing (torchvision before 0.17 on tensors),
            ``bilinear_antialias`` torch's with it, ``pil_...`` Pillow's on 8-bit pictures, which always filters.
    """

    size_px: int
    filter: Filter

    def __str__(self) -> str:
        return f"{self.size_px} px {self.filter}"


def resize(pictures: NDArray[np.generic], steps: Sequence[Resize]) -> NDArray[np.float32]:
    """Bring pictures to a protocol's size, step by step.

    Args:
        pictures: uint8 (n, height, width, 3), or float32 in 0..1.
        steps: In order; Pillow's come first, since they work on 8-bit pictures.

    Returns:
        float32 (n, size, size, 3) in 0..1.

    Raises:
        ValueError: A Pillow step meets a picture that is not 8-bit.
    """
    values = pictures
    for step in steps:
        if values.shape[1:3] == (step.size_px, step.size_px):
            continue
        values = _by_pillow(values, step) if step.filter.startswith("pil_") else _by_torch(_as_float(values), step)
    return _as_float(values)


def _as_float(pictures: NDArray[np.generic]) -> NDArray[np.float32]:
    if pictures.dtype == np.uint8:
        return pictures.astype(np.float32) / np.float32(255.0)
    return np.ascontiguousarray(pictures, dtype=np.float32)


def _by_pillow(pictures: NDArray[np.generic], step: Resize) -> NDArray[np.uint8]:
    from PIL import Image

    if pictures.dtype != np.uint8:
        raise ValueError(f"{step} works on 8-bit pictures, not on {pictures.dtype}; put it before the others")
    resample = Image.Resampling.BILINEAR if step.filter == "pil_bilinear" else Image.Resampling.BICUBIC
    size = (step.size_px, step.size_px)
    return np.stack([np.asarray(Image.fromarray(picture).resize(size, resample)) for picture in pictures])


def _by_torch(pictures: NDArray[np.float32], step: Resize) -> NDArray[np.float32]:
    import torch
    from torch.nn import functional

    values = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    antialias = step.filter == "bilinear_antialias"
    size = (step.size_px, step.size_px)
    resized = functional.interpolate(values, size, mode="bilinear", antialias=antialias, align_corners=False)
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1).numpy())
