"""Maps from preprocessed betas to raw embeddings, as plain torch modules that hold all they need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fmri_lightning.encoder.ranks import RowDropout
from fmri_lightning.errors import BadInputError


class LinearMap(nn.Module):
    """``features @ weights + intercept``; weights are buffers, for they are solved and not trained.

    Args:
        n_features: Width of the input.
        n_outputs: Width of the embedding.
    """

    weights: Tensor
    intercept: Tensor

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.zeros(n_features, n_outputs))
        self.register_buffer("intercept", torch.zeros(n_outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (n, n_features) to raw embeddings (n, n_outputs)."""
        return features @ self.weights + self.intercept


class ResidualBlock(nn.Module):
    """Pre-norm residual block: ``x + Linear(Dropout(GELU(Linear(LayerNorm(x)))))``.

    Args:
        width: Width of input and output.
        dropout: Share of hidden units dropped in training.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), RowDropout(dropout), nn.Linear(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, width) to (n, width)."""
        result: Tensor = x + self.layers(x)
        return result


class NetworkMap(nn.Module):
    """Linear, ReLU, dropout, residual blocks, Linear; trained on standardised targets, emits raw embeddings.

    Without blocks this is the two-layer network Linear(in, 1024), ReLU, Dropout, Linear(1024, 512). With a linear
    path the network adds what is not linear to a linear map, which may start as a fitted ridge.

    Args:
        n_features: Width of the input.
        n_outputs: Width of the embedding.
        hidden: Width of the hidden layers.
        n_blocks: Number of residual blocks.
        dropout: Share of hidden units dropped in training.
        input_dropout: Share of voxels dropped in training.
        linear_path: Add a linear map from input to output; the last layer of the rest starts at zero.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        hidden: int = 1024,
        n_blocks: int = 0,
        dropout: float = 0.1,
        input_dropout: float = 0.0,
        linear_path: bool = False,
    ) -> None:
        super().__init__()
        self.input_dropout = RowDropout(input_dropout)
        last = nn.Linear(hidden, n_outputs)
        self.layers = nn.Sequential(
            nn.Linear(n_features, hidden),
            nn.ReLU(),
            RowDropout(dropout),
            *(ResidualBlock(hidden, dropout) for _ in range(n_blocks)),
            # Blocks only add to their input: without this the scale of their sum grows with their number.
            nn.LayerNorm(hidden) if n_blocks else nn.Identity(),
            last,
        )
        self.linear_path = nn.Linear(n_features, n_outputs) if linear_path else None
        if linear_path:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.register_buffer("target_mean", torch.zeros(n_outputs))
        self.register_buffer("target_std", torch.ones(n_outputs))

    def set_target_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Store mean and standard deviation per dimension of the training targets, (n_outputs,) each."""
        self.target_mean.copy_(mean)
        self.target_std.copy_(floor_std(std))

    def standardised(self, features: Tensor) -> Tensor:
        """Map features (n, n_features) to standardised embeddings (n, n_outputs), what the losses see."""
        dropped = self.input_dropout(features)
        result: Tensor = self.layers(dropped)
        return result if self.linear_path is None else result + self.linear_path(dropped)

    @torch.no_grad()
    def start_from(self, linear: LinearMap, features: Tensor) -> None:
        """Start as a fitted linear map, with hidden units that read what it reads.

        The linear path takes over the map. Each hidden unit of the first layer starts as a random mixture of the
        map's outputs instead of a random direction among thousands of voxels, nearly all of which carry noise.

        Args:
            linear: A fitted map onto the same raw embeddings, for instance a ridge.
            features: Training features, (n, n_features), n >= 2; hidden units get mean 0 and unit variance over them.

        Raises:
            BadInputError: If this network has no linear path, or the widths differ.
        """
        if self.linear_path is None:
            raise BadInputError("a network without a linear path cannot start from ridge; set linear_path: true")
        if linear.weights.T.shape != self.linear_path.weight.shape:
            raise BadInputError(
                f"the linear map to start from is {tuple(linear.weights.shape)}, this network's linear path "
                f"{tuple(self.linear_path.weight.T.shape)}; fit ridge on the same inputs first"
            )
        self.linear_path.weight.copy_((linear.weights / self.target_std).T)
        self.linear_path.bias.copy_((linear.intercept - self.target_mean) / self.target_std)
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        mixture = torch.randn(first.out_features, len(self.linear_path.weight), device=features.device)
        weights = mixture @ self.linear_path.weight.to(features.device)
        read = features @ weights.T
        weights = weights / floor_std(read.std(dim=0))[:, None]
        first.weight.copy_(weights)
        first.bias.copy_(-(features @ weights.T).mean(dim=0))

    def standardise(self, targets: Tensor) -> Tensor:
        """Map raw embeddings (n, n_outputs) to standardised ones."""
        return (targets - self.target_mean) / self.target_std

    def forward(self, features: Tensor) -> Tensor:
        """Map features (n, n_features) to raw embeddings (n, n_outputs)."""
        return self.standardised(features) * self.target_std + self.target_mean


def floor_std(std: Tensor) -> Tensor:
    """Keep a dimension that never varies from dividing by zero: its standard deviation becomes 1."""
    return torch.where(std > 1e-6 * std.max().clamp_min(1e-12), std, torch.ones_like(std))


def build_predictor(description: Mapping[str, Any]) -> LinearMap | NetworkMap:
    """Build the map that a checkpoint describes, with weights still to be loaded.

    Args:
        description: ``kind`` ("linear" or "network") and the arguments of the class.

    Returns:
        The module.

    Raises:
        BadInputError: If the kind or an argument is unknown to this version.
    """
    arguments = {key: value for key, value in description.items() if key != "kind"}
    kinds: dict[str, type[LinearMap] | type[NetworkMap]] = {"linear": LinearMap, "network": NetworkMap}
    try:
        return kinds[str(description.get("kind"))](**arguments)
    except (KeyError, TypeError) as error:
        raise BadInputError(f"encoder of unknown kind {dict(description)}; fit it again with this version") from error
