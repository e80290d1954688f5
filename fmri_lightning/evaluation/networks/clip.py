"""CLIP ViT-L/14 (Radford et al., 2021) through transformers: what OpenAI's ``encode_image`` returns."""

from __future__ import annotations

import importlib.util

import torch
import transformers
from torch import Tensor
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from fmri_lightning.embeddings.image_encoder import ImageEncoder, weights_hash
from fmri_lightning.embeddings.spaces import resolve_space
from fmri_lightning.errors import StageError
from fmri_lightning.evaluation.networks.base import MissingNetworkError
from fmri_lightning.evaluation.networks.node_network import NodeNetwork
from fmri_lightning.evaluation.networks.released_weights import first_line
from fmri_lightning.evaluation.networks.torchvision_networks import torchvision_models
from fmri_lightning.evaluation.networks.uses import NetworkUse

SPACE = "vit-l-14"
NODE = "image_embeds"


def open_clip(use: NetworkUse) -> NodeNetwork:
    """Open the network with the weights of its pinned revision.

    Args:
        use: Its node.

    Returns:
        The network, in single precision; features are raw projections.

    Raises:
        MissingNetworkError: The weights are not on this machine, are damaged, or meet a broken torchvision.
    """
    if importlib.util.find_spec("torchvision") is not None:
        torchvision_models()  # one that does not fit torch is met by transformers too, which says so in other words
    try:
        encoder = ImageEncoder.from_space(SPACE)
    except StageError as error:
        raise MissingNetworkError(str(error)) from error
    except Exception as error:  # a damaged file
        advice = resolve_space(SPACE).download_command()
        raise MissingNetworkError(
            f"CLIP cannot be loaded ({first_line(error)}); run {advice} --force-download"
        ) from error
    return of_encoder(encoder, use)


def of_encoder(encoder: ImageEncoder, use: NetworkUse) -> NodeNetwork:
    """Read an encoder's projections without its own cropping.

    Args:
        encoder: A CLIP image tower.
        use: Its node.

    Returns:
        The network behind CLIP's normalisation.
    """

    def outputs(pictures: Tensor) -> dict[str, Tensor]:
        return {NODE: encoder.model(pixel_values=pictures).image_embeds}

    facts = {
        "weights": "@".join(filter(None, (encoder.spec.model_id, encoder.spec.revision))),
        "hash": weights_hash(encoder.model),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    return NodeNetwork(outputs, use, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, facts)
