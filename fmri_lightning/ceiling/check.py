"""Large samples: the production ridge must tend to the closed-form linear optimum, or one of the two is wrong."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri_lightning.ceiling.fits import Fit, Mode, predict, read_encoders, rows_to_predict, run_fit
from fmri_lightning.ceiling.linear import linear_optimum
from fmri_lightning.ceiling.recipe import KnownRecipe
from fmri_lightning.ceiling.subject import SubjectPlan, write_subject
from fmri_lightning.embeddings.cache import EmbeddingCache

CHECK_RECIPE = KnownRecipe(latents=3, quadratic=4, dim=24, nonlinear=0.2, residual=0.05)
"""Few latents, well seen by few voxels: 36,000 stimuli pin the weights down to three digits."""


@dataclass(frozen=True)
class LargeSampleCheck:
    """How near a ridge comes to the linear optimum on fresh test data.

    Attributes:
        stimuli: Pictures of train and val.
        correlation: Between both predictions, less the mean embedding, over all values.
        ridge_error: Mean squared distance of the ridge's predictions from the true embeddings.
        optimum_error: The same of the optimum.
        expected_error: What the closed form says the optimum's is.
    """

    stimuli: int
    correlation: float
    ridge_error: float
    optimum_error: float
    expected_error: float


def large_sample_check(folder: Path, plan: SubjectPlan, mode: Mode = "single") -> LargeSampleCheck:
    """Fit the shipped ridge to a known subject and compare it with the optimum.

    Training rows are made as test rows are: trained on trials, a ridge tends to the optimum of single trials,
    whatever it is used on.

    Args:
        folder: Where the subject and the fit go.
        plan: The subject.
        mode: Use of repeats in training and test.

    Returns:
        The comparison.
    """
    subject = write_subject(folder, plan)
    config = read_encoders(["configs/encoder/ridge.yaml"])[0]
    fit = Fit(config, mode, 0, folder / "fits" / mode, ("--data.train_mode", mode))
    encoder = run_fit(fit, subject)
    rows = rows_to_predict(subject, mode)
    optimum = linear_optimum(subject.brain, rows.n_repeats)
    best = optimum.predict(rows.betas * subject.brain.voxel_sd)
    fitted = predict(encoder, subject, rows).astype(np.float64)
    truth = EmbeddingCache.open(subject.inputs["clip_cache"]).rows(rows.ids)
    deviations = ((fitted - subject.brain.mean).ravel(), (best - subject.brain.mean).ravel())
    return LargeSampleCheck(
        stimuli=plan.stimuli,
        correlation=float(np.corrcoef(deviations[0], deviations[1])[0, 1]),
        ridge_error=float(np.square(fitted - truth).sum(axis=1).mean()),
        optimum_error=float(np.square(best - truth).sum(axis=1).mean()),
        expected_error=optimum.expected_error,
    )


def check_plan(factor: int, stimuli: int = 1800, repeats: int = 1, seed: int = 0) -> SubjectPlan:
    """Plan a subject of a small brain with ``factor`` times the stimuli."""
    base = SubjectPlan(stimuli=stimuli, test=2000, repeats=repeats, voxels=30, seed=seed, recipe=CHECK_RECIPE)
    return dataclasses.replace(base, stimuli=factor * stimuli)
