"""Fit a reliability: uncertainties of val pictures against the errors of their predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fmri_lightning.adapter.calibration import load_calibration
from fmri_lightning.adapter.load import LoadedAdapter, load_adapter
from fmri_lightning.adapter.reliability.artefact import Evidence, Reliability, Settings
from fmri_lightning.adapter.reliability.error_map import fit_error_map
from fmri_lightning.adapter.reliability.items import item_features, rows_of_pictures
from fmri_lightning.adapter.voxels import Voxels
from fmri_lightning.betas.preprocess import Preprocess
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.encoder.data import subject_folder
from fmri_lightning.encoder.load import LoadedEncoder, load_encoder
from fmri_lightning.encoder.network import LinearMap, floor_std
from fmri_lightning.encoder.padded import Vectors, padded_forward
from fmri_lightning.encoder.stored import read_checkpoint, require_inputs
from fmri_lightning.encoder.uncertainty.leverage import MAX_RANK, RidgeLeverage, fit_leverage
from fmri_lightning.encoder.uncertainty.passes import PASSES, drops
from fmri_lightning.encoder.uncertainty.repeats import fit_repeat_noise
from fmri_lightning.encoder.uncertainty.signals import TrialMode, Uncertainty
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.table import read_index
from fmri_lightning.records import EmbeddingSpace, require_same_space


class TargetOf:
    """What leads from the encoder's output to the embedding that a picture is drawn from.

    Args:
        encoder: Gives the source embedding.
        adapter_ckpt: Adapter, or None.
        calibration: Folder of a calibration, or None.
        truth: True embeddings in the target space.

    Attributes:
        space: Target space, with the statistics of the training pictures.
        inputs: Content hashes of the parts.

    Raises:
        BadInputError: A part is missing, damaged, or of other inputs.
    """

    def __init__(
        self, encoder: LoadedEncoder, adapter_ckpt: Path | None, calibration: Path | None, truth: EmbeddingCache
    ) -> None:
        self.inputs = {"encoder": encoder.content_hash}
        self.space: EmbeddingSpace = encoder.space
        self._truth = truth
        self._adapter: LoadedAdapter | None = None
        self._calibration: nn.Module | None = None
        at_hand = {"split": encoder.inputs["split"]}
        if adapter_ckpt is not None:
            self._adapter, what = load_adapter(adapter_ckpt), f"adapter {adapter_ckpt}"
            if self._adapter.subject != encoder.subject:
                raise BadInputError(
                    f"{what} is of {self._adapter.subject}, the encoder of {encoder.subject}; use two of one subject"
                )
            require_same_space(encoder.space, self._adapter.source_space, f"encoder of {encoder.subject}", what)
            require_inputs(self._adapter.inputs, {**at_hand, "target_cache": truth.content_hash}, what)
            self.space = self._adapter.target_space
            self.inputs["adapter"] = self._adapter.content_hash
        if calibration is not None:
            loaded = load_calibration(calibration, self.inputs)
            self._calibration = loaded
            self.inputs["calibration"] = loaded.content_hash
        self.inputs |= at_hand
        if self.space.std is None:
            raise BadInputError("the target space carries no statistics of its training embeddings; fit it again")
        self.std = floor_std(torch.tensor(self.space.std).double()).numpy()

    def errors(self, source: Vectors, nsd_ids: NDArray[np.integer]) -> NDArray[np.float64]:
        """RMS error over dimensions of the target embedding of each item, standardised.

        Args:
            source: Predicted source embeddings, (n, n_source).
            nsd_ids: Picture of each, (n,).

        Returns:
            (n,) float64.
        """
        target = source if self._adapter is None else padded_forward(self._adapter, source)
        target = target if self._calibration is None else padded_forward(self._calibration, target)
        difference = (target.astype(np.float64) - self._truth.rows(nsd_ids)) / self.std
        return np.asarray(np.sqrt(np.square(difference).mean(axis=1)))


def leverage_of(voxels: Voxels, max_rank: int = MAX_RANK) -> RidgeLeverage:
    """Decompose the rows that a ridge was fitted on.

    Args:
        voxels: The encoder and its data.
        max_rank: Eigenvectors kept at most.

    Returns:
        The leverage.

    Raises:
        BadInputError: The checkpoint names no alpha.
    """
    alphas = [float(alpha) for alpha in voxels.encoder.fitted.get("alpha", [])]
    if not alphas:
        raise BadInputError("this ridge names no alpha it was fitted with; fit it again")
    voxels.data.setup("fit")
    rows = voxels.data.train_rows()
    features = rows.features.numpy()
    residuals = rows.targets.numpy() - padded_forward(voxels.encoder, features)
    return fit_leverage(features, alphas, residuals, max_rank)


def member_of(path: Path, first: LoadedEncoder) -> tuple[nn.Module, dict[str, Any]]:
    """Load a further encoder of an ensemble, with what describes it.

    Raises:
        BadInputError: It was fitted on other inputs, or is the first one again.
    """
    member = load_encoder(path)
    require_inputs(member.inputs, first.inputs, f"encoder {path}")
    if member.content_hash == first.content_hash:
        raise BadInputError(f"encoder {path} is the first one again: an ensemble needs encoders that differ")
    description = read_checkpoint(path, "encoder")["fmri_lightning"]
    return member.predictor, {"content_hash": member.content_hash, "predictor": dict(description["predictor"])}


def fit_reliability(
    voxels: Voxels,
    target: TargetOf,
    members: Sequence[Path] = (),
    trial_mode: TrialMode | None = None,
    passes: int = PASSES,
    max_rank: int = MAX_RANK,
    settings: Callable[[EmbeddingSpace], Settings] = lambda _: Settings(1.0, 999, 1.0),
) -> Reliability:
    """Fit the reliability of an encoder's predictions on val pictures.

    Args:
        voxels: The encoder and its data; no test trial is read.
        target: What leads to the target embedding.
        members: Further encoders of the same inputs.
        trial_mode: How predict will use repeats; None takes the encoder's.
        passes: Dropout passes of a network, at least 2.
        max_rank: Eigenvectors kept at most, of a ridge.
        settings: From error to level, by target space.

    Returns:
        The reliability.

    Raises:
        UsageError: A network without dropout and without further encoders, which says nothing of its certainty.
        BadInputError: An input is missing or damaged, or there are too few val pictures.
    """
    encoder = voxels.encoder
    mode: TrialMode = trial_mode or encoder.trial_mode  # type: ignore[assignment]
    is_ridge = isinstance(encoder.predictor, LinearMap)
    if not (is_ridge or members or drops(encoder.predictor)):
        raise UsageError(
            "this network was trained without dropout: nothing tells a sure prediction from an unsure one; name "
            "further encoders with --members, or fit one with dropout"
        )
    loaded = [member_of(path, encoder) for path in members]
    data = voxels.data
    table = read_index(data.index_root, data.subject)
    rows, ids, trials = rows_of_pictures(table, np.unique(table.nsd_id[table.split == "val"]), mode)
    preprocess = Preprocess.load(subject_folder(data.preproc, data.subject)).eval()
    items = item_features(BetaStore.open(subject_folder(data.betas, data.subject)).betas, preprocess, rows, ids, trials)
    if encoder.space.std is None or encoder.space.mean is None:
        raise BadInputError("the encoder carries no statistics of its training embeddings; fit it again")
    std = floor_std(torch.tensor(encoder.space.std).double()).numpy()
    _, per_picture = np.unique(np.repeat(ids, items.counts), return_counts=True)
    noise = fit_repeat_noise(padded_forward(encoder, items.trials) / std, per_picture)
    leverage = leverage_of(voxels, max_rank) if is_ridge else None
    uncertainty = Uncertainty(
        np.asarray(encoder.space.mean), std, leverage, [member for member, _ in loaded], noise, mode, passes
    )
    signals = uncertainty.signals(encoder, items)
    errors = target.errors(uncertainty.predicted(encoder, items), ids)
    error_map, ordering = fit_error_map(signals, errors, ids)
    return Reliability(
        uncertainty,
        error_map,
        ordering,
        Evidence(ids, signals, errors, 0.0 if leverage is None else truncation_bound(leverage, items.means)),
        settings(target.space),
        [description for _, description in loaded],
        target.inputs,
    )


def truncation_bound(leverage: RidgeLeverage, features: Vectors) -> float:
    """Largest relative error of the leverage of rows (n, n_features) by truncation; 0 for a whole basis."""
    rows = torch.from_numpy(features)
    return float((leverage.bound(rows) / leverage(rows)).max())
