"""Monte Carlo dropout (Gal & Ghahramani 2016): a network asked many times, each time with other units dropped."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fmri_lightning.encoder.ranks import RowDropout

PASSES = 32
"""Passes an item: the standard deviation of the variance of one dimension is then a quarter of it, and hundreds of
dimensions are averaged."""


def dropout_passes(network: nn.Module, row: Tensor, seed: int, passes: int = PASSES) -> Tensor:
    """Predict one row many times with dropout.

    One item is one batch, whatever else is predicted: its numbers depend on its seed and on nothing drawn before.

    Args:
        network: In evaluation mode; its :class:`~fmri_lightning.encoder.ranks.RowDropout` layers drop, all else stays
            as it is.
        row: Features of the item, (n_features,).
        seed: Decides the masks.
        passes: Number of passes.

    Returns:
        Predictions, (passes, dim).
    """
    layers = [layer for layer in network.modules() if isinstance(layer, RowDropout)]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        try:
            for layer in layers:
                layer.train()
            result: Tensor = network(row.expand(passes, -1))
        finally:
            for layer in layers:
                layer.eval()
    return result


def drops(network: nn.Module) -> bool:
    """Say whether a network has dropout at all."""
    return any(isinstance(layer, RowDropout) and layer.p > 0 for layer in network.modules())
