"""How well predictions of the same picture agree across its repeats: the ceiling of embedding scores."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.brain.parts import open_brain, predict_every_trial
from fmri_lightning.evaluation.gallery import predictions_of
from fmri_lightning.evaluation.results import Ceiling
from fmri_lightning.evaluation.runs import Run
from fmri_lightning.metrics.bootstrap import bootstrap_interval
from fmri_lightning.metrics.cosine import centred_cosine

KIND = "repeat_reliability"


def repeat_ceiling(
    run: Run,
    mean: NDArray[np.float64],
    betas: Path | None = None,
    preproc: Path | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Ceiling:
    """The centred cosine that a run's encoder could reach if its noise-free prediction were the truth.

    Predictions from two different repeats of a picture agree only as far as they are not noise. Their mean centred
    cosine r is projected to the n repeats that the run averages, r_n = n r / (1 + (n - 1) r) (Spearman, Brown 1910),
    and a prediction of reliability r_n can correlate with anything else up to the square root of it.

    Args:
        run: The run.
        mean: Mean true embedding of the training stimuli (d,).
        betas: Another place of the run's betas.
        preproc: Another place of its preprocessing.
        n_resamples: Bootstrap resamples over stimuli.
        seed: Of the bootstrap.

    Returns:
        The ceiling.

    Raises:
        BadInputError: No picture was shown twice, a part is missing, or repeats do not agree at all.
    """
    single = run.summary.get("trial_mode") == "single"
    if single:
        source = predictions_of(run).source
        if source is None:
            raise BadInputError(f"{run.folder} predicts no source embeddings")
        predicted, ids = source, run.ids
    else:
        predicted, ids = predict_every_trial(run, open_brain(run, betas), preproc)
    stimuli, agreement = agreement_of_repeats(predicted, ids, mean)
    _, counts = np.unique(ids, return_counts=True)
    n_repeats = 1.0 if single else float(counts.mean())
    found = bootstrap_interval(agreement, stimuli, n_resamples=n_resamples, seed=seed)
    if found.value <= 0:
        raise BadInputError(f"predictions of repeats do not agree (centred cosine {found.value:.3f})")
    value, low, high = (math.sqrt(max(project(r, n_repeats), 0.0)) for r in found)
    return Ceiling(value, KIND, low, high)


def agreement_of_repeats(
    predicted: NDArray[np.float32], ids: NDArray[np.integer], mean: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Mean centred cosine over all pairs of repeats of each picture.

    Args:
        predicted: Prediction of each trial (n_trials, d).
        ids: Picture of each (n_trials,).
        mean: Mean true embedding of the training stimuli (d,).

    Returns:
        Pictures with two repeats or more, ascending (m,), and the agreement of each (m,) in -1..1.

    Raises:
        BadInputError: No picture was shown twice.
    """
    stimuli, found = [], []
    for stimulus in np.unique(ids):
        rows = np.flatnonzero(ids == stimulus)
        if len(rows) < 2:
            continue
        first, second = np.triu_indices(len(rows), k=1)
        pairs = centred_cosine(predicted[rows[first]], predicted[rows[second]], mean)
        if np.isfinite(pairs).all():
            stimuli.append(int(stimulus))
            found.append(float(pairs.mean()))
    if not stimuli:
        raise BadInputError("no test picture was shown twice: the reliability of repeats is not defined")
    return np.array(stimuli, dtype=np.int64), np.array(found)


def project(r: float, n_repeats: float) -> float:
    """Reliability of the mean of n repeats from that of one (Spearman, Brown 1910).

    Args:
        r: Agreement of single repeats, -1..1.
        n_repeats: Repeats averaged.

    Returns:
        At most 1.
    """
    return n_repeats * r / (1.0 + (n_repeats - 1.0) * r)
