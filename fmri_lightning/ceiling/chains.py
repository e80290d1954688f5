"""Hamiltonian Monte Carlo over many items and chains at once, and the moments of what it draws."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fmri_lightning.ceiling.target import Target

LOST_NATS = 15.0
"""A chain whose mean log density lies this far below the best chain of its item sits in a dent that holds a millionth
of the mass or so."""

ACCEPTANCE_GOAL = 0.8
"""Mean acceptance that step sizes are adapted to (Betancourt et al. 2014, arXiv:1411.6669, advise .6 to .9)."""


class Chain:
    """State of all chains, (items, chains, K), and the step size of each item.

    Args:
        target: Density of the items.
        unwhiten: (items, K, K); z = u @ unwhiten, where u has about unit precision.
        start: First latents, (items, chains, K).
        generator: Source of chance.
        power: Power of the likelihood in each chain, (chains,); all 1 when None.
    """

    def __init__(
        self, target: Target, unwhiten: Tensor, start: Tensor, generator: torch.Generator, power: Tensor | None = None
    ) -> None:
        self.target, self.unwhiten, self.generator = target, unwhiten, generator
        self.z = start
        self.power = torch.ones(start.shape[1], dtype=torch.float64) if power is None else power
        self.value, self.gradient, self.phi = target.evaluate(start, self.power)
        self.log_step = torch.full((len(start),), np.log(0.3), dtype=torch.float64)
        self._kept_sum, self._kept = torch.zeros_like(self.log_step), 0.0
        self._accepted = torch.zeros(start.shape[:2], dtype=torch.float64)

    def set_power(self, first_chain: int, power: float) -> None:
        """Raise the likelihood to a power in the chains from ``first_chain`` on."""
        if power != float(self.power[-1]):
            self.power[first_chain:] = power
            self.value, self.gradient, self.phi = self.target.evaluate(self.z, self.power)

    def step(self, longest: int) -> Tensor:
        """Do one HMC iteration; return the acceptance probability of each chain, (items, chains)."""
        # Jitter keeps trajectories from closing on themselves.
        jitter = 0.8 + 0.4 * torch.rand(len(self.z), dtype=torch.float64, generator=self.generator)
        step = (self.log_step.exp() * jitter)[:, None, None]
        momentum = torch.randn(self.z.shape, dtype=torch.float64, generator=self.generator)
        energy = self.value - 0.5 * momentum.square().sum(-1)
        whiten_gradient = self.unwhiten.transpose(1, 2)
        z, value, gradient, phi = self.z, self.value, self.gradient, self.phi
        momentum = momentum + 0.5 * step * (gradient @ whiten_gradient)
        n_steps = int(torch.randint(min(2, longest), longest + 1, (1,), generator=self.generator))
        for k in range(n_steps):
            z = z + step * (momentum @ self.unwhiten)
            value, gradient, phi = self.target.evaluate(z, self.power)
            momentum = momentum + (0.5 if k == n_steps - 1 else 1.0) * step * (gradient @ whiten_gradient)
        change = value - 0.5 * momentum.square().sum(-1) - energy
        # A trajectory that flew off to infinity is refused.
        self._accepted = torch.nan_to_num(change, nan=-torch.inf).clamp(max=0).exp()
        taken = torch.rand(change.shape, dtype=torch.float64, generator=self.generator) < self._accepted
        self.z = torch.where(taken[..., None], z, self.z)
        self.gradient = torch.where(taken[..., None], gradient, self.gradient)
        self.phi = torch.where(taken[..., None], phi, self.phi)
        self.value = torch.where(taken, value, self.value)
        return self._accepted

    def adapt(self, iteration: int) -> None:
        """Move each item's step size towards the acceptance aimed at (Robbins and Monro)."""
        gain = (iteration + 1) ** -0.6
        self.log_step = self.log_step + gain * (self._accepted.mean(dim=1) - ACCEPTANCE_GOAL)
        # Later steps weigh more in the mean that is kept.
        weight = float(iteration + 1) ** 2
        self._kept_sum, self._kept = self._kept_sum + weight * self.log_step, self._kept + weight

    def swap(self, levels: int) -> None:
        """Exchange states between neighbouring powers (replica exchange), which leaves every density as it is.

        Args:
            levels: Chains of a ladder; the chains are ladders one after the other, powers falling in each.
        """
        items, chains = self.value.shape
        shape = (items, chains // levels, levels)
        prior = -0.5 * self.z.square().sum(-1)
        likelihood = ((self.value - prior) / self.power).view(shape)
        slope = (self.gradient + self.z) / self.power[:, None]
        first = int(torch.randint(0, 2, (1,), generator=self.generator))
        low = torch.arange(first, levels - 1, 2)
        power = self.power[:levels]
        gain = (power[low] - power[low + 1]) * (likelihood[..., low + 1] - likelihood[..., low])
        accepted = torch.rand(gain.shape, dtype=torch.float64, generator=self.generator) < gain.exp()
        order = torch.arange(levels).repeat(*shape[:2], 1)
        order[..., low] += accepted.long()
        order[..., low + 1] -= accepted.long()
        chain = (order + levels * torch.arange(shape[1])[:, None]).view(items, chains)
        item = torch.arange(items)[:, None]
        self.z, self.phi, slope = self.z[item, chain], self.phi[item, chain], slope[item, chain]
        self.value = self.power * likelihood.reshape(items, chains)[item, chain] + prior[item, chain]
        self.gradient = self.power[:, None] * slope - self.z

    def move_lost(self, height: Tensor) -> None:
        """Put chains far below the best one of their item onto its place.

        Args:
            height: Mean log density of each chain, (items, chains).
        """
        best = height.argmax(dim=1)
        lost = height < height.amax(dim=1, keepdim=True) - LOST_NATS
        item = torch.arange(len(best))
        for name in ("z", "gradient", "phi"):
            state = getattr(self, name)
            setattr(self, name, torch.where(lost[..., None], state[item, best][:, None], state))
        self.value = torch.where(lost, self.value[item, best][:, None], self.value)

    def freeze(self) -> None:
        """Fix the step size at its weighted mean over the warm-up."""
        self.log_step = self._kept_sum / self._kept


class Moments:
    """Sums of phi per half chain, for means, split R-hat and Monte Carlo error."""

    def __init__(self, shape: torch.Size | tuple[int, ...], n_features: int) -> None:
        self.sum = torch.zeros((2, *shape, n_features), dtype=torch.float64)
        self.squares = torch.zeros_like(self.sum)
        self.count = [0, 0]

    def add(self, phi: Tensor, half: int) -> None:
        """Add one draw of all chains to the first or second half."""
        self.sum[half] += phi
        self.squares[half] += phi.square()
        self.count[half] += 1

    def finish(self, gram: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mean of phi (items, F), the largest split R-hat and the error of the embedding (items,)."""
        n = self.count[0]
        # (halves of chains, items, F)
        means = (self.sum / n).permute(0, 2, 1, 3).flatten(0, 1)
        within = ((self.squares / n).permute(0, 2, 1, 3).flatten(0, 1) - means.square()) * n / (n - 1)
        mean, m = means.mean(dim=0), len(means)
        deviation = means - mean
        between = deviation.square().sum(dim=0) / (m - 1)
        rhat = ((n - 1) / n + between / within.mean(dim=0)).sqrt().amax(dim=-1)
        error = ((deviation @ gram * deviation).sum(-1).sum(dim=0) / (m * (m - 1))).sqrt()
        return mean, rhat, error
