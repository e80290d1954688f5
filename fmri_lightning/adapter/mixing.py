"""Training on what the adapter will really be given: out-of-fold predictions in the place of true source embeddings.

An adapter that has seen true embeddings alone meets shrunken and noisy ones when it is used. Predictions of training
pictures by encoders that were not fitted on them look the same way, and their targets are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmri_lightning.encoder.batches import TensorBatches, run_seed
from fmri_lightning.encoder.out_of_fold import OutOfFold, read_out_of_fold
from fmri_lightning.errors import BadInputError
from fmri_lightning.records import EmbeddingSpace, require_same_space
from fmri_lightning.seeding import sample_seed, torch_generator

_STREAM = 2
"""Number of the random stream of an epoch; 1 is that of the order and of dropout."""


def open_out_of_fold(
    folder: Path,
    subject: str,
    train_ids: NDArray[np.integer],
    inputs: Mapping[str, str],
    space: EmbeddingSpace,
    source: str,
) -> OutOfFold:
    """Read out-of-fold predictions and refuse those of other data.

    Args:
        folder: Written by the encoder's fit, beside its checkpoint.
        subject: For instance subj01.
        train_ids: Training stimuli.
        inputs: Content hashes at hand; those given are compared with what the encoder was fitted on.
        space: Space of the predictions that is expected.
        source: What has that space, in words.

    Returns:
        The predictions.

    Raises:
        BadInputError: Parts or stimuli are missing, or subject, inputs or space differ.
    """
    found = read_out_of_fold(folder, train_ids)
    what = f"the out-of-fold predictions {folder}"
    if found.subject != subject:
        raise BadInputError(f"{what} are of {found.subject}, this run is of {subject}; name those of {subject}")
    for name, expected in inputs.items():
        recorded = found.inputs.get(name)
        if recorded != expected:
            raise BadInputError(
                f"{what} were made from another {name} ({str(recorded)[:12]}, at hand is {expected[:12]}); "
                "fit the encoder again on the inputs at hand"
            )
    require_same_space(found.space, space, what, source)
    return found


class MixedSources:
    """Training batches in which a share of the sources is predicted, other rows in every epoch.

    Which rows these are depends on the run's seed and the epoch only: a resumed fit and any number of ranks draw the
    same.

    Args:
        tensors: ``features`` (true sources) and whatever goes along, all of one length.
        predicted: Predicted source of the same rows, (n, n_source).
        share: Share of the rows of an epoch whose source is the prediction, above 0 and up to 1.
        batch_size: Rows per step; every rank gets them all.
        epoch: Returns the current epoch.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        predicted: Tensor,
        share: float,
        batch_size: int,
        epoch: Callable[[], int],
    ) -> None:
        rows = torch.arange(len(predicted), device=predicted.device)
        everything = {**tensors, "predicted": predicted, "row": rows}
        self.batches = TensorBatches(everything, batch_size, epoch)
        self.share, self.epoch, self.n_rows = share, epoch, len(predicted)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield batches with the keys of ``tensors``."""
        replaced = predicted_rows(self.n_rows, self.share, self.epoch())
        for batch in self.batches:
            rows, predicted = batch.pop("row"), batch.pop("predicted")
            chosen = replaced.to(rows.device)[rows]
            yield {**batch, "features": torch.where(chosen[:, None], predicted, batch["features"])}


def predicted_rows(n_rows: int, share: float, epoch: int) -> Tensor:
    """Draw the rows whose source is the prediction in one epoch of the run.

    Args:
        n_rows: Rows of the training set.
        share: Share that is drawn, rounded to whole rows.
        epoch: From 0.

    Returns:
        bool (n_rows,).
    """
    generator = torch_generator(sample_seed(run_seed(), epoch, _STREAM))
    chosen = torch.zeros(n_rows, dtype=torch.bool)
    chosen[torch.randperm(n_rows, generator=generator)[: round(share * n_rows)]] = True
    return chosen
