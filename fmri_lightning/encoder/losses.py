"""Losses between predicted and true embeddings."""

from __future__ import annotations

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


def contrastive_loss(predicted: Tensor, true: Tensor, match: Tensor, back: Tensor, temperature: float) -> Tensor:
    """Symmetric cross-entropy between the cosines of a batch and a given weight of every pair.

    Args:
        predicted: (n, dim), any scale; compared by cosine.
        true: (n, dim), any scale.
        match: Weight of true row j for predicted row i, (n, n); picture from brain.
        back: Weight of predicted row j for true row i, (n, n); brain from picture.
        temperature: Divides the cosines.

    Returns:
        Scalar; ln(n) for predictions without information, where the weights of a row add up to 1.

    Raises:
        ValueError: If the temperature is not positive.
    """
    _require_positive(temperature)
    logits = functional.normalize(predicted, dim=-1) @ functional.normalize(true, dim=-1).T / temperature
    return (functional.cross_entropy(logits, match) + functional.cross_entropy(logits.T, back)) / 2


def same_picture(ids: Tensor) -> Tensor:
    """Match of InfoNCE: repeats of one picture share the probability, for they are no distractors of each other.

    Args:
        ids: Picture of each row, (n,) integers.

    Returns:
        Float32 (n, n), rows add up to 1.
    """
    same = (ids[:, None] == ids[None, :]).float()
    return same / same.sum(dim=1, keepdim=True)


def mixed_picture(ids: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """Match of BiMixCo (Scotti et al., 2023): a mixed row shows its own picture and its partner's, by their shares.

    Args:
        ids: Picture of each row, (n,) integers.
        partner: Row that was mixed in, (n,).
        share: Share of the row itself, (n,) in 0..1; 1 where nothing was mixed in.

    Returns:
        Float32 (n, n), rows add up to 1.
    """
    own = same_picture(ids)
    return share[:, None] * own + (1 - share[:, None]) * own[partner]


def similar_picture(true: Tensor, temperature: float) -> Tensor:
    """Match of SoftCLIP (Gao et al., 2023; Scotti et al., 2023): a softmax over the true pictures' own similarity.

    Args:
        true: Targets, (n, dim), any scale.
        temperature: Divides the cosines; the smaller, the nearer to InfoNCE.

    Returns:
        (n, n), rows add up to 1.

    Raises:
        ValueError: If the temperature is not positive.
    """
    _require_positive(temperature)
    unit = functional.normalize(true, dim=-1)
    return (unit @ unit.T / temperature).softmax(dim=-1)


def _require_positive(temperature: float) -> None:
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
