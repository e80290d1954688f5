"""The posterior p(z | v) of a known brain, up to a constant, for many items and chains at once.

With phi(z) the features, the mean v of n trials enters through t = n C^T Sigma_n^-1 v and F = n C^T Sigma_n^-1 C
alone: log p(z | v) = t . phi - phi . F phi / 2 - |z|^2 / 2 + constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor

from fmri_lightning.ceiling.brain import KnownBrain
from fmri_lightning.ceiling.features import FloatArray, HermiteFeatures

NEWTON_STEPS = 12
"""Gauss-Newton steps towards a mode; a few suffice where the posterior is nearly Gaussian."""

MODE_BLOCK = 128
"""Items climbed at a time; bounds the memory of the derivatives."""


class TorchFeatures:
    """phi and the pull-back of gradients through it, in torch float64."""

    def __init__(self, features: HermiteFeatures) -> None:
        self.n_latents = features.n_latents
        self.first, self.second = torch.from_numpy(features.first), torch.from_numpy(features.second)
        self.factor, self.offset = torch.from_numpy(features.factor), torch.from_numpy(features.offset)
        eye = torch.eye(self.n_latents, dtype=torch.float64)
        self._pick_first, self._pick_second = eye[self.first], eye[self.second]

    def __call__(self, z: Tensor) -> Tensor:
        """Evaluate phi of z (..., K), (..., F)."""
        return torch.cat([z, z[..., self.first] * z[..., self.second] * self.factor - self.offset], dim=-1)

    def pull_back(self, z: Tensor, slope: Tensor) -> Tensor:
        """Turn a gradient by phi (..., F) into one by z (..., K)."""
        linear, pairs = slope[..., : self.n_latents], slope[..., self.n_latents :] * self.factor
        return (
            linear + (pairs * z[..., self.second]) @ self._pick_first + (pairs * z[..., self.first]) @ self._pick_second
        )


@dataclass(frozen=True, eq=False)
class VoxelInformation:
    """What is computed once per brain: C^T Sigma_n^-1 (F, V) and C^T Sigma_n^-1 C (F, F)."""

    readout: FloatArray
    fisher: FloatArray

    @classmethod
    def of(cls, brain: KnownBrain) -> VoxelInformation:
        """Solve for a brain; one Cholesky decomposition of Sigma_n."""
        readout = cho_solve(cho_factor(brain.noise_covariance, lower=True), brain.tuning).T
        return cls(readout, readout @ brain.tuning)


@dataclass(frozen=True, eq=False)
class Target:
    """Posterior density of some items.

    Attributes:
        phi: Features.
        t: (items, F).
        fisher: n C^T Sigma_n^-1 C, (F, F).
    """

    phi: TorchFeatures
    t: Tensor
    fisher: Tensor

    def evaluate(self, z: Tensor, heat: Tensor | float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """Compute log density, its gradient and phi.

        Args:
            z: Latents, (items, chains, K).
            heat: Power of the likelihood of each chain, (chains,): 0 leaves the prior, 1 is the posterior.

        Returns:
            Log density (items, chains), gradient (items, chains, K) and phi (items, chains, F).
        """
        phi = self.phi(z)
        pull = phi @ self.fisher
        t = self.t[:, None]
        power = torch.as_tensor(heat, dtype=z.dtype)
        log_density = power * (phi * (t - 0.5 * pull)).sum(-1) - 0.5 * z.square().sum(-1)
        return log_density, power[..., None] * self.phi.pull_back(z, t - pull) - z, phi


def find_modes(target: Target, features: HermiteFeatures, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Climb from three starts and keep the best mode of each item.

    The starts are the linear estimate of the latents, zero, and a draw from the prior.

    Args:
        target: Density of the items.
        features: The same features, for their derivatives.
        generator: Of the prior draw.

    Returns:
        Modes (items, K), and the Gauss-Newton precision there (items, K, K).
    """
    identity = torch.eye(features.n_features, dtype=torch.float64)
    linear = torch.linalg.solve(identity + target.fisher, target.t.T).T[:, : features.n_latents]
    prior = torch.randn(linear.shape, dtype=torch.float64, generator=generator)
    modes, precisions = [], []
    for start in range(0, len(linear), MODE_BLOCK):
        block = slice(start, start + MODE_BLOCK)
        part = Target(target.phi, target.t[block], target.fisher)
        found = [_climb(part, features, begin[block]) for begin in (linear, torch.zeros_like(linear), prior)]
        best = torch.stack([value for _, value in found]).argmax(dim=0)
        modes.append(torch.stack([point for point, _ in found])[best, torch.arange(len(best))])
        precisions.append(_precision(part, features, modes[-1]))
    return torch.cat(modes), torch.cat(precisions)


def _climb(target: Target, features: HermiteFeatures, point: Tensor) -> tuple[Tensor, Tensor]:
    """Take damped Gauss-Newton steps; return points (items, K) and log densities (items,)."""
    damping = torch.full((len(point),), 1e-3, dtype=torch.float64)
    eye = torch.eye(features.n_latents, dtype=torch.float64)
    value, gradient, _ = (x[:, 0] for x in target.evaluate(point[:, None]))
    for _ in range(NEWTON_STEPS):
        damped = _precision(target, features, point) + damping[:, None, None] * eye
        trial = point + torch.linalg.solve(damped, gradient)
        new_value, new_gradient, _ = (x[:, 0] for x in target.evaluate(trial[:, None]))
        better = new_value >= value
        point = torch.where(better[:, None], trial, point)
        gradient = torch.where(better[:, None], new_gradient, gradient)
        value = torch.where(better, new_value, value)
        damping = torch.where(better, damping / 10, damping * 10)
    return point, value


def _precision(target: Target, features: HermiteFeatures, point: Tensor) -> Tensor:
    """Prior precision plus Fisher information at points (items, K); (items, K, K)."""
    slopes = torch.from_numpy(features.jacobian(point.numpy()))
    eye = torch.eye(features.n_latents, dtype=torch.float64)
    return eye + slopes.transpose(1, 2) @ (target.fisher @ slopes)


def make_target(brain: KnownBrain, information: VoxelInformation, voxels: FloatArray, n_repeats: int) -> Target:
    """Build the density for mean voxels of n repeats.

    Args:
        brain: The known brain.
        information: Of that brain.
        voxels: (items, V), standard deviations of the signal.
        n_repeats: Trials averaged in each row.

    Returns:
        The density.
    """
    t = n_repeats * (np.asarray(voxels, dtype=np.float64) @ information.readout.T)
    fisher = n_repeats * information.fisher
    return Target(TorchFeatures(brain.features), torch.from_numpy(t), torch.from_numpy((fisher + fisher.T) / 2))
