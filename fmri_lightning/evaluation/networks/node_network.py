"""A network whose features are read at named nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmri_lightning.evaluation.networks.base import Features, Seen
from fmri_lightning.evaluation.networks.uses import NetworkUse

SMALL = 4096
"""Features up to this length stay in single precision; longer ones are kept in half of it."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class NodeNetwork:
    """A frozen network behind its normalisation.

    Args:
        outputs: Maps normalised pictures (n, 3, size, size) to node name → output.
        use: Which nodes are read, and what their features are called.
        mean: Mean of each channel that is taken off.
        std: Standard deviation of each channel that is divided by.
        facts: What was loaded.
    """

    def __init__(
        self,
        outputs: Callable[[Tensor], dict[str, Tensor]],
        use: NetworkUse,
        mean: Sequence[float],
        std: Sequence[float],
        facts: dict[str, str],
    ) -> None:
        self.outputs = outputs
        self.use = use
        self.facts = facts
        self._mean, self._std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (mean, std))

    def features(self, pictures: NDArray[np.float32]) -> Features:
        """Features of pictures at the nodes of the network's use.

        Args:
            pictures: (n, size, size, 3) in 0..1.

        Returns:
            Feature name to (n, d): float32, or float16 where d is above 4,096.
        """
        with torch.inference_mode():
            found = self.outputs((as_tensor(pictures) - self._mean) / self._std)
            return {name: flattened(found[node]) for name, node in self.use.nodes}

    def look(self, first: NDArray[np.float32], second: NDArray[np.float32]) -> Seen:
        """Features of picture pairs; this network computes no distance by itself.

        Args:
            first: Pictures (n, size, size, 3) in 0..1.
            second: Their partners, same shape.

        Returns:
            What was found.
        """
        return Seen(self.features(first), self.features(second), {})


def as_tensor(pictures: NDArray[np.float32]) -> Tensor:
    """Bring pictures (n, height, width, 3) to (n, 3, height, width)."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2)


def flattened(maps: Tensor) -> NDArray[np.floating]:
    """Flatten maps to (n, d): float32, or float16 where d is above 4,096."""
    flat = maps.flatten(1)
    return np.asarray(flat.float().numpy() if flat.shape[1] <= SMALL else flat.half().numpy())
