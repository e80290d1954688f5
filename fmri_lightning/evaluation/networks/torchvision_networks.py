"""AlexNet, Inception v3 and EfficientNet-B1 of torchvision, read at the nodes that the published scripts read."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from fmri_lightning.embeddings.image_encoder import weights_hash
from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.networks.base import MissingNetworkError
from fmri_lightning.evaluation.networks.node_network import IMAGENET_MEAN, IMAGENET_STD, NodeNetwork
from fmri_lightning.evaluation.networks.released_weights import filled, first_line
from fmri_lightning.evaluation.networks.uses import NetworkUse

HINT = "pip install 'fmri-lightning[eval-nets]'"
_BUILDERS: dict[str, Callable[[Any], torch.nn.Module]] = {
    "alexnet": lambda models: models.alexnet(weights=None),
    # Their released weights were trained on inputs scaled as the original TensorFlow model's.
    "inception_v3": lambda models: models.inception_v3(weights=None, transform_input=True, init_weights=False),
    "efficientnet_b1": lambda models: models.efficientnet_b1(weights=None),
    "swav": lambda models: models.resnet50(weights=None),
}


def torchvision_models() -> ModuleType:
    """Import torchvision's models.

    Raises:
        MissingNetworkError: It is not installed, or was built for another torch.
    """
    try:
        import torchvision.models
    except ModuleNotFoundError as error:
        raise MissingNetworkError(HINT) from error
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise MissingNetworkError(_misfit(error)) from error
    models: ModuleType = torchvision.models
    return models


def build(network: str, state: dict[str, torch.Tensor] | None = None) -> torch.nn.Module:
    """Build a network.

    Args:
        network: alexnet, inception_v3, efficientnet_b1 or swav.
        state: Its weights; random ones by default.

    Returns:
        The network in evaluation mode, without gradients.

    Raises:
        MissingNetworkError: torchvision is not installed.
        BadInputError: The weights are another network's.
    """
    model = _BUILDERS[network](torchvision_models())
    if state is not None:
        try:
            model.load_state_dict(state)
        except (RuntimeError, TypeError) as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise BadInputError(f"another network's weights than {network}'s: {reason[:200]}") from error
    return model.eval().requires_grad_(False)


def at_nodes(model: torch.nn.Module, use: NetworkUse, facts: dict[str, str]) -> NodeNetwork:
    """Read a torchvision network at the nodes of its use.

    Args:
        model: The network.
        use: Its nodes.
        facts: What was loaded.

    Returns:
        The network behind ImageNet's normalisation.
    """
    import torchvision
    from torchvision.models.feature_extraction import create_feature_extractor

    with warnings.catch_warnings():
        # Inception's training branch has nodes of its own; none of them is read.
        warnings.filterwarnings("ignore", message="NOTE: The nodes obtained by tracing")
        extractor = create_feature_extractor(model, [node for _, node in use.nodes]).eval()
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    facts = {"weights": use.weights, "hash": weights_hash(model), **versions, **facts}
    return NodeNetwork(extractor, use, IMAGENET_MEAN, IMAGENET_STD, facts)


def open_torchvision(use: NetworkUse) -> NodeNetwork:
    """Open a network with torchvision's weights.

    Args:
        use: Network, name of the weights, nodes.

    Returns:
        The network.

    Raises:
        MissingNetworkError: torchvision or the weights are not on this machine.
    """
    url = released_at(use.network, use.weights)
    return at_nodes(filled(url, lambda state: build(use.network, state)), use, {"url": url})


def released_at(network: str, weights: str) -> str:
    """Find where torchvision's weights come from.

    Args:
        network: Name of a torchvision model.
        weights: Name of its weights, for instance IMAGENET1K_V1.

    Returns:
        Address of the file.

    Raises:
        MissingNetworkError: torchvision is not installed.
    """
    return str(torchvision_models().get_model_weights(network)[weights].url)


def _misfit(error: Exception) -> str:
    version = torch.__version__
    channel = version.partition("+")[2]
    index = f" --index-url https://download.pytorch.org/whl/{channel}" if channel else ""
    return (
        f"torchvision is installed but does not fit torch {version} ({first_line(error)}); "
        f"pip install --force-reinstall torch=={version} torchvision{index}"
    )
