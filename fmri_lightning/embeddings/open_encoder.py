"""Open the model of a space, whichever kind it is of."""

from __future__ import annotations

from fmri_lightning.embeddings.image_encoder import ImageEncoder
from fmri_lightning.embeddings.latent_encoder import LatentEncoder
from fmri_lightning.embeddings.spaces import SpaceSpec

PictureEncoder = ImageEncoder | LatentEncoder
"""uint8 (n, height, width, 3) to (n, dim) float32, with ``space``, ``dim`` and ``spec``."""


def open_encoder(spec: SpaceSpec) -> PictureEncoder:
    """Load the image tower or the autoencoder of a space.

    Args:
        spec: The resolved space.

    Returns:
        The encoder on the CPU, in float32.

    Raises:
        BadInputError: The weights are not on this machine, not safetensors, or of another model.
    """
    return LatentEncoder.from_space(spec) if spec.kind == "latents" else ImageEncoder.from_space(spec)
