"""What CLIP does to a picture before its first layer, in torch and without torchvision.

The steps are those of the published models (Radford et al. 2021): shortest side resized by an
antialiased bicubic filter, centre crop, rescale to 0..1, mean and standard deviation per channel.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from fmri_lightning.errors import BadInputError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ImagePreprocessing:
    """Parameters of the steps.

    Attributes:
        resize_px: length of the shortest side after the resize.
        crop_px: side of the centre crop, which is what the model sees.
        mean: per channel, of pictures in 0..1.
        std: per channel, of pictures in 0..1.
    """

    resize_px: int
    crop_px: int
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    @classmethod
    def from_config(cls, config: dict[str, Any], image_size: int) -> ImagePreprocessing:
        """Read a ``preprocessor_config.json`` of ``transformers``.

        Args:
            config: the parsed file; empty for the defaults of CLIP at ``image_size``.
            image_size: side in px that the model's position table was made for.

        Raises:
            BadInputError: the file crops to another size than the model takes, or asks for steps
                other than CLIP's.
        """
        size = config.get("size", image_size)
        crop = config.get("crop_size", image_size)
        resize_px = size["shortest_edge"] if isinstance(size, dict) else int(size)
        crop_px = crop["height"] if isinstance(crop, dict) else int(crop)
        if crop_px != image_size:
            raise BadInputError(
                f"preprocessor_config.json crops to {crop_px} px but the model takes "
                f"{image_size} px: the folder mixes two models"
            )
        # 3 is PIL's code of the bicubic filter.
        if config.get("resample", 3) != 3:
            raise BadInputError("preprocessor_config.json asks for a filter other than bicubic")
        mean, std = config.get("image_mean", CLIP_MEAN), config.get("image_std", CLIP_STD)
        return cls(int(resize_px), int(crop_px), _triple(mean), _triple(std))

    @classmethod
    def from_folder(cls, folder: Path, image_size: int) -> ImagePreprocessing:
        """Read ``preprocessor_config.json`` of a model folder; CLIP's defaults without one."""
        path = folder / "preprocessor_config.json"
        config = json.loads(path.read_text()) if path.is_file() else {}
        return cls.from_config(config, image_size)


def resize_and_crop(images: Tensor, preprocessing: ImagePreprocessing) -> Tensor:
    """Resize the shortest side and cut the centre.

    Args:
        images: uint8 (n, height, width, 3), 0..255.
        preprocessing: sizes to reach.

    Returns:
        float32 (n, 3, crop_px, crop_px), whole numbers in 0..255 as PIL would store them.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise BadInputError(f"pictures must be uint8 (n, height, width, 3), got {images.dtype} {tuple(images.shape)}")
    pixels = images.permute(0, 3, 1, 2).to(torch.float32)
    height, width = pixels.shape[-2:]
    short = min(height, width)
    new_height, new_width = (int(preprocessing.resize_px * side / short) for side in (height, width))
    # PIL, which fed the published models, resizes rows, stores bytes, then resizes columns.
    pixels = _resize(pixels, (height, new_width))
    pixels = _resize(pixels, (new_height, new_width))
    return _centre_crop(pixels, preprocessing.crop_px)


def normalise(pixels: Tensor, preprocessing: ImagePreprocessing) -> Tensor:
    """Rescale 0..255 to 0..1 and standardise each channel.

    Args:
        pixels: float32 (n, 3, height, width), 0..255.
        preprocessing: mean and standard deviation to use.

    Returns:
        float32 (n, 3, height, width), what the model takes.
    """
    mean = pixels.new_tensor(preprocessing.mean).view(1, 3, 1, 1)
    std = pixels.new_tensor(preprocessing.std).view(1, 3, 1, 1)
    return (pixels / 255.0 - mean) / std


def preprocess_images(images: Tensor, preprocessing: ImagePreprocessing) -> Tensor:
    """All steps: uint8 (n, height, width, 3) to the float32 (n, 3, crop_px, crop_px) of CLIP."""
    return normalise(resize_and_crop(images, preprocessing), preprocessing)


def _resize(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    if size == tuple(pixels.shape[-2:]):
        return pixels
    resized = interpolate(pixels, size=size, mode="bicubic", antialias=True, align_corners=False)
    return resized.round().clamp(0, 255)


def _centre_crop(pixels: Tensor, crop_px: int) -> Tensor:
    height, width = pixels.shape[-2:]
    short_y, short_x = max(0, crop_px - height), max(0, crop_px - width)
    if short_y or short_x:
        top, left = short_y - short_y // 2, short_x - short_x // 2
        pixels = pad(pixels, (left, short_x - left, top, short_y - top))
        height, width = pixels.shape[-2:]
    top, left = (height - crop_px) // 2, (width - crop_px) // 2
    return pixels[..., top : top + crop_px, left : left + crop_px]


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
