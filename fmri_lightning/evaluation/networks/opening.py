"""Opens the networks of a protocol by name; nothing heavy is imported before."""

from __future__ import annotations

import importlib

from fmri_lightning.evaluation.networks.base import PerceptualNetwork
from fmri_lightning.evaluation.networks.uses import NetworkUse

OPENERS = {
    "alexnet": "torchvision_networks:open_torchvision",
    "inception_v3": "torchvision_networks:open_torchvision",
    "efficientnet_b1": "torchvision_networks:open_torchvision",
    "swav": "swav:open_swav",
    "clip": "clip:open_clip",
    "lpips": "lpips:open_lpips",
    "judge": "judge:open_judge",
}
"""Name of a network to the module of this folder and the function that opens it."""


def open_network(use: NetworkUse) -> PerceptualNetwork:
    """Open a network with its weights, on the CPU.

    Args:
        use: Which network, weights and nodes.

    Returns:
        The network, in evaluation mode, without gradients.

    Raises:
        MissingNetworkError: A package or the weights are not on this machine; the message says how to get them.
    """
    module, function = OPENERS[use.network].split(":")
    opener = getattr(importlib.import_module(f"fmri_lightning.evaluation.networks.{module}"), function)
    network: PerceptualNetwork = opener(use)
    return network
