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
from fmri_lightning.generation.low_level import Layouts
from fmri_lightning.generation.predictions import Predictions
from fmri_lightning.generation.run_folder import layout_path, picture_path
from fmri_lightning.generation.sampler import SamplingOptions
from fmri_lightning.generation.shards import PictureRecord
from fmri_lightning.generation.writer import BlurryPicture, DrawnUnit, failure_of
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
        layouts: Decodes the table's latents to the pictures that are started from; None starts from noise.

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
        layouts: Layouts | None = None,
    ) -> None:
        self._decoder, self._table, self._options = decoder, predictions, options
        self._run_seed, self._n_samples, self._unconditional = run_seed, n_samples, unconditional
        self._layouts = layouts
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
        blurry = self._blurry(units)
        found: Drawn = self._decoder.draw(
            _padded(embeddings, missing),
            seeds + seeds[-1:] * missing,
            self._options,
            unconditional=self._unconditional,
            steering=self._steering([row for row, _ in units], blurry, missing),
        )
        images = found.images[: len(units)]
        mixed = images if self._layouts is None or blurry is None else self._layouts.blended(images, blurry)
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
                # What a generator failed to draw must not pass for a picture because something was mixed into it.
                (images if failure_of(images[place].numpy(), True) else mixed)[place].numpy(),
                bool(found.finite[place]),
                held_back=found.held_back is not None and bool(found.held_back[place]),
                # All samples of an item start from one picture.
                start=None
                if blurry is None or sample
                else BlurryPicture(layout_path(table, row), blurry[place].numpy()),
            )
            for place, (row, sample) in enumerate(units)
        ]

    def _blurry(self, units: list[Unit]) -> torch.Tensor | None:
        """Decode the layouts of a batch, uint8 (n, side, side, 3) on the CPU."""
        if self._layouts is None:
            return None
        assert self._table.low_level is not None
        return self._layouts.pictures(self._table.low_level[[row for row, _ in units]])

    def _steering(self, rows: list[int], blurry: torch.Tensor | None, missing: int) -> Steering:
        """What steers these rows beside their embeddings, the last one repeated up to the batch shape."""
        levels = self._table.noise_level
        if levels is None and blurry is None:
            return ALONE
        own = None if levels is None else _padded(torch.from_numpy(levels[rows].astype(np.int64)), missing)
        return Steering(noise_levels=own, start=None if blurry is None else _padded(blurry, missing))


def _padded(rows: torch.Tensor, missing: int) -> torch.Tensor:
    """Repeat the last row of (n, ...) ``missing`` times."""
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])])


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
