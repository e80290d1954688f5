"""SwAV's ResNet-50 (Caron et al., 2020), as facebookresearch/swav gives it on torch.hub, without running its code."""

from __future__ import annotations

import torch

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.networks.node_network import NodeNetwork
from fmri_lightning.evaluation.networks.released_weights import filled
from fmri_lightning.evaluation.networks.torchvision_networks import at_nodes, build, torchvision_models
from fmri_lightning.evaluation.networks.uses import NetworkUse

URL = "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar"
_HEADS = ("projection_head.", "prototypes.")
_CLASSIFIER = {"fc.weight", "fc.bias"}


def open_swav(use: NetworkUse) -> NodeNetwork:
    """Open the network with its released weights.

    Args:
        use: Its nodes.

    Returns:
        The network.

    Raises:
        MissingNetworkError: torchvision or the weights are not on this machine, or the file is another network's.
    """
    torchvision_models()
    return at_nodes(filled(URL, with_trunk), use, {"url": URL})


def with_trunk(state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Build the ResNet-50 from SwAV's file.

    Args:
        state: Its tensors: those of the trunk behind "module.", a projection head and prototypes; no classifier.

    Returns:
        The network; its classifier, which nothing reads, is zero.

    Raises:
        MissingNetworkError: torchvision is not installed.
        BadInputError: The file is another network's.
    """
    if not isinstance(state, dict):
        raise BadInputError(f"another network's weights than SwAV's: a {type(state).__name__} instead of named tensors")
    named = {name.removeprefix("module."): value for name, value in state.items()}
    trunk = {name: value for name, value in named.items() if not name.startswith(_HEADS)}
    model = build("swav")
    odd = sorted(set(trunk) ^ (set(model.state_dict()) - _CLASSIFIER))
    if odd:
        raise BadInputError(f"another network's weights than SwAV's: {len(odd)} names differ, first {odd[0]}")
    # A classifier that nothing reads must still be the same in every run: the hash covers it.
    for name in _CLASSIFIER:
        trunk[name] = torch.zeros_like(model.state_dict()[name])
    return build("swav", trunk)
