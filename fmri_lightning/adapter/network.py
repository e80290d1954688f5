"""The adapter: a linear map between two embedding spaces, alone or with a network that learns what it leaves."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmri_lightning.encoder.network import ResidualBlock, floor_std

Form = Literal["linear", "residual"]
"""The linear map alone, or the sum of it and a network of residual blocks."""


class AdapterNetwork(nn.Module):
    """Linear(source, target), in form residual plus a residual MLP, and an optional LayerNorm.

    The input is taken at unit length and standardised per dimension, the output leaves standardised target space by
    the mean and standard deviation of the training targets; these statistics are buffers. With LayerNorm, which
    fixes the length of the standardised output, shrunken predictions come out at the length of real embeddings.

    The MLP is Linear(source, hidden), residual blocks, LayerNorm, Linear(hidden, target). Its last layer starts at
    zero, so that both forms start as the same linear map.

    Args:
        n_source: Width of the source embedding.
        n_target: Width of the target embedding.
        layer_norm: Whether to normalise the standardised output.
        form: "linear" or "residual".
        hidden: Width of the MLP; form residual only, as the two that follow.
        n_blocks: Number of its residual blocks.
        dropout: Share of its hidden units dropped in training.
    """

    source_mean: Tensor
    source_std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        n_source: int,
        n_target: int,
        layer_norm: bool = True,
        form: Form = "linear",
        hidden: int = 1024,
        n_blocks: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if form not in get_args(Form):
            raise ValueError(f"form is one of {', '.join(get_args(Form))}, got {form!r}")
        self.linear = nn.Linear(n_source, n_target)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.norm = nn.LayerNorm(n_target) if layer_norm else nn.Identity()
        self.branch: nn.Sequential | None = None
        if form == "residual":
            last = nn.Linear(hidden, n_target)
            blocks = (ResidualBlock(hidden, dropout) for _ in range(n_blocks))
            self.branch = nn.Sequential(nn.Linear(n_source, hidden), *blocks, nn.LayerNorm(hidden), last)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        for name, width in (("source", n_source), ("target", n_target)):
            self.register_buffer(f"{name}_mean", torch.zeros(width))
            self.register_buffer(f"{name}_std", torch.ones(width))

    def set_statistics(self, source: Tensor, target_mean: Tensor, target_std: Tensor) -> None:
        """Store the statistics of the training pictures.

        Args:
            source: Raw source embeddings, (n, n_source).
            target_mean: Mean raw target, (n_target,).
            target_std: Standard deviation per dimension, (n_target,).
        """
        unit = functional.normalize(source.double(), dim=-1)
        self.source_mean.copy_(unit.mean(dim=0))
        self.source_std.copy_(floor_std(unit.std(dim=0, correction=0)))
        self.target_mean.copy_(target_mean)
        self.target_std.copy_(floor_std(target_std))

    def standardised(self, source: Tensor) -> Tensor:
        """Map raw source embeddings (n, n_source) to standardised target embeddings (n, n_target)."""
        x = (functional.normalize(source, dim=-1) - self.source_mean) / self.source_std
        mapped = self.linear(x)
        if self.branch is not None:
            mapped = mapped + self.branch(x)
        result: Tensor = self.norm(mapped)
        return result

    def standardise(self, target: Tensor) -> Tensor:
        """Map raw target embeddings (n, n_target) to standardised ones."""
        return (target - self.target_mean) / self.target_std

    def raw(self, standardised: Tensor) -> Tensor:
        """Map standardised target embeddings (n, n_target) to raw ones."""
        return standardised * self.target_std + self.target_mean

    def forward(self, source: Tensor) -> Tensor:
        """Map raw source embeddings (n, n_source) to raw target embeddings (n, n_target)."""
        return self.raw(self.standardised(source))
