"""A CLIP image tower that gives raw projections, and what it says about its own space."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fmri_lightning.embeddings.preprocess_images import ImagePreprocessing, preprocess_images
from fmri_lightning.embeddings.spaces import SPACES, SpaceSpec, resolve_space
from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import content_hash, read_json
from fmri_lightning.records import EmbeddingSpace

N_PROBE = 8


class ImageEncoder(nn.Module):
    """`CLIPVisionModelWithProjection` of transformers behind its picture preprocessing.

    Args:
        model: A `CLIPVisionModelWithProjection`; kept in fp32 and in eval mode.
        preprocessing: Steps before its first layer.
        spec: Where the weights came from.
    """

    def __init__(self, model: nn.Module, preprocessing: ImagePreprocessing, spec: SpaceSpec) -> None:
        super().__init__()
        self.model: Any = model.float().eval().requires_grad_(False)
        self.preprocessing = preprocessing
        self.spec = spec
        self._space: EmbeddingSpace | None = None

    @classmethod
    def from_space(cls, space: str | SpaceSpec, revision: str | None = None) -> ImageEncoder:
        """Load the encoder of a known space or of a folder.

        Args:
            space: Name in :data:`SPACES`, a folder written by ``save_pretrained``, a hub id (with a
                revision), or a resolved spec.
            revision: Commit of the hub repository.

        Returns:
            The encoder on the CPU, in fp32.

        Raises:
            UsageError: If the name is unknown.
            BadInputError: If the weights are not on this machine, not safetensors, or of another model.
        """
        if isinstance(space, str):
            named = space in SPACES or revision is None
            space = resolve_space(space, revision=revision) if named else resolve_space(None, space, revision)
        if space.kind == "latents":
            raise BadInputError(
                f"space {space.name!r} is one of latents, an image encoder is meant here; name one of embeddings"
            )
        location = space.location() if space.is_folder else fetched(space)
        model = _load_tower(location, space)
        dim = int(model.config.projection_dim)
        if space.dim is not None and dim != space.dim:
            raise BadInputError(
                f"{space.model_id} gives {dim}-D embeddings but space {space.name!r} is {space.dim}-D; "
                "it holds another model"
            )
        config = _preprocessor_config(location)
        return cls(model, ImagePreprocessing.from_config(config, int(model.config.image_size)), space)

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self.model.config.projection_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Encode pictures.

        Args:
            images: uint8 (n, height, width, 3), 0..255.

        Returns:
            Raw projections, not normalised, (n, dim) float32.
        """
        pixels = preprocess_images(images, self.preprocessing)
        # Under a half-precision context the cached vectors would depend on the device.
        with torch.autocast(device_type=pixels.device.type, enabled=False):
            embeddings: Tensor = self.model(pixel_values=pixels).image_embeds
        return embeddings

    @property
    def space(self) -> EmbeddingSpace:
        """The space with the vectors of the eight probe pictures; computed on first use."""
        if self._space is None:
            self._space = EmbeddingSpace(
                name=self.spec.name,
                model_id=self.spec.model_id,
                revision=self.spec.revision or "",
                dim=self.dim,
                pooling="projection",
                scale="raw",
                probe=probe_vectors(self),
                weights_hash=weights_hash(self.model),
            )
        return self._space


def probe_pictures() -> np.ndarray:
    """Draw the eight fixed pictures whose vectors identify a space.

    Returns:
        uint8 (8, 64, 64, 3), 0..255.
    """
    from fmri_lightning.simulate.scenes import draw_scenes

    pictures, _ = draw_scenes("probe", range(N_PROBE))
    return pictures


def weights_hash(model: nn.Module) -> str:
    """Hash parameters by name and value.

    Args:
        model: Any module; weights stored as fp16 and loaded as fp32 hash the same in every process.

    Returns:
        64 hexadecimal digits.
    """
    parts: list[np.ndarray | bytes | str] = []
    for name, value in sorted(model.state_dict().items()):
        parts += [name, value.detach().cpu().contiguous().numpy()]
    return content_hash(*parts)


def probe_vectors(encoder: nn.Module) -> tuple[tuple[float, ...], ...]:
    """Encode the probe pictures.

    Args:
        encoder: uint8 (n, height, width, 3) to (n, dim).

    Returns:
        (8, dim).
    """
    device = next(encoder.parameters()).device
    with torch.inference_mode():
        vectors = encoder(torch.from_numpy(probe_pictures()).to(device))
    return tuple(tuple(vector) for vector in vectors.cpu().tolist())


def fetched(spec: SpaceSpec) -> str:
    """Put a hub model's files on this machine, or find them in its cache; from there on it is a folder.

    Args:
        spec: A space whose weights are on the hub.

    Returns:
        The folder.

    Raises:
        BadInputError: They are in neither place; the message holds the command that downloads them.
    """
    try:
        return str(spec.hub_files().download())
    except (OSError, ValueError) as error:
        raise _not_loadable(spec.model_id, spec, error) from error


def _load_tower(location: str, spec: SpaceSpec) -> Any:
    import transformers
    from transformers.utils import logging as transformers_logging

    # A full CLIP checkpoint also holds the text tower; transformers prints a page about what it left out.
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    tower: Any = transformers.CLIPVisionModelWithProjection
    try:
        model, info = tower.from_pretrained(
            location,
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _not_loadable(location, spec, error) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
    if info["missing_keys"]:
        # transformers would leave these at random values.
        raise BadInputError(
            f"{location} lacks {len(info['missing_keys'])} weights of a CLIP image tower "
            f"(first: {sorted(info['missing_keys'])[0]}); give a CLIP or CLIPVisionModelWithProjection checkpoint"
        )
    return model


def first_line_of(error: Exception) -> str:
    """Shorten what a library says to its first line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _not_loadable(location: str, spec: SpaceSpec, error: Exception) -> BadInputError:
    if spec.is_folder:
        return BadInputError(f"{location} is not a readable CLIP image encoder in safetensors: {first_line_of(error)}")
    what = "image encoder" if spec.kind == "embeddings" else "autoencoder"
    return BadInputError(
        f"{what} {spec.model_id} (revision {spec.revision}) is not on this machine and could not be "
        f"fetched; on a machine with a network run: {spec.download_command()}"
    )


def _preprocessor_config(location: str) -> dict[str, Any]:
    path = Path(location) / "preprocessor_config.json"
    if not path.is_file():
        return {}
    config: dict[str, Any] = read_json(path)
    return config
