"""Small known brains: one simulation costs milliseconds."""

import dataclasses

from fmri_lightning.ceiling.brain import draw_brain
from fmri_lightning.ceiling.recipe import KnownRecipe

SMALL = KnownRecipe(latents=5, quadratic=9, dim=12)
LINEAR = dataclasses.replace(SMALL, quadratic=0, nonlinear=0.0, embedding_quadratic=0.0)


def small_brain(n_voxels=24, seed=0, recipe=SMALL, **changes):
    return dataclasses.replace(draw_brain(n_voxels, seed, recipe), **changes)


def draw(brain, n, rng, n_repeats=1):
    """Embeddings (n, D) and mean voxels (n, V) of n fresh pictures."""
    latents = brain.draw_latents(n, rng)
    noise = sum(brain.noise(n, rng) for _ in range(n_repeats)) / n_repeats
    return brain.embeddings(latents, rng), brain.signals(latents) + noise
