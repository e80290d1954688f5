"""One simulated subject: sessions of betas, and the reliability map that NSD publishes with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fmri_lightning.simulate.experiment import Experiment
from fmri_lightning.simulate.geometry import Brain, make_brain
from fmri_lightning.simulate.noise import NoiseModel, make_noise_model
from fmri_lightning.simulate.nsd_tree import (
    betas_folder,
    responses_file,
    to_int16,
    write_betas,
    write_ncsnr,
    write_regions,
)
from fmri_lightning.simulate.pictures import Meaning
from fmri_lightning.simulate.recipe import RECIPE
from fmri_lightning.simulate.tables import write_responses
from fmri_lightning.simulate.voxels import draw_ncsnr, voxel_signals

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Subject:
    """A simulated subject with V voxels in the brain mask.

    Attributes:
        number: 1-based.
        brain: Geometry.
        signals: float32 (n_images, V), standardised noiseless responses to the subject's list of pictures.
        ncsnr: float64 (V,), planted sigma_signal / sigma_noise.
        total_sd: float64 (V,), standard deviation of a session in percent signal change.
        noise: Noise model.
        clipped: row of the voxel that runs into the limits of int16.
        constant: row of the voxel that never changes.
    """

    number: int
    brain: Brain
    signals: FloatArray
    ncsnr: npt.NDArray[np.float64]
    total_sd: npt.NDArray[np.float64]
    noise: NoiseModel
    clipped: int
    constant: int

    def session(self, order: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int16]:
        """Measure the betas of a session.

        Args:
            order: int64 (T,), 0-based row of ``signals`` shown in each trial.
            rng: Random generator of this session.

        Returns:
            int16 (T, V), percent signal change times 300.
        """
        n_voxels = len(self.ncsnr)
        sigma_noise = self.total_sd / np.sqrt(1 + self.ncsnr**2)
        gain = np.clip(rng.normal(1.0, RECIPE.session_gain_sd, n_voxels), 0.7, 1.3)
        mean = rng.normal(RECIPE.session_mean_psc, RECIPE.session_mean_sd_psc, n_voxels)
        mean = np.where(self.brain.cortex, mean, mean - 0.9 * RECIPE.session_mean_psc)
        psc = self.signals[order] * (gain * self.ncsnr * sigma_noise).astype(np.float32)
        psc += self.noise.draw(len(order), rng) * (gain * sigma_noise).astype(np.float32)
        psc += mean.astype(np.float32)
        psc[:, self.constant] = 0.0
        return to_int16(psc)


def make_subject(number: int, nsdgeneral_voxels: int, maps: FloatArray, meaning: Meaning, seed: int) -> Subject:
    """Draw a subject.

    Args:
        number: 1-based.
        nsdgeneral_voxels: Voxels in nsdgeneral.
        maps: float32 (n_images, N_CHANNELS, GRID * GRID), channels of the subject's pictures.
        meaning: Of the same pictures.
        seed: Seed of the simulation.

    Returns:
        The subject.
    """
    rng = np.random.default_rng([seed, number, 500])
    brain = make_brain(number, nsdgeneral_voxels, seed)
    signals = voxel_signals(maps, meaning, brain, rng)
    ncsnr = draw_ncsnr(brain, rng)
    typical = np.where(brain.nsdgeneral, RECIPE.total_sd_psc, RECIPE.outside_sd_psc)
    total_sd = typical * np.exp(RECIPE.total_sd_spread * rng.normal(size=len(ncsnr)))
    clipped, constant = (int(row) for row in rng.choice(np.flatnonzero(brain.nsdgeneral), 2, replace=False))
    total_sd[clipped], ncsnr[clipped], ncsnr[constant] = RECIPE.clipped_sd_psc, 0.05, 0.0
    noise = make_noise_model(brain, signals, ncsnr)
    return Subject(number, brain, signals, ncsnr, total_sd, noise, clipped, constant)


def write_subject(
    root: Path,
    subject: Subject,
    experiment: Experiment,
    seed: int,
    nifti_sessions: frozenset[int],
    sessions: Callable[[range], Iterable[int]] = iter,
) -> dict[str, Any]:
    """Write all files of a subject below the root of an NSD tree.

    Args:
        root: Root of the tree.
        subject: The subject.
        experiment: The design.
        seed: Seed of the simulation.
        nifti_sessions: 1-based sessions whose betas are written as NIfTI too.
        sessions: Wraps the loop over sessions, for progress.

    Returns:
        Facts for SIMULATED.json: shape, counts, edge cases, medians of the reliability.
    """
    brain = subject.brain
    folder = root / betas_folder(subject.number)
    length, n_run = experiment.trials_per_session, experiment.sessions_run(subject.number)
    order = experiment.masterordering - 1
    estimate = NcsnrEstimate(order[: n_run * length], experiment.repeats, len(brain.ijk))
    for session in sessions(range(1, n_run + 1)):
        shown = order[(session - 1) * length : session * length]
        stored = subject.session(shown, np.random.default_rng([seed, subject.number, 501, session]))
        estimate.add(shown, stored)
        write_betas(folder, session, stored, brain, session in nifti_sessions)
    ncsnr = estimate.result()
    write_ncsnr(folder, brain, ncsnr)
    write_regions(root, subject.number, brain)
    write_responses(root / responses_file(subject.number), experiment, subject.number, seed)
    _write_truth(root, subject)
    visual = brain.nsdgeneral
    return {
        "shape": list(brain.shape),
        "brainmask_voxels": len(brain.ijk),
        "nsdgeneral_voxels": int(visual.sum()),
        "sessions": n_run,
        "clipped_voxel_ijk": brain.ijk[subject.clipped].tolist(),
        "constant_voxel_ijk": brain.ijk[subject.constant].tolist(),
        "noise_shares_nsdgeneral": {
            name: round(float(share[visual].mean()), 4) for name, share in subject.noise.shares.items()
        },
        "ncsnr_median_planted": round(float(np.median(subject.ncsnr[visual])), 4),
        "ncsnr_median_estimated": round(float(np.median(ncsnr[visual])), 4),
    }


def _write_truth(root: Path, subject: Subject) -> None:
    """Keep what a real brain never tells: planted reliability and tuning class of each voxel."""
    folder = root / "simulated_truth" / f"subj{subject.number:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "ijk.npy", subject.brain.ijk.astype(np.int16))
    np.save(folder / "ncsnr.npy", subject.ncsnr.astype(np.float32))
    np.save(folder / "semantic_share.npy", subject.brain.semantic.astype(np.float32))


class NcsnrEstimate:
    """NSD's own estimator of sigma_signal / sigma_noise, fed session by session.

    Betas are z-scored in each session; the noise variance is the mean over pictures of the variance over their
    repeats (ddof 1), the signal variance is what is left of 1, not below 0. Only pictures with all repeats count.

    Args:
        order: int64 (n_trials,), picture of every trial that was run.
        repeats: Planned showings.
        n_voxels: V.
    """

    def __init__(self, order: npt.NDArray[np.int64], repeats: int, n_voxels: int) -> None:
        shown = np.bincount(order)
        complete = np.flatnonzero(shown == repeats)
        self._row = np.full(len(shown), -1)
        self._row[complete] = np.arange(len(complete))
        self._repeats = repeats
        self._sum = np.zeros((len(complete), n_voxels), dtype=np.float32)
        self._squares = np.zeros(n_voxels)
        self._moves = np.zeros(n_voxels, dtype=bool)

    def add(self, order: npt.NDArray[np.int64], stored: npt.NDArray[np.int16]) -> None:
        """Take in a session: pictures (T,) and betas int16 (T, V)."""
        betas = stored.astype(np.float32)
        spread = betas.std(axis=0)
        self._moves |= spread > 0
        scores = (betas - betas.mean(axis=0)) / np.where(spread > 0, spread, 1)
        rows = self._row[order]
        for trial in np.flatnonzero(rows >= 0):
            self._sum[rows[trial]] += scores[trial]
        self._squares += (scores[rows >= 0] ** 2).sum(axis=0, dtype=np.float64)

    def result(self) -> npt.NDArray[np.float64]:
        """Return the estimate, float64 (V,), not negative; 0 for voxels that never change."""
        between = (self._sum.astype(np.float64) ** 2).sum(axis=0) / self._repeats
        noise = (self._squares - between) / (max(1, len(self._sum)) * (self._repeats - 1))
        ratio = np.sqrt(np.maximum(1 - noise, 0) / np.where(noise > 0, noise, 1))
        return np.where(self._moves, ratio, 0.0)
