"""E[e | voxels] of a known brain by Hamiltonian Monte Carlo: the least squared error that any decoder can reach.

All items and chains run at once. Each item has a mass matrix of its own, the Gauss-Newton precision at its mode, and
a step size of its own, adapted in the warm-up. Half of the chains start from the prior, half near the mode; that
both halves agree is checked by split R-hat over every feature, and told. Quadratic features can give a posterior
several hills; items whose chains have not met are sampled once more by replica exchange.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmri_lightning.ceiling.brain import KnownBrain
from fmri_lightning.ceiling.chains import Chain, Moments
from fmri_lightning.ceiling.features import FloatArray
from fmri_lightning.ceiling.target import Target, VoxelInformation, find_modes, make_target
from fmri_lightning.errors import BadInputError
from fmri_lightning.progress import track

RHAT_LIMIT = 1.1
"""Split R-hat above which an item's chains have not met."""

BAD_SHARE_LIMIT = 0.01
"""Share of items above it from which the whole result counts as not converged."""

FIRST_POWER, COOLING_SHARE = 0.01, 0.6
"""Chains from the prior see the likelihood to a power that grows from the first number to 1 over this share of the
warm-up, so that they settle where the posterior has its mass and not in the nearest dent."""

JUDGED_SHARE = 0.8
"""After this share of the warm-up, chains that are lost go on from the place of the best one."""

LADDER = 0.75 ** np.arange(9)
"""Powers of the likelihood in the second round, 1 to 0.1. States pass between neighbours about every second try when
some 30 latents are seen; at the last one the posterior has one hill where it had several."""

LADDER_ROUNDS = 2
"""The second round is this much longer than the first."""


@dataclass(frozen=True)
class SamplerSettings:
    """How long to sample.

    Attributes:
        chains: Chains an item; half start from the prior.
        warmup: Iterations that adapt the step size and are thrown away.
        draws: Iterations kept, an even number.
        leapfrog: Longest trajectory in steps; each iteration draws a length from 2 on, so that no length closes on
            itself for every direction.
        items: Items sampled at once; bounds the memory.
        temper_all: Sample every item by replica exchange, not only those whose chains have not met: twenty times
            the cost, and no hill is missed that all chains passed by.
    """

    chains: int = 4
    warmup: int = 150
    draws: int = 300
    leapfrog: int = 8
    items: int = 512
    temper_all: bool = False

    def __post_init__(self) -> None:
        if self.chains < 2 or self.warmup < 1 or self.draws < 4 or self.draws % 2 or min(self.leapfrog, self.items) < 1:
            raise BadInputError(f"sampler: at least 2 chains, 1 warm-up and 4 draws, an even number, got {self}")


@dataclass(frozen=True, eq=False)
class PosteriorResult:
    """Posterior means of N items, with what says how far to trust them.

    Attributes:
        embeddings: E[e | v], (N, D).
        directions: mu + c E[(e - mu) / |e - mu| | v] with c the root mean square of |e - mu|, up to a term that the
            isotropic residual makes negligible, (N, D): no predictor has a greater expected centred cosine.
        acceptance: Mean acceptance probability of each item, (N,).
        rhat: Largest split R-hat over the features of each item, (N,).
        monte_carlo_error: Standard error of each posterior mean embedding, as a length, (N,).
        tempered: 1 for items whose chains had not met and were sampled once more by replica exchange, (N,).
        relative_error: Monte Carlo error over the length of the centred posterior mean, root mean square over items.
        seconds: Wall time.
    """

    embeddings: FloatArray
    directions: FloatArray
    acceptance: FloatArray
    rhat: FloatArray
    monte_carlo_error: FloatArray
    tempered: FloatArray
    relative_error: float
    seconds: float

    @property
    def n_bad(self) -> int:
        """Items whose R-hat is above the limit or not a number."""
        return int((~(self.rhat <= RHAT_LIMIT)).sum())

    @property
    def converged(self) -> bool:
        """Whether at most one item in a hundred has a bad R-hat."""
        return self.n_bad <= BAD_SHARE_LIMIT * len(self.rhat)

    def summary(self) -> dict[str, Any]:
        """Return the diagnostics as plain types."""
        return {
            "n_items": len(self.rhat),
            "converged": self.converged,
            "n_rhat_above_limit": self.n_bad,
            "rhat_limit": RHAT_LIMIT,
            "rhat_median": float(np.median(self.rhat)),
            "rhat_p99": float(np.quantile(self.rhat, 0.99)),
            "rhat_max": float(self.rhat.max()),
            "acceptance_mean": float(self.acceptance.mean()),
            "acceptance_min": float(self.acceptance.min()),
            "monte_carlo_error_median": float(np.median(self.monte_carlo_error)),
            "monte_carlo_error_relative": self.relative_error,
            "n_tempered": int(self.tempered.sum()),
            "seconds": round(self.seconds, 1),
        }


