"""One random stream per (run seed, trial, sample), independent of devices, order and batch shapes."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def sample_seed(run_seed: int, trial_id: int, sample: int = 0) -> int:
    """Seed of one picture.

    Sample 0 is ``run_seed + trial_id``, a published rule that must stay. Later samples come from a hash,
    because sums of three small numbers collide: sample 1 of a trial would repeat sample 0 of the next one.

    Args:
        run_seed: Seed of the run (``--seed_everything``).
        trial_id: Stored in the index; never renumbered by test set, subject or limit.
        sample: Which of the K pictures of a trial, 0-based.

    Returns:
        An integer of at most 63 bits for every sample of one or more.

    Raises:
        ValueError: If trial_id or sample is negative.

    Example:
        >>> sample_seed(42, 7)
        49
        >>> sample_seed(42, 7, 1) != sample_seed(42, 8, 0)
        True
    """
    if trial_id < 0 or sample < 0:
        raise ValueError(f"trial_id and sample count from 0, got {trial_id} and {sample}")
    if sample == 0:
        return int(run_seed) + int(trial_id)
    digest = hashlib.blake2b(f"({int(run_seed)},{int(trial_id)},{int(sample)})".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def torch_generator(seed: int) -> torch.Generator:
    """Make a generator on the CPU: its numbers are the same whatever device the model runs on.

    Args:
        seed: As given by :func:`sample_seed`.

    Returns:
        A generator that shares no state with torch's global one.
    """
    import torch

    return torch.Generator(device="cpu").manual_seed(seed)


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Give back the global random state of Python, numpy and torch after a block.

    What looks on while a model trains, pictures for instance, must not change how it goes on.
    """
    import numpy as np
    import torch

    python, array, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(array)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if devices is not None:
            torch.cuda.set_rng_state_all(devices)
