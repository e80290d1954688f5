"""Batches of pictures, each with the mean of some of its repeats, drawn anew in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from fmri_lightning.betas.rows import repeat_table, stimulus_rows
from fmri_lightning.encoder.batches import epoch_seed
from fmri_lightning.seeding import torch_generator


class SampledRepeats:
    """Iterates over pictures; the features of one are the mean over a random non-empty subset of its trials.

    A network then meets single trials and means of every number of repeats, and no picture counts more for having
    been shown more often. Preprocessing is affine, so averaging before it or after it is the same. What is drawn
    depends on the run's seed and the epoch only.

    Args:
        features: Preprocessed trials, (n_trials, n_features).
        targets: Raw embeddings, (n_trials, dim); equal for the trials of a picture.
        nsd_ids: Picture of each trial, (n_trials,).
        batch_size: Pictures per step, over all ranks together.
        epoch: Returns the current epoch.
    """

    def __init__(
        self, features: Tensor, targets: Tensor, nsd_ids: Tensor, batch_size: int, epoch: Callable[[], int]
    ) -> None:
        ids, groups = stimulus_rows(nsd_ids.cpu().numpy())
        table = repeat_table(groups)
        self.features, self.batch_size, self.epoch = features, batch_size, epoch
        self.targets = targets[torch.from_numpy(np.ascontiguousarray(table[:, 0])).to(targets.device)]
        self.nsd_ids = torch.from_numpy(ids).to(targets.device)
        self.present = torch.from_numpy(table >= 0)
        self.trials = torch.from_numpy(np.maximum(table, 0)).to(features.device)

    def __len__(self) -> int:
        return -(-len(self.nsd_ids) // self.batch_size)

    def weights(self, generator: torch.Generator) -> Tensor:
        """Draw the weight of each repeat, (n_stimuli, repeats): equal over the subset drawn, 0 elsewhere."""
        score = torch.rand(self.present.shape, generator=generator).masked_fill(~self.present, 2.0)
        counts = self.present.sum(dim=1)
        wanted = 1 + (torch.rand(len(counts), generator=generator) * counts).long().clamp(max=counts - 1)
        rank = score.argsort(dim=1).argsort(dim=1)
        chosen = (rank < wanted[:, None]) & self.present
        return chosen.float() / wanted[:, None]

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield batches as dictionaries of tensors."""
        generator = torch_generator(epoch_seed(self.epoch()))
        device = self.features.device
        order = torch.randperm(len(self.nsd_ids), generator=generator)
        weights = self.weights(generator)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size].to(device)
            share = weights[order[start : start + self.batch_size]].to(device)
            features = torch.einsum("brv,br->bv", self.features[self.trials[rows]], share)
            yield {"features": features, "targets": self.targets[rows], "nsd_ids": self.nsd_ids[rows]}
