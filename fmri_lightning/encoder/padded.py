"""Batches of one fixed shape: BLAS rounds by shape, and a row must not depend on how many others there are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

BATCH = 64
"""Rows of every batch; the last one is padded."""

Vectors = NDArray[np.float32]


def padded_forward(module: torch.nn.Module, rows: Vectors) -> Vectors:
    """Run a module over rows in batches of one fixed shape, in float32 on the CPU.

    Args:
        module: Maps (batch, n) to (batch, m), each row by itself.
        rows: (count, n) float32.

    Returns:
        (count, m) float32.
    """
    module.eval()
    outputs = []
    with torch.no_grad():
        for start in range(0, len(rows), BATCH):
            batch = np.zeros((BATCH, rows.shape[1]), np.float32)
            part = rows[start : start + BATCH]
            batch[: len(part)] = part
            outputs.append(module(torch.from_numpy(batch))[: len(part)].float().numpy())
    return np.concatenate(outputs)
