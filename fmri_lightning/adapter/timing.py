"""How long the adapter takes."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn


def inference_time(network: nn.Module, source: Tensor, repeats: int = 25) -> dict[str, Any]:
    """Time a network on the CPU with one thread; a figure for a report, as noisy as the machine is busy.

    Args:
        network: Maps (n, n_source) to (n, n_target), on the CPU.
        source: Vectors to take the input from, (n, n_source), n >= 1.
        repeats: Measurements, of which the median counts.

    Returns:
        ``ms_per_vector`` (one vector at a time), ``ms_per_1000_vectors`` (one batch), device, threads and repeats.
    """
    thousand = source.repeat(-(-1000 // len(source)), 1)[:1000]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            one, many = (_median_ms(network, batch, repeats) for batch in (thousand[:1], thousand))
    finally:
        torch.set_num_threads(threads)
    return {"ms_per_vector": one, "ms_per_1000_vectors": many, "device": "cpu", "threads": 1, "repeats": repeats}


def _median_ms(network: nn.Module, batch: Tensor, repeats: int) -> float:
    network(batch)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        network(batch)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)
