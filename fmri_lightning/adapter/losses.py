"""Loss of the adapter."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from fmri_lightning.adapter.network import AdapterNetwork
from fmri_lightning.encoder.losses import cosine_loss


def adapter_loss(network: AdapterNetwork, predicted: Tensor, target: Tensor, mse_weight: float) -> Tensor:
    """Weigh ``w MSE + (1 - w) (1 - cos)``.

    The squared error is taken on targets standardised per dimension: on unit vectors it would be a rescaled cosine
    and add nothing. The cosine is that of raw embeddings, which is what a decoder receives.

    Args:
        network: The adapter; knows the statistics of the targets.
        predicted: Standardised predictions, (n, n_target).
        target: Raw target embeddings, (n, n_target).
        mse_weight: w, in 0..1.

    Returns:
        Scalar.
    """
    squared = functional.mse_loss(predicted, network.standardise(target))
    return mse_weight * squared + (1 - mse_weight) * cosine_loss(network.raw(predicted), target)
