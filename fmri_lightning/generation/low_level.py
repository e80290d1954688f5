"""The low-level path: latents of an autoencoder that are predicted from the brain, and say where things are.

An embedding says what was seen; a generator that knows nothing else puts it anywhere. The latents are predicted beside
it, in the front end, and the blurry picture they stand for is what the generator starts from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.embeddings.preprocess_images import ImagePreprocessing, resize_and_crop
from fmri_lightning.encoder.load import LoadedEncoder, load_encoder
from fmri_lightning.encoder.stored import require_inputs
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.controls import NEEDS_BRAIN, Condition, shuffled_partners
from fmri_lightning.generation.decoder import RETRIEVAL, DecoderConfig, takes
from fmri_lightning.generation.img2img import require_a_step
from fmri_lightning.generation.plan import Items
from fmri_lightning.generation.sampler import SamplingOptions
from fmri_lightning.records import require_latents, require_same_space

if TYPE_CHECKING:
    from fmri_lightning.embeddings.latent_encoder import LatentEncoder
    from fmri_lightning.generation.data import ReconstructionDataModule
    from fmri_lightning.generation.inputs import Inputs

Vectors = NDArray[np.float32]

TRUE = ("true_target", "true_source")
"""Conditions that draw from what was really shown; their layout is the true one too."""


@dataclass(frozen=True)
class LowLevel:
    """What the layout of a run comes from, checked.

    Attributes:
        encoder: Preprocessed betas to latents.
        cache: True latents of the pictures, for the conditions that draw from the truth; None for the others.
    """

    encoder: LoadedEncoder
    cache: EmbeddingCache | None = None


def check_low_level(checkpoint: str | None, blend: float, options: SamplingOptions, decoder: DecoderConfig) -> None:
    """Refuse settings that cannot be, before anything is opened.

    Args:
        checkpoint: Encoder of latents, or None.
        blend: Share of the blurry picture in the final one.
        options: Steps and strength.
        decoder: What draws.

    Raises:
        UsageError: A share outside 0..1 or of nothing, a strength that runs no step, or a decoder that draws nothing.
    """
    if not 0 <= blend < 1:
        raise UsageError(f"--model.low_level_blend lies in 0 to below 1, not {blend}")
    if checkpoint is None:
        if blend:
            raise UsageError("--model.low_level_blend mixes in what --model.low_level FILE predicts; name it")
        return
    if decoder.family == RETRIEVAL:
        raise UsageError("family nearest_neighbour finds pictures and starts from none; leave --model.low_level out")
    if decoder.family != "none" and not takes(decoder, "start"):
        raise UsageError(f"family {decoder.family} starts from no picture; leave --model.low_level out")
    require_a_step(options)


def open_low_level(inputs: Inputs, data: ReconstructionDataModule, checkpoint: str, condition: Condition) -> LowLevel:
    """Open the encoder of latents and refuse one that was not made for this run.

    Args:
        inputs: The run's other inputs; the hashes of what is opened here are added.
        data: The datamodule after its setup.
        checkpoint: Encoder checkpoint written by ``fit --config configs/encoder/low_level.yaml``.
        condition: What the pictures are drawn from.

    Returns:
        Encoder, and true latents where the condition asks for them.

    Raises:
        UsageError: The condition has no layout to draw from.
        BadInputError: The checkpoint predicts embeddings, or was fitted on other inputs than those at hand.
    """
    if condition == "unconditional":
        raise UsageError("condition unconditional draws from nothing, a start picture too; leave --model.low_level out")
    if inputs.given is not None:
        raise UsageError("--data.embeddings stands for the brain that --model.low_level reads; give one of the two")
    encoder, what = load_encoder(checkpoint), f"low-level encoder {checkpoint}"
    require_latents(encoder.space, what)
    if encoder.subject != data.subject:
        raise BadInputError(f"{what} is of {encoder.subject}, --data.subject is {data.subject}")
    wanted: dict[str, str] = {name: inputs.hashes[name] for name in ("preproc",) if name in inputs.hashes}
    if inputs.trained_split is not None:
        wanted["split"] = inputs.trained_split
    require_inputs(encoder.inputs, wanted, what)
    inputs.hashes["low_level"] = encoder.content_hash
    if condition not in TRUE:
        return LowLevel(encoder)
    if data.low_level_cache is None:
        raise UsageError(
            f"condition {condition} with --model.low_level starts from the true layout; name its latents with "
            "--data.low_level_cache FILE (fmri-lightning clip-cache --space …), or leave --model.low_level out"
        )
    cache = EmbeddingCache.open(data.low_level_cache)
    require_latents(cache.space, f"low-level cache {data.low_level_cache}")
    require_same_space(encoder.space, cache.space, what, f"low-level cache {data.low_level_cache}")
    cache.row_numbers(inputs.items.nsd_id)
    inputs.hashes["low_level_cache"] = cache.content_hash
    return LowLevel(encoder, cache)


def latents_of_items(
    low_level: LowLevel, items: Items, condition: Condition, seed: int, predict: Callable[[Any], Vectors]
) -> Vectors:
    """Take the latents of the full test set that a condition draws from.

    Args:
        low_level: Encoder, and true latents.
        items: The full test set.
        condition: What the pictures are drawn from: predictions, those of the same partners as the embeddings'
            (shuffled), the truth, or the mean of the training pictures.
        seed: Seed of the run.
        predict: Applies an encoder to every item's betas.

    Returns:
        (n, dim) float32.
    """
    if condition in NEEDS_BRAIN:
        predicted = predict(low_level.encoder)
        return predicted if condition == "predicted" else predicted[shuffled_partners(items, seed)]
    if condition == "mean":
        # The checkpoint's space carries the statistics of the training pictures.
        return np.tile(np.asarray(low_level.encoder.space.mean, np.float32), (len(items), 1))
    assert low_level.cache is not None
    return low_level.cache.rows(items.nsd_id)


def blank_start(autoencoder: LatentEncoder | None) -> Tensor | None:
    """Make a picture of the size that a run starts from, uint8 (1, side, side, 3); None where it starts from noise."""
    if autoencoder is None:
        return None
    side_px = autoencoder.preprocessing.crop_px
    return torch.zeros(1, side_px, side_px, 3, dtype=torch.uint8)


class Layouts:
    """Turns latents into the blurry pictures that a decoder starts from.

    Args:
        autoencoder: On its device, in float32.
        blend: Share of the blurry picture in the final one, pixel by pixel, 0 to below 1.
    """

    def __init__(self, autoencoder: LatentEncoder, blend: float = 0.0) -> None:
        self._autoencoder = autoencoder
        self.blend = blend

    def pictures(self, latents: Vectors) -> Tensor:
        """Decode latents, each by itself.

        Args:
            latents: (n, dim) float32.

        Returns:
            uint8 (n, side, side, 3) on the CPU.
        """
        device = next(self._autoencoder.parameters()).device
        with torch.no_grad():
            return self._autoencoder.decode(torch.from_numpy(np.ascontiguousarray(latents)).to(device)).cpu()

    def blended(self, drawn: Tensor, layouts: Tensor) -> Tensor:
        """Mix the blurry pictures into the drawn ones.

        Args:
            drawn: uint8 (n, height, width, 3), square.
            layouts: uint8 (n, side, side, 3), of any side.

        Returns:
            uint8 (n, height, width, 3); the drawn ones themselves where the share is 0.
        """
        if not self.blend:
            return drawn
        side_px = drawn.shape[1]
        resized = resize_and_crop(layouts, ImagePreprocessing(side_px, side_px)).permute(0, 2, 3, 1)
        mixed = (1 - self.blend) * drawn.float() + self.blend * resized
        return mixed.round().clamp(0, 255).to(torch.uint8)


def in_words(steps_run: int, steps: int, blend: float) -> str:
    """Say what the low-level path did to the pictures of a run.

    Args:
        steps_run: Denoising steps that were run.
        steps: Steps of the whole schedule.
        blend: Share of the blurry picture.

    Returns:
        A sentence or two.
    """
    said = (
        "The pictures start from a blurry one that was decoded from predicted latents of an autoencoder; "
        f"{steps_run} of {steps} denoising steps were run from there."
    )
    if not blend:
        return said
    return (
        f"{said} The blurry picture was then mixed into the final one, pixel by pixel, with a share of {blend:g}: "
        "pixel scores (PixCorr, SSIM) are those of the mixture and not of what the generator drew."
    )
