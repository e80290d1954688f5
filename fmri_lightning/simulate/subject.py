"""One simulated subject: sessions of betas, and the reliability that NSD estimates from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fmri_lightning.simulate.experiment import Experiment
from fmri_lightning.simulate.geometry import Brain, make_brain
from fmri_lightning.simulate.noise import NoiseModel, make_noise_model
from fmri_lightning.simulate.pictures import Meaning
from fmri_lightning.simulate.recipe import BETAS_PER_PSC, RECIPE
from fmri_lightning.simulate.voxels import draw_ncsnr, voxel_signals

FloatArray = npt.NDArray[np.float32]

_SUBJECT = 500
"""Key of the random numbers that tuning and reliability of a subject are drawn from."""


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
        return to_int16(self.session_psc(order, rng))

    def session_psc(self, order: npt.NDArray[np.int64], rng: np.random.Generator) -> FloatArray:
        """Measure the betas of a session before anything is rounded or cut off.

        Args:
            order: int64 (T,), 0-based row of ``signals`` shown in each trial.
            rng: Random generator of this session.

        Returns:
            float32 (T, V), percent signal change.
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
        return psc

    def facts(self, n_sessions: int, ncsnr: npt.NDArray[np.float64]) -> dict[str, Any]:
        """Return shape, counts, edge cases and medians of the reliability, for SIMULATED.json.

        Args:
            n_sessions: Sessions that were run.
            ncsnr: float64 (V,), estimated sigma_signal / sigma_noise.
        """
        brain, visual = self.brain, self.brain.nsdgeneral
        return {
            "shape": list(brain.shape),
            "brainmask_voxels": len(brain.ijk),
            "nsdgeneral_voxels": int(visual.sum()),
            "sessions": n_sessions,
            "clipped_voxel_ijk": brain.ijk[self.clipped].tolist(),
            "constant_voxel_ijk": brain.ijk[self.constant].tolist(),
            "noise_shares_nsdgeneral": {
                name: round(float(share[visual].mean()), 4) for name, share in self.noise.shares.items()
            },
            "ncsnr_median_planted": round(float(np.median(self.ncsnr[visual])), 4),
            "ncsnr_median_estimated": round(float(np.median(ncsnr[visual])), 4),
        }


def to_int16(psc: npt.NDArray[np.floating]) -> npt.NDArray[np.int16]:
    """Return betas as NSD stores them: percent signal change times 300, rounded, clipped to int16."""
    return np.clip(np.round(psc * BETAS_PER_PSC), -32768, 32767).astype("<i2")


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
    rng = np.random.default_rng([seed, number, _SUBJECT])
    brain = make_brain(number, nsdgeneral_voxels, seed)
    signals = voxel_signals(maps, meaning, brain, rng)
    ncsnr = draw_ncsnr(brain, rng)
    typical = np.where(brain.nsdgeneral, RECIPE.total_sd_psc, RECIPE.outside_sd_psc)
    total_sd = typical * np.exp(RECIPE.total_sd_spread * rng.normal(size=len(ncsnr)))
    clipped, constant = (int(row) for row in rng.choice(np.flatnonzero(brain.nsdgeneral), 2, replace=False))
    total_sd[clipped], ncsnr[clipped], ncsnr[constant] = RECIPE.clipped_sd_psc, 0.05, 0.0
    noise = make_noise_model(brain, signals, ncsnr)
    return Subject(number, brain, signals, ncsnr, total_sd, noise, clipped, constant)


def signals_of_more(subject: Subject, maps: FloatArray, meaning: Meaning, n_own: int, seed: int) -> FloatArray:
    """Return how the voxels of a subject respond to pictures outside its list.

    Args:
        subject: As :func:`make_subject` drew it.
        maps: float32 (n_own + n, N_CHANNELS, GRID * GRID): channels of its own pictures, then of the others.
        meaning: Of the same pictures.
        n_own: Pictures of its list; they set every scale, as they did when the subject was drawn.
        seed: Seed of the simulation.

    Returns:
        float32 (n, V), noiseless responses in standard deviations of those to its own pictures.
    """
    rng = np.random.default_rng([seed, subject.number, _SUBJECT])
    return voxel_signals(maps, meaning, subject.brain, rng, n_own)[n_own:]


class Scanning:
    """All sessions that a subject ran, measured one after the other, and the reliability they add up to.

    Attributes:
        n_sessions: Sessions that were run.
        n_trials: Trials that were run.

    Args:
        subject: The subject.
        experiment: The design.
        seed: Seed of the simulation.
    """

    def __init__(self, subject: Subject, experiment: Experiment, seed: int) -> None:
        self._subject, self._seed, self._length = subject, seed, experiment.trials_per_session
        self.n_sessions = experiment.sessions_run(subject.number)
        self.n_trials = self.n_sessions * self._length
        self._order = experiment.masterordering[: self.n_trials] - 1
        self._estimate = NcsnrEstimate(self._order, experiment.repeats, len(subject.brain.ijk))

    def run(self, sessions: Callable[[range], Iterable[int]] = iter) -> Iterator[tuple[int, npt.NDArray[np.int16]]]:
        """Measure the sessions.

        Args:
            sessions: Wraps the loop over sessions, for progress.

        Yields:
            Number of the session, 1-based, and its betas int16 (T, V), percent signal change times 300.
        """
        for session in sessions(range(1, self.n_sessions + 1)):
            shown = self._order[(session - 1) * self._length : session * self._length]
            stored = to_int16(session_betas(self._subject, shown, self._seed, session))
            self._estimate.add(shown, stored)
            yield session, stored

    def ncsnr(self) -> npt.NDArray[np.float64]:
        """Return the estimate of sigma_signal / sigma_noise after all sessions, float64 (V,)."""
        return self._estimate.result()


def session_betas(subject: Subject, order: npt.NDArray[np.int64], seed: int, session: int) -> FloatArray:
    """Measure a session by its number, with the numbers that every layout gets.

    Args:
        subject: The subject.
        order: int64 (T,), 0-based row of the subject's list shown in each trial.
        seed: Seed of the simulation.
        session: 1-based.

    Returns:
        float32 (T, V), percent signal change, neither rounded nor cut off.
    """
    return subject.session_psc(order, np.random.default_rng([seed, subject.number, 501, session]))


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

    def add(self, order: npt.NDArray[np.int64], stored: npt.NDArray[np.int16] | FloatArray) -> None:
        """Take in a session: pictures (T,) and betas (T, V), in any unit."""
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
