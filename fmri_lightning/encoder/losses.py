"""Losses between predicted and true embeddings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cosine_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean of one minus cosine.

    Args:
        predicted: (n, dim), any scale.
        true: (n, dim), any scale.

    Returns:
        Scalar in 0..2.
    """
    return (1 - functional.cosine_similarity(predicted, true, dim=-1)).mean()


def info_nce_loss(predicted: Tensor, true: Tensor, temperature: float = 0.07, ids: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE between rows of a batch (Oord et al., 2018; Radford et al., 2021).

    Args:
        predicted: (n, dim), any scale; compared by cosine.
        true: (n, dim), any scale.
        temperature: Divides the cosines.
        ids: Picture of each row, (n,) integers; rows of one picture share the probability of being the match, for
            they are not distractors of each other. None when all differ.

    Returns:
        Scalar, ln(n) for predictions without information.

    Raises:
        ValueError: If the temperature is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    logits = functional.normalize(predicted, dim=-1) @ functional.normalize(true, dim=-1).T / temperature
    if ids is None:
        ids = torch.arange(len(logits), device=logits.device)
    same = (ids[:, None] == ids[None, :]).to(logits.dtype)
    match = same / same.sum(dim=1, keepdim=True)
    return (functional.cross_entropy(logits, match) + functional.cross_entropy(logits.T, match)) / 2