def posterior_mean(
    brain: KnownBrain,
    voxels: FloatArray,
    n_repeats: int = 1,
    settings: SamplerSettings | None = None,
    seed: int = 0,
) -> PosteriorResult:
    """Sample p(z | v) for each row and average the embedding.

    Args:
        brain: The known brain.
        voxels: Mean of ``n_repeats`` trials in each row, (N, V), standard deviations of the signal.
        n_repeats: Trials averaged in each row.
        settings: Length of the chains.
        seed: Of the chains.

    Returns:
        Posterior means and diagnostics.
    """
    chosen = settings or SamplerSettings()
    started_s = time.monotonic()
    information = VoxelInformation.of(brain)
    sampler = _Sampler(brain, chosen, torch.Generator().manual_seed(seed))
    parts = []
    blocks = range(0, len(voxels), chosen.items)
    for start in track(blocks, "sampling the posterior, blocks of pictures", len(blocks)):
        parts.append(sampler.sample(make_target(brain, information, voxels[start : start + chosen.items], n_repeats)))
    found = {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
    error, length = found["error"], np.linalg.norm(found["phi"] @ brain.embedding.T, axis=1)
    return PosteriorResult(
        embeddings=brain.mean + found["phi"] @ brain.embedding.T,
        directions=brain.mean + sampler.centred_length * (found["direction"] @ brain.embedding.T),
        acceptance=found["acceptance"],
        rhat=found["rhat"],
        monte_carlo_error=error,
        tempered=found["tempered"],
        relative_error=float(np.sqrt(np.square(error).mean() / np.square(length).mean())),
        seconds=time.monotonic() - started_s,
    )


class _Sampler:
    """Samples blocks of items of one brain."""

    def __init__(self, brain: KnownBrain, settings: SamplerSettings, generator: torch.Generator) -> None:
        self.features, self.settings, self.generator = brain.features, settings, generator
        self.gram = torch.from_numpy(brain.embedding.T @ brain.embedding)
        self.residual = brain.residual_sd**2 * len(brain.mean)
        # Root mean square of |e - mu|: makes directions as long as embeddings, for scores centred on another mean.
        self.centred_length = float(torch.trace(self.gram) + self.residual) ** 0.5

    def sample(self, target: Target) -> dict[str, Tensor]:
        """Sample all items, then those whose chains have not met once more, tempered."""
        modes, precision = find_modes(target, self.features, self.generator)
        unwhiten = torch.linalg.inv(torch.linalg.cholesky(precision))
        found = self._draw(self._warm_up(target, modes, unwhiten), self.settings.draws, 1)
        bad = torch.nonzero(~(found["rhat"] <= RHAT_LIMIT) | self.settings.temper_all).ravel()
        found["tempered"] = torch.zeros(len(modes), dtype=torch.float64)
        for some in bad.split(max(1, self.settings.items // len(LADDER))):
            part = Target(target.phi, target.t[some], target.fisher)
            again = self._draw(
                self._warm_up_ladders(part, modes[some], unwhiten[some]),
                LADDER_ROUNDS * self.settings.draws,
                len(LADDER),
            )
            for name, values in again.items():
                found[name][some] = values
            found["tempered"][some] = 1
        return found

    def _start(self, modes: Tensor, unwhiten: Tensor, levels: int) -> Tensor:
        """Start the first half of the chains near the mode, the others from the prior."""
        shape = (len(modes), self.settings.chains * levels, modes.shape[1])
        start = torch.randn(shape, dtype=torch.float64, generator=self.generator)
        n_mode = self.settings.chains // 2 * levels
        start[:, :n_mode] = modes[:, None] + start[:, :n_mode] @ unwhiten
        return start

    def _warm_up(self, target: Target, modes: Tensor, unwhiten: Tensor) -> Chain:
        """Adapt; chains from the prior cool down meanwhile."""
        chain = Chain(target, unwhiten, self._start(modes, unwhiten, 1), self.generator)
        warmup, n_mode = self.settings.warmup, self.settings.chains // 2
        n_cooling, n_judged = round(COOLING_SHARE * warmup), round(JUDGED_SHARE * warmup)
        height = torch.zeros_like(chain.value)
        for iteration in range(warmup):
            progress = min(1.0, iteration / n_cooling) if n_cooling else 1.0
            chain.set_power(n_mode, FIRST_POWER ** (1 - progress))
            chain.step(self.settings.leapfrog)
            chain.adapt(iteration)
            if iteration >= n_cooling:
                height += chain.value
            if iteration == n_judged - 1:
                chain.move_lost(height / max(1, n_judged - n_cooling))
        chain.set_power(n_mode, 1.0)
        chain.freeze()
        return chain

    def _warm_up_ladders(self, target: Target, modes: Tensor, unwhiten: Tensor) -> Chain:
        """Adapt ladders of chains with falling powers, one for each chain of the settings."""
        power = torch.from_numpy(LADDER).repeat(self.settings.chains)
        chain = Chain(target, unwhiten, self._start(modes, unwhiten, len(LADDER)), self.generator, power)
        for iteration in range(LADDER_ROUNDS * self.settings.warmup):
            chain.step(self.settings.leapfrog)
            chain.swap(len(LADDER))
            chain.adapt(iteration)
        chain.freeze()
        return chain

    def _draw(self, chain: Chain, draws: int, levels: int) -> dict[str, Tensor]:
        """Draw, and keep the chains at power 1: the first of each ladder."""
        items, n_chains = len(chain.z), self.settings.chains
        moments = Moments((items, n_chains), chain.phi.shape[-1])
        direction = torch.zeros((items, chain.phi.shape[-1]), dtype=torch.float64)
        accepted = torch.zeros(items, dtype=torch.float64)
        for iteration in range(draws):
            accepted += chain.step(self.settings.leapfrog)[:, ::levels].mean(dim=1)
            if levels > 1:
                chain.swap(levels)
            phi = chain.phi[:, ::levels]
            moments.add(phi, half=2 * iteration // draws)
            length = ((phi @ self.gram * phi).sum(-1) + self.residual).sqrt()
            direction += (phi / length[..., None]).mean(dim=1)
        mean, rhat, error = moments.finish(self.gram)
        acceptance = accepted / draws
        return {"phi": mean, "direction": direction / draws, "acceptance": acceptance, "rhat": rhat, "error": error}
