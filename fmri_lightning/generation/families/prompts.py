"""What a text says to a U-Net: states of no prompt and of a prompt, once a run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def prompt_states(pipeline: Any, prompt: str) -> tuple[Tensor, Tensor | None]:
    """Run the text encoders of a pipeline.

    Args:
        pipeline: A Stable Diffusion pipeline of diffusers, with its text encoders.
        prompt: The text.

    Returns:
        float32 states (2, tokens, width) of no prompt and of the prompt, and for SDXL the pooled ones (2, width).
    """
    with torch.no_grad():
        found = pipeline.encode_prompt(
            prompt=prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True
        )
    text = torch.cat([found[1], found[0]]).float()
    return text, torch.cat([found[3], found[2]]).float() if len(found) == 4 else None


def of_each(pair: Tensor, n: int) -> Tensor:
    """Repeat (2, ...), unconditional first, to (2 n, ...)."""
    return torch.cat([row.expand(n, *row.shape[1:]) for row in pair.split(1)])
