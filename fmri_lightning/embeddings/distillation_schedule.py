"""How far a training run of a mini model is, and what its learning rate makes of that.

A run may end by steps, by time (``trainer.max_time``), or by whichever comes first; the rate then falls to its
floor exactly at the end, on a fast machine as on a slow one.
"""

from __future__ import annotations

import math

import lightning as L
from lightning.pytorch.callbacks import Timer


def run_progress(trainer: L.Trainer, step: int) -> float:
    """Share of a run that is over, 0..1, by steps or by time, whichever is further.

    Args:
        trainer: of the run; time counts all sessions of a run that was resumed.
        step: optimiser steps done.
    """
    shares = [0.0]
    total = trainer.estimated_stepping_batches
    if math.isfinite(total):
        shares.append(step / max(1.0, total))
    for timer in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(timer, Timer):
            elapsed_s, left_s = timer.time_elapsed(), timer.time_remaining()
            if left_s is not None:
                shares.append(elapsed_s / max(1e-9, elapsed_s + left_s))
    return min(1.0, max(shares))


def is_complete(trainer: L.Trainer) -> bool:
    """Tell whether a fit has reached its end, and was neither cut short nor a trial run."""
    return not trainer.fast_dev_run and run_progress(trainer, trainer.global_step) >= 1.0  # type: ignore[attr-defined]


def warm_up(step: int, warmup_steps: int) -> float:
    """Factor of the learning rate at the start: linear from 1 / warmup_steps to 1.

    Args:
        step: optimiser step, from 0.
        warmup_steps: length of the warm-up; 0 for none.

    Example:
        >>> warm_up(0, 10), warm_up(9, 10), warm_up(50, 10)
        (0.1, 1.0, 1.0)
    """
    return min(1.0, (step + 1) / max(1, warmup_steps))


def cosine_fall(progress: float) -> float:
    """Factor that falls along a cosine from 1 to 1 %.

    Args:
        progress: share of the run, 0..1.

    Example:
        >>> cosine_fall(0.0), round(cosine_fall(1.0), 4)
        (1.0, 0.01)
    """
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


def late_fall(progress: float, start: float) -> float:
    """Factor that stays 1, then falls linearly to 0 at the end.

    Args:
        progress: share of the run, 0..1.
        start: share after which it falls.

    Example:
        >>> late_fall(0.5, 0.7), round(late_fall(0.85, 0.7), 4), late_fall(1.0, 0.7)
        (1.0, 0.5, 0.0)
    """
    return min(1.0, (1.0 - progress) / max(1e-9, 1.0 - start))
