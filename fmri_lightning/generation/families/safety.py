"""The safety checker of Stable Diffusion 1.x, which its pipeline answers with a black picture: here it only says no."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fmri_lightning.embeddings.preprocess_images import ImagePreprocessing, preprocess_images
from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.families.loading import quiet_libraries


class SafetyChecker(nn.Module):
    """Compares pictures with concepts in a CLIP space (Rando et al. 2022, arXiv 2210.04610).

    Args:
        model: ``StableDiffusionSafetyChecker`` of diffusers, in float32.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.float().eval().requires_grad_(False)
        side = int(model.config.vision_config.image_size)
        self._preprocessing = ImagePreprocessing.from_config({}, side)

    @torch.no_grad()
    def flagged(self, images: Tensor) -> Tensor:
        """Say which pictures it objects to.

        Args:
            images: uint8 (batch, height, width, 3).

        Returns:
            bool (batch,) on the CPU.
        """
        device = next(self.model.parameters()).device
        inputs = preprocess_images(images.to(device), self._preprocessing)
        # The model paints what it objects to black; it gets something else to paint.
        canvas = [torch.zeros(1) for _ in range(len(images))]
        with quiet_libraries():
            _, found = self.model(clip_input=inputs, images=canvas)
        return torch.tensor([bool(one) for one in found])


def load_safety_checker(folder: Path) -> SafetyChecker:
    """Load the checker of a Stable Diffusion 1.x folder.

    Args:
        folder: Folder in diffusers format.

    Returns:
        The checker on the CPU.

    Raises:
        BadInputError: The folder has none, or not as safetensors.
    """
    with quiet_libraries():
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

        loader: Any = StableDiffusionSafetyChecker
        try:
            model = loader.from_pretrained(folder / "safety_checker", use_safetensors=True, local_files_only=True)
        except (OSError, ValueError) as error:
            line = " ".join(str(error).split())[:200]
            raise BadInputError(
                f"{folder} holds no readable safety checker ({line}); set model.decoder.safety_checker false"
            ) from error
    return SafetyChecker(model)
