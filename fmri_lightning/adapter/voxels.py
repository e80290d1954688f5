"""From voxels: what the encoder predicts for val and test pictures, and a ridge straight to the target embedding."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmri_lightning.betas.preprocess import Preprocess
from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.encoder.data import EncoderDataModule, EncoderRows, TrialMode, make_rows, subject_folder
from fmri_lightning.encoder.load import LoadedEncoder, load_encoder, predict_rows
from fmri_lightning.encoder.ridge import AlphaAtEdgeWarning, RidgeFit, fit_ridge
from fmri_lightning.encoder.stored import read_checkpoint, require_inputs
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.table import read_index

HeldOut = Literal["val", "test"]


@dataclass(frozen=True)
class Voxels:
    """A fitted encoder and the betas it was fitted on.

    Attributes:
        encoder: Frozen, on the CPU.
        data: Set up for validation, with the encoder's own use of repeats.
    """

    encoder: LoadedEncoder
    data: EncoderDataModule

    def predicted(self, split: HeldOut) -> tuple[Tensor, NDArray[np.int32]]:
        """Predict source embeddings as predict does, in the encoder's use of repeats.

        Args:
            split: "val" or "test".

        Returns:
            Raw embeddings (n, n_source) and the picture of each, (n,) int32.
        """
        predicted, _, ids = predict_rows(self.encoder, self._rows(split), self.averages_outputs)
        return torch.from_numpy(predicted), ids

    @property
    def averages_outputs(self) -> bool:
        """Whether the encoder is used on repeats one by one and its outputs are averaged."""
        return self.encoder.trial_mode == "average_outputs"

    def direct_ridge(self, targets_of: Callable[[NDArray[np.int32]], NDArray[np.float32]]) -> RidgeFit:
        """Fit a ridge from voxels to target embeddings, on the training rows that an encoder is fitted on.

        Args:
            targets_of: Reads the raw target embeddings of pictures (n,), (n, n_target).

        Returns:
            The fit; alpha is chosen on training pictures.
        """
        self.data.setup("fit")
        rows = self.data.train_rows()
        with warnings.catch_warnings():
            # The report says so instead.
            warnings.simplefilter("ignore", AlphaAtEdgeWarning)
            return fit_ridge(rows.features.numpy(), targets_of(rows.nsd_ids), rows.nsd_ids)

    def direct(self, ridge: RidgeFit, split: HeldOut) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Predict target embeddings by :meth:`direct_ridge`.

        Args:
            ridge: As fitted.
            split: "val" or "test".

        Returns:
            Raw target embeddings (n, n_target) and pictures (n,), the rows of :meth:`predicted`.
        """
        rows = self._rows(split)
        outputs, ids = ridge.predict(rows.features.numpy()).astype(np.float32), rows.nsd_ids
        if self.averages_outputs:
            ids, outputs = average_repeats(outputs, ids)
        return outputs, ids

    def _rows(self, split: HeldOut) -> EncoderRows:
        if split == "val":
            return self.data.val_rows()
        data = self.data
        table = read_index(data.index_root, data.subject)
        store = BetaStore.open(subject_folder(data.betas, data.subject))
        transform = Preprocess.load(subject_folder(data.preproc, data.subject)).eval()
        cache = EmbeddingCache.open(data.clip_cache)
        return make_rows(table, table.split == split, store, transform, cache, self.encoder.trial_mode == "average")


def open_voxels(
    encoder_ckpt: Path | str,
    index_root: Path | str,
    betas: Path | str,
    preproc: Path | str,
    clip_cache: Path | str,
    subject: str,
) -> Voxels:
    """Load an encoder and open the betas it was fitted on; test trials are not read.

    Args:
        encoder_ckpt: For instance checkpoints/ridge/subj01/ridge.ckpt.
        index_root: Folder of the index.
        betas: Beta store of the subject, or the folder of all subjects' stores.
        preproc: Preprocessing of the subject, or the folder of all subjects'.
        clip_cache: Embeddings that the encoder was fitted on.
        subject: For instance subj01.

    Returns:
        Both.

    Raises:
        BadInputError: If a part is missing or damaged, or the encoder is of another subject or of other inputs.
    """
    encoder = load_encoder(encoder_ckpt)
    if encoder.subject != subject:
        raise BadInputError(f"encoder {encoder_ckpt} is of {encoder.subject}, this run is of {subject}")
    mode: TrialMode = encoder.trial_mode  # type: ignore[assignment]
    trained_on = read_checkpoint(encoder_ckpt, "encoder")["fmri_lightning"].get("train_mode", "single")
    data = EncoderDataModule(
        index_root=str(index_root),
        betas=str(betas),
        preproc=str(preproc),
        clip_cache=str(clip_cache),
        subject=subject,
        trial_mode=mode,
        train_mode=trained_on,
    )
    data.setup("validate")
    at_hand = {name: data.inputs[name] for name in ("preproc", "split", "clip_cache")}
    require_inputs(encoder.inputs, at_hand, f"encoder {encoder_ckpt}")
    return Voxels(encoder, data)
