"""One optimisation step shared out over ranks, with the numbers that one rank would have got.

Every rank holds all rows of a batch and computes every n-th of them; predictions are gathered and each rank takes
the loss over the whole batch, with gradients through its own rows. Contrastive losses then see all distractors, a
batch of odd length weighs its rows alike, and the averaged gradient is that of one rank.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Share:
    """The rows of a batch that this rank computes.

    Args:
        n_rows: Rows of the whole batch.
        rank: This process.
        world_size: Number of processes.
    """

    def __init__(self, n_rows: int, rank: int = 0, world_size: int = 1) -> None:
        self.n_rows, self.rank, self.world_size = n_rows, rank, world_size

    def take(self, rows: Tensor) -> Tensor:
        """Take this rank's rows of (n_rows, …)."""
        return rows if self.world_size == 1 else rows[self.rank :: self.world_size]

    def gather(self, mine: Tensor) -> Tensor:
        """Put the rows of all ranks together, (n_rows, …); gradients reach this rank's rows only."""
        if self.world_size == 1:
            return mine
        # Ranks exchange equal shapes: shares that lack a row are padded, and the padding is cut off again.
        longest = -(-self.n_rows // self.world_size)
        padded = torch.cat([mine, mine.new_zeros(longest - len(mine), *mine.shape[1:])])
        parts = [torch.empty_like(padded) for _ in range(self.world_size)]
        torch.distributed.all_gather(parts, padded.detach())
        parts[self.rank] = padded
        return torch.stack(parts, dim=1).flatten(0, 1)[: self.n_rows]

    def to_backward(self, loss: Tensor) -> Tensor:
        """Scale a loss over the whole batch: the ranks' gradients, each of its own rows, are averaged and must add."""
        return loss * self.world_size


class RowDropout(nn.Module):
    """Dropout whose mask belongs to a row of the whole batch, whichever rank computes the row.

    Attributes:
        share: Rows at hand; None for all of them.

    Args:
        p: Share of the values dropped.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout lies in 0..1, 1 excluded, got {p}")
        self.p = p
        self.share: Share | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Drop values of (n, width) in training and scale up the others; return it as it is otherwise."""
        if not self.training or self.p == 0:
            return x
        share = self.share or Share(len(x))
        keep = torch.rand(share.n_rows, *x.shape[1:], device=x.device) >= self.p
        return x * share.take(keep) / (1 - self.p)


def share_rows(network: nn.Module, share: Share) -> None:
    """Tell all dropout layers of a network which rows come next."""
    for layer in network.modules():
        if isinstance(layer, RowDropout):
            layer.share = share
