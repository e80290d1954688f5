"""The nearest-neighbour decoder: no generator, the training stimulus whose embedding is nearest to the predicted one.

A labelled baseline: what a picture from the subject's own training set scores by the same protocols.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.decoder import ALONE, DecoderConfig, Drawn, MemoryPreset, Steering
from fmri_lightning.generation.nearest import first_by_hash, nearest, training_ids
from fmri_lightning.generation.sampler import SamplingOptions
from fmri_lightning.index.stimuli import StimulusSource, open_stimuli, stimuli_identity
from fmri_lightning.records import EmbeddingSpace

if TYPE_CHECKING:
    from fmri_lightning.generation.data import ReconstructionDataModule


class NearestNeighbourDecoder(nn.Module):
    """Shows the stimulus of a gallery that is nearest by cosine.

    Args:
        ids: nsd_id of the gallery (n,).
        gallery: Their embeddings (n, dim) float32.
        stimuli: Where their pictures are.
        space: Space of the embeddings.
        resolution: Side in pixels; None keeps the stimuli as they are.
    """

    def __init__(
        self,
        ids: NDArray[np.int32],
        gallery: NDArray[np.float32],
        stimuli: StimulusSource,
        space: EmbeddingSpace,
        resolution: int | None = None,
    ) -> None:
        super().__init__()
        self._ids, self._gallery, self._stimuli = ids, gallery, stimuli
        self.space = space
        self.resolution = resolution or int(stimuli.read(ids[:1]).shape[1])

    def halves(self) -> list[nn.Module]:
        """List nothing: there are no weights."""
        return []

    def prepare(self, memory: MemoryPreset, compiled: bool) -> None:
        """Do nothing: there are no kernels.

        Args:
            memory: Ignored.
            compiled: Ignored.
        """

    def draw(
        self,
        embeddings: Tensor,
        seeds: list[int],
        options: SamplingOptions,
        unconditional: bool = False,
        steering: Steering = ALONE,
    ) -> Drawn:
        """Look the nearest stimuli up.

        Args:
            embeddings: Raw embeddings (batch, dim) float32.
            seeds: Ignored; retrieval draws nothing.
            options: Ignored.
            unconditional: Ignored; setup refuses it.
            steering: Ignored; setup refuses it.

        Returns:
            The pictures.
        """
        winners, _ = nearest(embeddings.cpu().numpy(), self._gallery, self._ids)
        pictures = self._stimuli.read(winners)
        images = np.stack([_resized(picture, self.resolution) for picture in pictures])
        return Drawn(torch.from_numpy(images), torch.ones(len(images), dtype=torch.bool))

    def generate(self, embeddings: Tensor, seeds: list[int], options: SamplingOptions) -> Tensor:
        """Look pictures up as uint8 (batch, height, width, 3)."""
        return self.draw(embeddings, seeds, options).images


def _resized(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    from PIL import Image

    if picture.shape[:2] == (side, side):
        return picture
    resized: NDArray[np.uint8] = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
    return resized


def load_retrieval(config: DecoderConfig, data: ReconstructionDataModule) -> NearestNeighbourDecoder:
    """Open gallery and pictures of a run.

    Args:
        config: The decoder; only its resolution is used.
        data: The run's data after its setup.

    Returns:
        The decoder.

    Raises:
        BadInputError: Pictures or embeddings are not there.
    """
    assert data.table is not None
    assert data.clip_cache is not None
    cache = EmbeddingCache.open(data.clip_cache)
    ids = first_by_hash(training_ids(data.table), data.gallery_limit)
    stimuli = open_stimuli(root=_root(data))
    return NearestNeighbourDecoder(ids, cache.rows(ids), stimuli, cache.space, config.resolution)


def _root(data: ReconstructionDataModule) -> Path:
    root = data.recorded_root()
    if root is None or not Path(root).is_dir():
        raise BadInputError(f"the data root {root} with the stimuli is not here; name it with --data.root DIR")
    return Path(root)


def declared_space(config: DecoderConfig, data: ReconstructionDataModule | None = None) -> EmbeddingSpace:
    """Name the space of the neighbours: that of the clip cache.

    Args:
        config: Ignored.
        data: The run's data after its setup.

    Returns:
        The space of ``--data.clip_cache``.

    Raises:
        UsageError: The run has no cache, no index or no training stimuli.
        BadInputError: The stimuli are not there.
    """
    if data is None or data.clip_cache is None or data.table is None:
        raise UsageError("family nearest_neighbour needs --data.clip_cache FILE and --data.index_root DIR")
    if not len(training_ids(data.table)):
        raise UsageError("family nearest_neighbour searches training stimuli, and a prediction-only index has none")
    _root(data)
    return EmbeddingCache.open(data.clip_cache).space


def model_name(config: DecoderConfig) -> str:
    """Name what draws, as it goes into summaries."""
    return config.family


def weights_fingerprint(config: DecoderConfig, data: ReconstructionDataModule) -> str:
    """Identify the pictures of the gallery; which of them it holds follows from index and cache."""
    return stimuli_identity(root=_root(data))


def has_transformer_blocks(config: DecoderConfig) -> bool:
    """Return False: there is no network."""
    return False


def further_fields(config: DecoderConfig) -> dict[str, object]:
    """List further settings that decide a picture: none."""
    return {}
