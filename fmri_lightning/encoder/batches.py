"""Batches taken by index from tensors that already sit on the device."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from fmri_lightning.seeding import sample_seed, torch_generator


def run_seed() -> int:
    """Seed of the run as ``--seed_everything`` set it; 0 when nothing was set."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))


class TensorBatches:
    """Iterates over rows of equally long tensors, without a worker process or a copy through shared memory.

    One subject fits into the memory of a device, where a DataLoader with workers is eight times slower than an
    index. The order of an epoch depends on the run's seed and the epoch only, so a resumed fit sees the batches
    that the interrupted one would have seen. With several ranks each batch is shared out: n ranks take the same
    optimisation steps as one.

    Args:
        tensors: Name and rows, all of the same length.
        batch_size: Rows per step, over all ranks together.
        shuffle_by: Returns the current epoch, which decides the order; None keeps the order of the rows.
        rank: This process.
        world_size: Number of processes; 1 gives every rank all rows.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        batch_size: int,
        shuffle_by: Callable[[], int] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        lengths = {name: len(tensor) for name, tensor in tensors.items()}
        if len(set(lengths.values())) != 1 or batch_size < 1:
            raise ValueError(f"expected tensors of one length and batch_size >= 1, got {lengths} and {batch_size}")
        self.tensors = dict(tensors)
        self.batch_size = batch_size
        self.shuffle_by = shuffle_by
        self.rank, self.world_size = rank, world_size
        self.n_rows = next(iter(lengths.values()))

    def __len__(self) -> int:
        return -(-self.n_rows // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield batches as dictionaries of tensors."""
        device = next(iter(self.tensors.values())).device
        if self.shuffle_by is None:
            order = torch.arange(self.n_rows)
        else:
            order = torch.randperm(self.n_rows, generator=torch_generator(epoch_seed(self.shuffle_by())))
        for start in range(0, self.n_rows, self.batch_size):
            chosen = order[start : start + self.batch_size]
            mine = chosen[self.rank :: self.world_size].to(device)
            yield {name: tensor[mine] for name, tensor in self.tensors.items()}


def epoch_seed(epoch: int) -> int:
    """Seed for everything random in one epoch of the run: order of the rows, dropout."""
    return sample_seed(run_seed(), epoch, 1)
