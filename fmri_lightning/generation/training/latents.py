"""Pictures turned into what a U-Net learns to draw: latents of an autoencoder, or pixels moved into channels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fmri_lightning.embeddings.distillation_pictures import PictureArray
from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.training.pictures import to_unit
from fmri_lightning.manifest import atomic_path, content_hash
from fmri_lightning.progress import track

PIXELS = "pixels"
"""In the place of an autoencoder's folder: draw pixels, two by two moved into channels."""


def check_autoencoder(name: str) -> None:
    """Refuse an autoencoder that is not there, before any work.

    Args:
        name: a folder, or ``pixels``.

    Raises:
        BadInputError: the folder holds no autoencoder.
    """
    if name != PIXELS and not (Path(name) / "config.json").is_file():
        raise BadInputError(f"no autoencoder in {name}; run: fmri-lightning fit --config configs/mini/autoencoder.yaml")


def load_autoencoder(name: str | Path) -> Any:
    """Load a frozen autoencoder in float32.

    Args:
        name: folder of an ``AutoencoderKL`` in diffusers format, safetensors; or ``pixels``.

    Returns:
        An ``AutoencoderKL``, or a ``PixelSpace`` with the same interface.
    """
    from diffusers import AutoencoderKL

    from fmri_lightning.generation.pixel_space import PixelSpace

    vae: Any
    if str(name) == PIXELS:
        vae = PixelSpace()
    else:
        vae = AutoencoderKL.from_pretrained(name, use_safetensors=True, local_files_only=True)
    return vae.float().eval().requires_grad_(False).to(memory_format=torch.channels_last)


def scaled_latents(vae: Any, pictures: Tensor) -> Tensor:
    """Encode uint8 (n, size, size, 3) into latents (n, channels, side, side) of unit scale."""
    x = to_unit(pictures)
    with torch.autocast(x.device.type, torch.bfloat16):
        mode: Tensor = vae.encode(x).latent_dist.mode()
    return mode.float() * float(vae.config.scaling_factor)


class Latents(nn.Module):
    """An autoencoder as a function of pictures, which can be told apart by its weights."""

    def __init__(self, name: str | nn.Module) -> None:
        """Load the autoencoder.

        Args:
            name: folder, or ``pixels``; or an autoencoder that is loaded already.
        """
        super().__init__()
        self.vae: Any = name if isinstance(name, nn.Module) else load_autoencoder(name)
        config: Any = self.vae.config
        weights = [value.cpu().numpy() for value in self.vae.state_dict().values()]
        self.key = content_hash(f"{type(self.vae).__name__} {config.scaling_factor}", *weights)

    def forward(self, pictures: Tensor) -> Tensor:
        """Encode uint8 (n, size, size, 3) into latents (n, channels, side, side) of unit scale."""
        return scaled_latents(self.vae, pictures)


@torch.no_grad()
def computed_once(
    function: Callable[[Tensor], Tensor], key: str, pictures: PictureArray, what: str, cache_dir: Path
) -> Tensor:
    """Apply a frozen network to pictures, or find what it gave in the cache.

    Args:
        function: of uint8 (n, size, size, 3); moved to the GPU, where there is one, if it is a module.
        key: tells the function from others.
        pictures: uint8 (n, size, size, 3).
        what: word for progress and file name.
        cache_dir: where results are kept, under a hash of key and pictures.

    Returns:
        float16 (n, ...), on the CPU.
    """
    path = cache_dir / f"{what}_{content_hash(key, pictures)[:16]}.safetensors"
    if not path.exists():
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if isinstance(function, nn.Module):
            function.to(device)
        parts = torch.from_numpy(pictures).split(256)
        done = [function(part.to(device)).half().cpu() for part in track(parts, f"computing {what}", len(parts))]
        with atomic_path(path) as temporary:
            save_file({what: torch.cat(done).contiguous()}, temporary)
    found: Tensor = load_file(path)[what]
    return found
