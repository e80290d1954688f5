"""LPIPS (Zhang et al., CVPR 2018) with AlexNet, through torchmetrics, which ships the learned heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fmri_lightning.embeddings.image_encoder import weights_hash
from fmri_lightning.evaluation.networks.base import Features, Seen
from fmri_lightning.evaluation.networks.node_network import as_tensor
from fmri_lightning.evaluation.networks.released_weights import filled
from fmri_lightning.evaluation.networks.torchvision_networks import build, released_at
from fmri_lightning.evaluation.networks.uses import NetworkUse


class LpipsNetwork:
    """Distances of picture pairs.

    Args:
        network: torchmetrics' module, which maps two batches in 0..1 to (n, 1, 1, 1).
        facts: What was loaded.
    """

    def __init__(self, network: Any, facts: dict[str, str]) -> None:
        self.network = network.eval().requires_grad_(False)
        self.facts = facts

    def features(self, pictures: NDArray[np.float32]) -> Features:
        """Nothing: this network only compares.

        Args:
            pictures: (n, size, size, 3) in 0..1.

        Returns:
            No features.
        """
        return {}

    def look(self, first: NDArray[np.float32], second: NDArray[np.float32]) -> Seen:
        """Distance of each pair.

        Args:
            first: Pictures (n, size, size, 3) in 0..1.
            second: Their partners, same shape.

        Returns:
            ``lpips``, 0 for equal pictures.
        """
        with torch.inference_mode():
            distance = self.network(as_tensor(first), as_tensor(second), normalize=True)
        return Seen({}, {}, {"lpips": distance.reshape(-1).double().numpy()})


def open_lpips(use: NetworkUse) -> LpipsNetwork:
    """Open LPIPS with torchvision's AlexNet below the shipped heads.

    Args:
        use: Nothing but its size is read.

    Returns:
        The network.

    Raises:
        MissingNetworkError: torchvision or AlexNet's weights are not on this machine.
    """
    # First: torchmetrics cannot be imported beside a torchvision that does not fit.
    url = released_at("alexnet", "IMAGENET1K_V1")
    import torchmetrics
    import torchvision

    network = filled(url, build_lpips)
    facts = {
        "weights": use.weights,
        "hash": weights_hash(network),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "torchmetrics": torchmetrics.__version__,
        "url": url,
    }
    return LpipsNetwork(network, facts)


def build_lpips(state: dict[str, torch.Tensor] | None = None) -> torch.nn.Module:
    """Build torchmetrics' LPIPS with the heads that it ships.

    Args:
        state: Weights of torchvision's AlexNet below them; random ones by default.

    Returns:
        The network in evaluation mode, without gradients.

    Raises:
        MissingNetworkError: torchvision is not installed.
        BadInputError: The weights are another network's.
    """
    alexnet = build("alexnet", state).state_dict()
    # The public metric loads AlexNet by itself, in a way that can run code of the file.
    from torchmetrics.functional.image.lpips import _LPIPS

    network = _LPIPS(net="alex", pnet_rand=True)
    # "slice2.3.weight" there is "features.3.weight" here.
    trunk = {name: alexnet[f"features.{name.partition('.')[2]}"] for name in network.net.state_dict()}
    network.net.load_state_dict(trunk)
    return network.eval().requires_grad_(False)
