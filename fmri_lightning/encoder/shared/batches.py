"""Batches that hold the same number of rows of every subject, and one step's rows shared out over ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count

import torch
from torch import Tensor

from fmri_lightning.encoder.batches import TensorBatches, run_seed
from fmri_lightning.encoder.ranks import Share
from fmri_lightning.manifest import content_hash


class BalancedBatches:
    """Steps with equally many rows of every subject.

    An epoch ends when the subject with most rows has given each of them once. Subjects with fewer begin another lap,
    in another order, and so does the largest one to fill its last step. What a subject gives depends on the run's
    seed, the epoch and its name, not on who else takes part; a resumed fit sees the batches that the interrupted one
    would have seen.

    Args:
        tensors: By subject, name and rows, all of the same length.
        rows: Rows of each subject in a step, over all ranks together.
        epoch: Returns the current epoch.
    """

    def __init__(self, tensors: Mapping[str, Mapping[str, Tensor]], rows: int, epoch: Callable[[], int]) -> None:
        self.n_rows = {subject: len(of_subject["nsd_ids"]) for subject, of_subject in sorted(tensors.items())}
        if rows < 1 or not self.n_rows or min(self.n_rows.values()) < 1:
            raise ValueError(f"expected subjects with rows and rows >= 1, got {self.n_rows} and {rows}")
        self.tensors, self.rows, self.epoch = tensors, rows, epoch

    def __len__(self) -> int:
        return -(-max(self.n_rows.values()) // self.rows)

    def __iter__(self) -> Iterator[dict[str, dict[str, Tensor]]]:
        """Yield for each step a dictionary of tensors by subject."""
        streams = {subject: self._stream(subject, self.epoch()) for subject in self.n_rows}
        for _ in range(len(self)):
            yield {subject: next(stream) for subject, stream in streams.items()}

    def _stream(self, subject: str, epoch: int) -> Iterator[dict[str, Tensor]]:
        kept: dict[str, Tensor] = {}
        for lap in count():
            order = seed_of(run_seed(), subject, epoch, lap)
            for batch in TensorBatches(self.tensors[subject], self.rows, lambda order=order: order):  # type: ignore[misc]
                kept = {name: torch.cat([kept[name], rows]) if kept else rows for name, rows in batch.items()}
                while len(kept["nsd_ids"]) >= self.rows:
                    yield {name: tensor[: self.rows] for name, tensor in kept.items()}
                    kept = {name: tensor[self.rows :] for name, tensor in kept.items()}


def seed_of(seed: int, *words: str | int) -> int:
    """Seed of a stream of one subject: a hash of the run's seed and words, 0 to 2^48."""
    return int(content_hash("/".join(str(word) for word in (seed, *words)))[:12], 16)


class SubjectBatches:
    """Batches of one subject after another, each with the subject's name.

    Args:
        batches: By subject.
    """

    def __init__(self, batches: Mapping[str, TensorBatches]) -> None:
        self.batches = dict(batches)

    def __len__(self) -> int:
        return sum(map(len, self.batches.values()))

    def __iter__(self) -> Iterator[dict[str, Tensor | str]]:
        """Yield dictionaries of tensors and ``subject``."""
        for subject, batches in self.batches.items():
            for batch in batches:
                yield {**batch, "subject": subject}


class StackedShare(Share):
    """The rows of a step with several subjects one below the other that this rank computes: its share of each.

    Attributes:
        of_each: The share of one subject's rows.

    Args:
        n_subjects: How many subjects.
        n_rows: Rows of each.
        rank: This process.
        world_size: Number of processes.
    """

    def __init__(self, n_subjects: int, n_rows: int, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(n_subjects * n_rows, rank, world_size)
        self.n_subjects, self.of_each = n_subjects, Share(n_rows, rank, world_size)

    def take(self, rows: Tensor) -> Tensor:
        """Take this rank's rows of (n_subjects * n_rows, …)."""
        each = rows.unflatten(0, (self.n_subjects, self.of_each.n_rows)).transpose(0, 1)
        return self.of_each.take(each).transpose(0, 1).flatten(0, 1)

    def gather(self, mine: Tensor) -> Tensor:
        """Put the rows of all ranks together, in the order of the whole step."""
        each = mine.unflatten(0, (self.n_subjects, len(mine) // self.n_subjects)).transpose(0, 1)
        return self.of_each.gather(each).transpose(0, 1).flatten(0, 1)
