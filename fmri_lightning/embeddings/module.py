"""The predict loop of the cache: encode a batch, keep the vectors until a part is full, write the part."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from fmri_lightning.embeddings.cache import write_cache
from fmri_lightning.embeddings.open_encoder import PictureEncoder
from fmri_lightning.errors import InterruptedRunError
from fmri_lightning.manifest import content_hash
from fmri_lightning.progress import LINE_EVERY_S, progress_line

PART_SIZE = 4096


class EmbeddingModule(LightningModule):
    """Encodes pictures in batches of one fixed shape.

    Args:
        encoder: The image encoder or autoencoder.
        batch_size: Every batch is padded to it: equal shapes give equal bytes, whatever the grouping.
    """

    def __init__(self, encoder: PictureEncoder, batch_size: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.batch_size = batch_size

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int = 0) -> dict[str, Tensor]:
        """Encode a batch.

        Args:
            batch: nsd_id int32 (n,) and images uint8 (n, height, width, 3).
            batch_idx: Not used.

        Returns:
            nsd_id int32 (n,) and embedding float32 (n, dim), on the CPU.
        """
        images = batch["images"]
        n = len(images)
        if n < self.batch_size:
            images = torch.cat([images, images[-1:].expand(self.batch_size - n, -1, -1, -1)])
        return {"nsd_id": batch["nsd_id"].cpu(), "embedding": self.encoder(images)[:n].float().cpu()}


class PartWriter(BasePredictionWriter):
    """Writes every `part_size` vectors as one small cache file that a resumed run takes over.

    Args:
        folder: Of the parts.
        part_size: Vectors a part.
        config: Stored in every part: identity of the pictures.
    """

    def __init__(self, folder: Path, part_size: int, config: dict[str, Any]) -> None:
        super().__init__(write_interval="batch")
        self.folder = folder
        self.part_size = part_size
        self.config = config
        self._ids: list[np.ndarray] = []
        self._vectors: list[np.ndarray] = []
        self._stop_signal = 0
        self._previous: dict[int, Any] = {}

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen for SIGTERM, which Lightning's predict loop ignores, and for Ctrl-C."""
        self._started_s = self._line_s = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._on_signal)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: dict[str, Tensor],
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Keep the batch; write a part when enough have come."""
        self._ids.append(prediction["nsd_id"].numpy())
        self._vectors.append(prediction["embedding"].numpy())
        self._say(trainer, batch_idx)
        if sum(map(len, self._ids)) >= self.part_size:
            self._flush(pl_module)
        if self._stop_signal:
            self._flush(pl_module)
            raise InterruptedRunError(
                f"stopped by signal {self._stop_signal}; the parts in {self.folder} are kept: "
                "run the same command again"
            )

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what is left."""
        self._flush(pl_module)
        self._restore_signal()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep finished vectors when something else fails."""
        self._flush(pl_module)
        self._restore_signal()

    def _flush(self, pl_module: LightningModule) -> None:
        if not self._ids:
            return
        ids, vectors = np.concatenate(self._ids), np.concatenate(self._vectors)
        self._ids, self._vectors = [], []
        encoder = pl_module.encoder
        assert isinstance(encoder, PictureEncoder)
        name = f"part_{ids.min():06d}_{content_hash(np.sort(ids))[:12]}.parquet"
        write_cache(self.folder / name, ids, vectors, encoder.space, self.config)

    def _say(self, trainer: Trainer, batch_idx: int) -> None:
        now_s = time.monotonic()
        if trainer.progress_bar_callback is None and now_s - self._line_s >= LINE_EVERY_S:
            self._line_s = now_s
            batches: Any = trainer.num_predict_batches
            line = progress_line("batches of pictures", batch_idx + 1, int(batches[0]), now_s - self._started_s)
            print(line, file=sys.stderr, flush=True)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop_signal = number

    def _restore_signal(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())
