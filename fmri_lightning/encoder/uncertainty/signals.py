"""What is known of a prediction's error before anything is known of the truth: three numbers an item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fmri_lightning.encoder.padded import Vectors, padded_forward
from fmri_lightning.encoder.uncertainty.leverage import RidgeLeverage
from fmri_lightning.encoder.uncertainty.passes import PASSES, dropout_passes
from fmri_lightning.encoder.uncertainty.repeats import RepeatNoise, within_variance
from fmri_lightning.errors import BadInputError

TrialMode = Literal["average", "average_outputs", "single"]
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """Preprocessed betas of items, as predict makes them.

    Attributes:
        means: What an item is predicted from: the mean over its repeats, or its trial, (n, n_features) float32.
        trials: The repeats of all items side by side, (trials, n_features) float32.
        counts: Repeats of each item, (n,), adding up to the trials.
        seeds: Decide the dropout masks of each item, (n,) int64.
    """

    means: Vectors
    trials: Vectors
    counts: NDArray[np.int64]
    seeds: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in ("means", "trials"):
            bad = int((~np.isfinite(getattr(self, name)).all(axis=1)).sum())
            if bad:
                raise BadInputError(
                    f"the preprocessed betas of {bad} rows hold NaN or infinity; run again: fmri-lightning betas"
                )


class Uncertainty(nn.Module):
    """The three numbers of an item; variances are standardised (1 is the variance of true embeddings).

    *model*: what the weights do not know. Of a ridge its leverage times the noise; of a network the variance over
    dropout masks; of several encoders the variance between them on top. *repeats*: what the item's own measurement
    leaves open, falling with the number of repeats. *faintness*: one over the mean squared distance of the prediction
    from the mean embedding: a regression that finds little in the betas stays near the mean.

    Args:
        mean: Mean true embedding of the training pictures, (dim,).
        std: Standard deviation per dimension of true embeddings of the training pictures, (dim,).
        leverage: Of a ridge; None of a network.
        members: Further encoders of the same inputs, an ensemble with the first.
        repeats: Noise of single repeats.
        passes: Dropout passes of a network.
        trial_mode: How repeats are combined.
    """

    def __init__(
        self,
        mean: NDArray[np.floating],
        std: NDArray[np.floating],
        leverage: RidgeLeverage | None,
        members: list[nn.Module],
        repeats: RepeatNoise,
        trial_mode: TrialMode,
        passes: int = PASSES,
    ) -> None:
        super().__init__()
        self.mean, self.std = np.asarray(mean, dtype=np.float64), np.asarray(std, dtype=np.float64)
        self.leverage = leverage
        self.members = nn.ModuleList(members)
        self.repeats, self.trial_mode, self.passes = repeats, trial_mode, passes

    def signals(self, encoder: nn.Module, items: ItemFeatures) -> NDArray[np.float64]:
        """Compute all numbers.

        Args:
            encoder: Maps features (batch, n_features) to raw embeddings (batch, dim).
            items: Features.

        Returns:
            (n, 3) float64: model, repeats, faintness, at least 0. An item's row does not depend on the other items.
        """
        model = self._of_leverage(items) if self.leverage is not None else self._of_dropout(encoder, items)
        if len(self.members):
            model = model + self._of_ensemble(encoder, items)
        within, _ = within_variance(padded_forward(encoder, items.trials) / self.std, items.counts)
        said = np.square((self.predicted(encoder, items) - self.mean) / self.std).mean(axis=1)
        return np.stack([model, self.repeats.of_mean(within, items.counts), 1 / np.maximum(said, _TINY)], axis=1)

    def predicted(self, encoder: nn.Module, items: ItemFeatures) -> Vectors:
        """Predict source embeddings of items, (n, dim) float32, as predict does."""
        if self.trial_mode != "average_outputs":
            return padded_forward(encoder, items.means)
        outputs = np.split(padded_forward(encoder, items.trials), np.cumsum(items.counts)[:-1])
        return np.stack([part.mean(axis=0, dtype=np.float32) for part in outputs])

    def _of_leverage(self, items: ItemFeatures) -> NDArray[np.float64]:
        assert self.leverage is not None
        noise = float(np.mean(self.leverage.noise.numpy() / np.square(self.std)))
        return padded_forward(self.leverage, items.means)[:, 0].astype(np.float64) * noise

    def _of_dropout(self, encoder: nn.Module, items: ItemFeatures) -> NDArray[np.float64]:
        rows, counts = self._predicted_from(items)
        stops = np.cumsum(counts)
        found = np.empty(len(counts))
        for item, stop in enumerate(stops):
            passes = [
                dropout_passes(encoder, torch.from_numpy(rows[row]), int(items.seeds[item]) + place, self.passes)
                for place, row in enumerate(range(stop - counts[item], stop))
            ]
            outputs = torch.stack(passes).double().mean(dim=0).numpy() / self.std
            found[item] = outputs.var(axis=0, ddof=1).mean()
        return found

    def _of_ensemble(self, encoder: nn.Module, items: ItemFeatures) -> NDArray[np.float64]:
        rows, counts = self._predicted_from(items)
        starts = np.cumsum(counts) - counts
        outputs = [
            np.add.reduceat(padded_forward(member, rows).astype(np.float64), starts, axis=0) / counts[:, None]
            for member in (encoder, *self.members)
        ]
        return np.asarray((np.stack(outputs) / self.std).var(axis=0, ddof=1).mean(axis=1))

    def _predicted_from(self, items: ItemFeatures) -> tuple[Vectors, NDArray[np.int64]]:
        """Rows that the encoder is run on, and how many of them make an item."""
        if self.trial_mode == "average_outputs":
            return items.trials, items.counts
        return items.means, np.ones(len(items.means), dtype=np.int64)
