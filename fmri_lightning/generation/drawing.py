"""Draw in batches of one shape: halved when memory runs out, drawn again in float32 where half precision failed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fmri_lightning.errors import ResourceError
from fmri_lightning.generation.bill import OUT_OF_MEMORY
from fmri_lightning.generation.decoder import ALONE, Drawn, Steering
from fmri_lightning.generation.predictions import Predictions
from fmri_lightning.generation.run_folder import picture_path
from fmri_lightning.generation.sampler import SamplingOptions
from fmri_lightning.generation.shards import PictureRecord
from fmri_lightning.generation.writer import DrawnUnit
from fmri_lightning.seeding import sample_seed

Unit = tuple[int, int]
"""Row of the predictions, and which of its samples."""

FULL = torch.float32


class BatchDrawer:
    """Draws pictures of a table of predictions.

    Args:
        decoder: The :class:`~fmri_lightning.generation.decoder.Decoder`, on its device.
        predictions: Table with target embeddings.
        options: Steps, guidance, scheduler.
        run_seed: Seed of the run.
        n_samples: Pictures per item.
        shape: Batch shape; every batch is padded to it.
        unconditional: Draw from the zero vector.

    Attributes:
        shape: The batch shape at present.
    """

    def __init__(
        self,
        decoder: Any,
        predictions: Predictions,
        options: SamplingOptions,
        run_seed: int,
        n_samples: int,
        shape: int,
        unconditional: bool,
    ) -> None:
        self._decoder, self._table, self._options = decoder, predictions, options
        self._run_seed, self._n_samples, self._unconditional = run_seed, n_samples, unconditional
        self.shape = shape

    def draw(self, units: list[Unit]) -> list[DrawnUnit]:
        """Draw units, in as many batches as it takes.

        Args:
            units: What to draw.

        Returns:
            The pictures, in order, with the lines that describe them.

        Raises:
            ResourceError: A single picture does not fit into memory.
        """
        drawn: list[DrawnUnit] = []
        while len(drawn) < len(units):
            try:
                drawn += self._draw_batch(units[len(drawn) : len(drawn) + self.shape])
            except torch.cuda.OutOfMemoryError as error:
                if self.shape == 1:
                    raise ResourceError(OUT_OF_MEMORY) from error
                self.shape //= 2
                torch.cuda.empty_cache()
        return drawn

    def _draw_batch(self, units: list[Unit]) -> list[DrawnUnit]:
        """Draw one batch; what is not finite in half precision is drawn once more in float32."""
        drawn = self._attempt(units)
        failed = [place for place, picture in enumerate(drawn) if not picture.finite]
        half = [part for part in self._decoder.halves() if next(part.parameters()).dtype != FULL]
        if failed and half:
            # A batch that does not fit in float32 says nothing of the shape that does in half: its pictures fail.
            with contextlib.suppress(torch.cuda.OutOfMemoryError), in_float32(half):
                again = self._attempt([units[place] for place in failed])
                for place, picture in zip(failed, again, strict=True):
                    drawn[place] = replace(picture, record=replace(picture.record, retried_in="float32"))
        return drawn

    def _attempt(self, units: list[Unit]) -> list[DrawnUnit]:
        table = self._table
        seeds = [sample_seed(self._run_seed, int(table.trial_id[row]), sample) for row, sample in units]
        assert table.target is not None
        embeddings = torch.from_numpy(table.target[[row for row, _ in units]])
        # The last unit is repeated up to the fixed shape: kernels round by shape, never by content.
        missing = self.shape - len(units)
        padded = torch.cat([embeddings, embeddings[-1:].expand(missing, -1)])
        found: Drawn = self._decoder.draw(
            padded,
            seeds + seeds[-1:] * missing,
            self._options,
            unconditional=self._unconditional,
            steering=self._steering([row for row, _ in units], missing),
        )
        return [
            DrawnUnit(
                PictureRecord(
                    trial_id=int(table.trial_id[row]),
                    nsd_id=int(table.nsd_id[row]),
                    sample=sample,
                    seed=seeds[place],
                    image=picture_path(table, row, sample, self._n_samples),
                    sha256="",
                    batch_shape=self.shape,
                ),
                found.images[place].numpy(),
                bool(found.finite[place]),
                held_back=found.held_back is not None and bool(found.held_back[place]),
            )
            for place, (row, sample) in enumerate(units)
        ]

    def _steering(self, rows: list[int], missing: int) -> Steering:
        """What steers these rows, the last one repeated up to the batch shape."""
        levels = self._table.noise_level
        if levels is None:
            return ALONE
        own = torch.from_numpy(levels[rows].astype(np.int64))
        return Steering(noise_levels=torch.cat([own, own[-1:].expand(missing)]))


@contextlib.contextmanager
def in_float32(modules: list[torch.nn.Module]) -> Iterator[None]:
    """Hold half-precision modules in float32 inside the block.

    Every half-precision number is a float32 number too: afterwards the weights are the same bits as before.

    Args:
        modules: Modules of one dtype each.
    """
    dtypes = [next(module.parameters()).dtype for module in modules]
    try:
        for module in modules:
            torch.nn.Module.to(module, dtype=FULL)
        yield
    finally:
        for module, dtype in zip(modules, dtypes, strict=True):
            torch.nn.Module.to(module, dtype=dtype)
