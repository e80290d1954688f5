"""What a subject's ridge reads from its voxels, and what it reads of training pictures that it has not seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmri_lightning.encoder.data import EncoderDataModule
from fmri_lightning.encoder.network import floor_std
from fmri_lightning.encoder.ridge import fit_ridge


class Reading(NamedTuple):
    """A ridge from a subject's features to standardised embeddings, and its predictions of pictures left out.

    Attributes:
        weight: (n_features, dim).
        bias: (dim,).
        left_out: Prediction of each training picture by the ridge without it, mean over its trials, (n, dim),
            standardised.
        targets: Raw embeddings of these pictures, (n, dim).
        nsd_ids: These pictures, ascending, (n,).
        alpha: Penalty, by leaving out one picture at a time.
    """

    weight: Tensor
    bias: Tensor
    left_out: Tensor
    targets: Tensor
    nsd_ids: NDArray[np.int32]
    alpha: float

    @property
    def std(self) -> float:
        """Standard deviation of what is read of pictures left out, over pictures and dimensions."""
        return float(self.left_out.std())

    def scaled_to(self, std: float) -> Reading:
        """Scale what is read, of pictures left out and of new ones, to a standard deviation."""
        factor = std / max(self.std, 1e-12)
        return self._replace(weight=self.weight * factor, bias=self.bias * factor, left_out=self.left_out * factor)

    def rows(self, device: torch.device) -> dict[str, Tensor]:
        """Give the training rows of the trunk, as batches name them: what is read stands for features."""
        rows = {"features": self.left_out, "targets": self.targets, "nsd_ids": torch.from_numpy(self.nsd_ids)}
        return {name: tensor.to(device) for name, tensor in rows.items()}


def fit_reading(data: EncoderDataModule) -> Reading:
    """Fit the ridge of a subject on its training rows.

    Args:
        data: Set up for "fit"; its training rows and no others are read.

    Returns:
        The ridge.
    """
    rows = data.train_rows()
    mean, std = data.target_mean, floor_std(data.target_std)
    fit = fit_ridge(
        rows.features.numpy(),
        ((rows.targets - mean) / std).numpy(),
        rows.nsd_ids,
        average_repeats=data.trial_mode != "single",
        keep_left_out=True,
    )
    if fit.left_out is None:
        raise RuntimeError("the ridge kept no predictions of pictures left out")
    ids, first = np.unique(rows.nsd_ids, return_index=True)
    return Reading(
        torch.from_numpy(fit.weights).float(),
        torch.from_numpy(fit.intercept).float(),
        torch.from_numpy(fit.left_out).float(),
        rows.targets[torch.from_numpy(first)],
        ids,
        float(fit.alpha[0]),
    )
