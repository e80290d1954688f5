"""Choose one of K pictures without looking at the truth: the one whose embedding is nearest to the predicted one.

The rule of MindEye (Scotti et al. 2023, section 4.1); a score in the same space is then circular and says so.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from fmri_lightning.errors import UsageError
from fmri_lightning.generation.predictions import Predictions
from fmri_lightning.generation.run_folder import result_path
from fmri_lightning.generation.shards import PictureRecord
from fmri_lightning.manifest import atomic_path
from fmri_lightning.metrics.cosine import cosine
from fmri_lightning.progress import track

if TYPE_CHECKING:
    from fmri_lightning.embeddings.image_encoder import ImageEncoder
    from fmri_lightning.generation.data import ReconstructionDataModule
    from fmri_lightning.generation.module import ReconstructionModule


def load_chooser(data: ReconstructionDataModule, source: NDArray[np.float32] | None) -> ImageEncoder:
    """Load the encoder that embeds drawn pictures in the source space.

    Args:
        data: Names the CLIP cache, whose model it is.
        source: Source embeddings of the run, or None where it has none.

    Returns:
        The encoder on the CPU.

    Raises:
        UsageError: There is nothing to compare with.
        BadInputError: The encoder's weights are not on this machine, or not those of the cache.
    """
    from fmri_lightning.embeddings.cache import EmbeddingCache
    from fmri_lightning.embeddings.image_encoder import ImageEncoder
    from fmri_lightning.embeddings.spaces import SPACES
    from fmri_lightning.records import require_same_space

    if source is None or data.clip_cache is None:
        raise UsageError(
            "--model.n_samples above 1 chooses by source embeddings; give --data.clip_cache and an encoder"
        )
    space = EmbeddingCache.open(data.clip_cache).space
    known = space.name in SPACES
    encoder = (
        ImageEncoder.from_space(space.name)
        if known
        else ImageEncoder.from_space(space.model_id, space.revision or None)
    )
    require_same_space(encoder.space, space, "the encoder that chooses", f"clip cache {data.clip_cache}")
    return encoder


def choose_samples(
    module: ReconstructionModule, table: Predictions, finished: dict[tuple[int, int], PictureRecord]
) -> list[dict[str, Any]]:
    """Copy each item's chosen sample into images/.

    Args:
        module: The run.
        table: Predictions with source embeddings.
        finished: Records of the pictures that are whole.

    Returns:
        Per item with a picture: trial_id, chosen sample, and the cosines of all its samples.

    Raises:
        UsageError: There is no source embedding to compare with.
        BadInputError: There is no encoder of its space.
    """
    from PIL import Image

    device = module.trainer.strategy.root_device
    encoder = load_chooser(module.datamodule, table.source).to(device)
    assert table.source is not None
    choices = []
    for row in track(range(len(table)), "choosing samples"):
        trial = int(table.trial_id[row])
        samples = [finished[trial, k] for k in range(module.n_samples) if (trial, k) in finished]
        if not samples:
            continue
        files = [(module.run_folder / record.image).read_bytes() for record in samples]
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in files])
        with torch.no_grad():
            embedded = encoder(torch.from_numpy(pixels).to(device)).cpu().numpy()
        near = cosine(embedded, np.broadcast_to(table.source[row], embedded.shape))
        best = int(np.argmax(near))
        with atomic_path(module.run_folder / result_path(table, row)) as temporary:
            temporary.write_bytes(files[best])
        choices.append({"trial_id": trial, "sample": samples[best].sample, "cosines": [float(c) for c in near]})
    return choices
