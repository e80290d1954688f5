"""What a network is trained for: cosine, squared error and contrast, and how the contrast changes over a fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from fmri_lightning.encoder.losses import (
    contrastive_loss,
    cosine_loss,
    mixed_picture,
    same_picture,
    similar_picture,
)
from fmri_lightning.errors import UsageError

Contrast = Literal["info_nce", "softclip", "bimixco_softclip"]
"""InfoNCE; SoftCLIP; BiMixCo for the first part of a fit and SoftCLIP for the rest (MindEye1's schedule)."""

MIXED_ROWS = 0.5
"""Share of the rows of a batch that are mixed, and MIX_BETA the law of their shares: MindEye1's values."""
MIX_BETA = 0.15


@dataclass(frozen=True)
class Mixed:
    """A batch of which some rows were mixed with others.

    Attributes:
        features: (n, n_features).
        targets: Standardised targets, mixed alike, (n, dim).
        match: What each row shows, (n, n); rows add up to 1.
    """

    features: Tensor
    targets: Tensor
    match: Tensor


@dataclass(frozen=True)
class Objective:
    """``cosine_weight (1 - cos) + mse_weight MSE + contrast_weight contrast``, on standardised targets.

    Attributes:
        cosine_weight: Weight of one minus cosine.
        mse_weight: Weight of the mean squared error.
        contrast_weight: Weight of the contrastive loss; 0 leaves it out.
        contrast: Which contrastive loss.
        mixco_share: Share of the steps that "bimixco_softclip" spends on BiMixCo.
        temperature: Of InfoNCE and BiMixCo.
        soft_temperature: Of SoftCLIP at its first and last step; half a cosine lies between.
    """

    cosine_weight: float = 1.0
    mse_weight: float = 0.5
    contrast_weight: float = 0.0
    contrast: Contrast = "info_nce"
    mixco_share: float = 1 / 3
    temperature: float = 0.07
    soft_temperature: tuple[float, float] = (0.05, 0.1)

    def __post_init__(self) -> None:
        weights = (self.cosine_weight, self.mse_weight, self.contrast_weight)
        if min(weights) < 0 or sum(weights) == 0:
            raise UsageError(f"weights of the loss are not negative and not all 0, got {weights}")
        if not 0 <= self.mixco_share <= 1:
            raise UsageError(f"mixco_share lies in 0..1, got {self.mixco_share}")
        if min(self.temperature, *self.soft_temperature) <= 0:
            raise UsageError("temperatures are above 0")

    def mixes(self, progress: float) -> bool:
        """Tell whether rows are mixed at this share of the fit, 0..1."""
        return self.contrast_weight > 0 and self.contrast == "bimixco_softclip" and progress < self.mixco_share

    def mix(self, features: Tensor, targets: Tensor, ids: Tensor, progress: float) -> Mixed:
        """Mix rows where the schedule says so, by torch's global generator.

        Args:
            features: (n, n_features).
            targets: Standardised, (n, dim).
            ids: Picture of each row, (n,).
            progress: Share of the fit that is over, 0..1.

        Returns:
            The batch; unchanged, with each row matching its own picture, where nothing is mixed.
        """
        if not self.mixes(progress):
            return Mixed(features, targets, same_picture(ids))
        n, device = len(features), features.device
        partner = torch.randperm(n).to(device)
        share = torch.distributions.Beta(MIX_BETA, MIX_BETA).sample((n,)).to(features)
        share = torch.where(torch.rand(n).to(device) < MIXED_ROWS, share, torch.ones_like(share))
        own = share[:, None]
        return Mixed(
            own * features + (1 - own) * features[partner],
            own * targets + (1 - own) * targets[partner],
            mixed_picture(ids, partner, share),
        )

    def __call__(self, predicted: Tensor, batch: Mixed, whole_targets: Tensor, progress: float) -> dict[str, Tensor]:
        """Compute the terms that have a weight.

        Args:
            predicted: Standardised predictions of the mixed batch, (n, dim).
            batch: The mixed batch.
            whole_targets: Standardised targets before mixing, (n, dim), which the contrast compares with.
            progress: Share of the fit that is over, 0..1.

        Returns:
            Each term, not yet weighted, and their weighted sum as "loss".
        """
        terms: dict[str, Tensor] = {}
        if self.cosine_weight:
            terms["cosine"] = cosine_loss(predicted, batch.targets)
        if self.mse_weight:
            terms["mse"] = functional.mse_loss(predicted, batch.targets)
        if self.contrast_weight:
            terms["contrast"] = self._contrast(predicted, batch, whole_targets, progress)
        weights = {"cosine": self.cosine_weight, "mse": self.mse_weight, "contrast": self.contrast_weight}
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return {"loss": loss, **terms}

    def _contrast(self, predicted: Tensor, batch: Mixed, whole_targets: Tensor, progress: float) -> Tensor:
        if self.contrast == "info_nce" or self.mixes(progress):
            return contrastive_loss(predicted, whole_targets, batch.match, batch.match.T, self.temperature)
        start = self.mixco_share if self.contrast == "bimixco_softclip" else 0.0
        temperature = half_cosine(*self.soft_temperature, (progress - start) / max(1e-9, 1 - start))
        match = similar_picture(whole_targets, temperature)
        return contrastive_loss(predicted, whole_targets, match, match, temperature)


def half_cosine(first: float, last: float, progress: float) -> float:
    """Go from one value to another along half a cosine.

    Args:
        first: Value at progress 0.
        last: Value at progress 1.
        progress: Clipped to 0..1.

    Example:
        >>> half_cosine(1.0, 3.0, 0.0), half_cosine(1.0, 3.0, 0.5), half_cosine(1.0, 3.0, 1.0)
        (1.0, 2.0, 3.0)
    """
    share = min(1.0, max(0.0, progress))
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
