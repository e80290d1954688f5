"""Write pictures as they come: encoded in threads while the next batch runs, whole or not at all."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import sys
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch.callbacks import BasePredictionWriter
from numpy.typing import NDArray

from fmri_lightning.errors import ResourceError
from fmri_lightning.generation.shards import PictureRecord, append_record, open_shard, shard_path
from fmri_lightning.manifest import atomic_path

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

N_THREADS = 2
MAX_PENDING = 64
"""Pictures waiting for a thread; more would only fill memory when the disk is slow."""
HELD_BACK = "held back by the safety checker"
"""Reason of a picture that is there and is not kept."""
BLANK_STD = 2 / 255
"""A picture flatter than this shows nothing: a failure of the sampler, never a result."""


@dataclass(frozen=True)
class BlurryPicture:
    """What a picture was started from.

    Attributes:
        path: Relative to the run folder.
        pixels: uint8 (side, side, 3).
    """

    path: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class DrawnUnit:
    """One picture of a batch on its way to the disk.

    Attributes:
        record: Its line, without hash.
        pixels: uint8 (height, width, 3).
        finite: False where latents or pixels were not.
        held_back: True where the decoder's safety checker objects.
        start: What it was started from, where that is to be written; else None.
    """

    record: PictureRecord
    pixels: NDArray[np.uint8]
    finite: bool
    held_back: bool = False
    start: BlurryPicture | None = None


class ImageWriter(BasePredictionWriter):
    """Writes every drawn picture and its line in the rank's shard.

    Args:
        threads: Encoding threads; Pillow releases the interpreter while it compresses.
    """

    def __init__(self, threads: int = N_THREADS) -> None:
        super().__init__(write_interval="batch")
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._pending: deque[Future[None]] = deque()
        self._lock = threading.Lock()
        self._shard: IO[bytes] | None = None
        self._folder = Path()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the rank's shard."""
        self._folder = Path(pl_module.run_folder)  # type: ignore[arg-type]
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._shard = open_shard(shard_path(self._folder, trainer.global_rank, datamodule.shard))
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="png")

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: list[DrawnUnit],
        batch_indices: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Hand a batch to the threads and raise what went wrong with earlier ones.

        Raises:
            ResourceError: The disk is full or the folder cannot be written.
        """
        assert self._pool is not None
        for unit in prediction:
            self._pending.append(self._pool.submit(self._write, unit))
        while len(self._pending) > MAX_PENDING or (self._pending and self._pending[0].done()):
            self._pending.popleft().result()

    def _write(self, unit: DrawnUnit) -> None:
        record = unit.record
        reason = failure_of(unit.pixels, unit.finite, unit.held_back)
        try:
            # Before the line that says that the picture is whole: a resumed run then finds both.
            if unit.start is not None:
                with atomic_path(self._folder / unit.start.path) as temporary:
                    temporary.write_bytes(encode_png(unit.start.pixels))
            if reason:
                record = dataclasses.replace(record, image="", reason=reason)
            else:
                payload = encode_png(unit.pixels)
                with atomic_path(self._folder / record.image) as temporary:
                    temporary.write_bytes(payload)
                record = dataclasses.replace(record, sha256=hashlib.sha256(payload).hexdigest())
            with self._lock:
                assert self._shard is not None
                append_record(self._shard, record)
        except OSError as error:
            what = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
            raise ResourceError(
                f"cannot write {self._folder / unit.record.image}: {what}; make room and run the same command again"
            ) from error

    def flush(self) -> None:
        """Finish every picture that was handed in, then close.

        Raises:
            ResourceError: A picture could not be written.
        """
        pool, self._pool = self._pool, None
        try:
            if pool is not None:
                pool.shutdown(wait=True)
            while self._pending:
                self._pending.popleft().result()
        finally:
            self._pending.clear()
            if self._shard is not None:
                self._shard.close()
                self._shard = None

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the last pictures."""
        self.flush()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save what is drawn; the exception that ends the run stays the one that is shown."""
        try:
            self.flush()
        except ResourceError as error:
            print(f"while stopping: {error}", file=sys.stderr)


def failure_of(pixels: NDArray[np.uint8], finite: bool, held_back: bool = False) -> str:
    """Say why a picture is no result, or "".

    Args:
        pixels: uint8 (height, width, 3).
        finite: Whether latents and pixels were finite.
        held_back: Whether the decoder's safety checker objects.

    Returns:
        The reason, or "".
    """
    if not finite:
        return "latents or pixels are not finite"
    if held_back:
        return HELD_BACK
    # Over the picture, colour by colour: one flat colour is as blank as grey.
    std = float(pixels.astype(np.float64).std(axis=(0, 1)).max()) / 255
    return f"blank picture (standard deviation {std:.4f})" if std < BLANK_STD else ""


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a picture as PNG.

    Run-length compression (``compress_type=3``) is 4.5 times faster than Pillow's default at the same size.

    Args:
        pixels: uint8 (height, width, 3).

    Returns:
        The file's bytes.
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_type=3)
    return buffer.getvalue()
