"""Pictures to encode, divided over any number of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

if TYPE_CHECKING:
    from fmri_lightning.index.stimuli import StimulusSource


def shard_ids(ids: NDArray[np.int32], rank: int, world_size: int) -> NDArray[np.int32]:
    """Take one process's share of the work.

    Args:
        ids: What is left to do, (n,).
        rank: Of this process.
        world_size: Number of processes.

    Returns:
        A contiguous share, never empty unless there is no work: Lightning dies on an empty loader, and
        doing one picture twice is harmless because results are keyed by id.

    Example:
        >>> shard_ids(np.arange(5, dtype=np.int32), 1, 2).tolist()
        [3, 4]
    """
    share = np.array_split(ids, world_size)[rank]
    return share if len(share) or not len(ids) else ids[-1:]


class PictureDataset(Dataset[dict[str, Tensor]]):
    """Stimuli by position in a list of ids; whole batches are read at once.

    Args:
        source: Where pictures are read from.
        ids: nsd_id, (n,).
    """

    def __init__(self, source: StimulusSource, ids: NDArray[np.int32]) -> None:
        self.source = source
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        return self.__getitems__([position])

    def __getitems__(self, positions: list[int]) -> dict[str, Tensor]:
        """Read a batch: nsd_id int32 (n,) and images uint8 (n, height, width, 3)."""
        ids = self.ids[positions]
        return {"nsd_id": torch.from_numpy(ids.copy()), "images": torch.from_numpy(self.source.read(ids))}


class EmbeddingDataModule(LightningDataModule):
    """Serves the pictures that are still to be encoded to this process.

    Args:
        source: Where pictures are read from.
        ids: nsd_id still to do, (n,) int32.
        batch_size: Pictures a batch.
    """

    def __init__(self, source: StimulusSource, ids: NDArray[np.int32], batch_size: int) -> None:
        super().__init__()
        self.source = source
        self.ids = ids
        self.batch_size = batch_size

    def predict_dataloader(self) -> DataLoader[Any]:
        """Build the loader of this rank's share."""
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        share = PictureDataset(self.source, shard_ids(self.ids, rank, world_size))
        return DataLoader(share, batch_size=self.batch_size, collate_fn=_as_is)


def _as_is(batch: Any) -> Any:
    return batch
