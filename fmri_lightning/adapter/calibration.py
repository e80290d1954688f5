"""Calibration: give predictions the per-dimension mean and spread of real embeddings.

Regression shrinks its predictions towards the mean; a generator has only seen real embeddings. The statistics of
predictions must come from pictures the encoder was not fitted on, validation or out-of-fold, and never from test.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fmri_lightning.encoder.network import floor_std
from fmri_lightning.encoder.stored import record_of_stimuli, require_inputs
from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import Manifest, atomic_path, content_hash, read_manifest, write_manifest

FILE = "calibration.safetensors"
AGAIN = "fit it again: fmri-lightning calibrate"
MAX_GAIN = 10.0
"""Largest factor on a dimension's spread: a dimension that is hardly predicted would be blown up to noise."""

_BUFFERS = ("predicted_mean", "true_mean", "gain")
_NSD_IDS = "fitted_on.nsd_ids"


class EmbeddingStatistics(NamedTuple):
    """Mean and standard deviation per dimension of real embeddings of the training pictures, (dim,) each."""

    mean: Tensor
    std: Tensor


class Calibration(nn.Module):
    """``(x - predicted_mean) * gain + true_mean``, per dimension.

    Args:
        predicted_mean: Mean prediction, (dim,).
        true_mean: Mean real embedding, (dim,).
        gain: Ratio of the spreads, (dim,).
        inputs: Content hashes of the encoder and adapter whose predictions these are.
        nsd_ids: Pictures that were predicted, ascending, (n,); None where nobody said.
        config: How the predictions came about, plain types; goes into the manifest.
    """

    predicted_mean: Tensor
    true_mean: Tensor
    gain: Tensor

    def __init__(
        self,
        predicted_mean: Tensor,
        true_mean: Tensor,
        gain: Tensor,
        inputs: Mapping[str, str] | None = None,
        nsd_ids: NDArray[np.int32] | None = None,
        config: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.inputs, self.config = dict(inputs or {}), dict(config or {})
        self.nsd_ids = nsd_ids
        for name, value in zip(_BUFFERS, (predicted_mean, true_mean, gain), strict=True):
            self.register_buffer(name, value.detach().clone().float())

    @property
    def content_hash(self) -> str:
        """Hash over the three vectors."""
        return content_hash(*(getattr(self, name).cpu().numpy() for name in _BUFFERS))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map raw predictions (n, dim) to calibrated ones (n, dim)."""
        return (embeddings - self.predicted_mean) * self.gain + self.true_mean


def fit_calibration(
    predictions: Tensor,
    true_statistics: EmbeddingStatistics,
    inputs: Mapping[str, str] | None = None,
    nsd_ids: NDArray[np.integer] | None = None,
    config: Mapping[str, str] | None = None,
) -> Calibration:
    """Fit the map from statistics of predictions to statistics of real embeddings.

    Args:
        predictions: Raw predictions for validation pictures or out-of-fold training pictures, (n, dim), n >= 2.
        true_statistics: Of the real embeddings of the training pictures.
        inputs: Content hashes of "encoder" and "adapter".
        nsd_ids: Picture of each prediction, (n,); kept, so that ``doctor --leaks`` sees that none is a test picture.
        config: How the predictions came about, plain types.

    Returns:
        The calibration.

    Raises:
        BadInputError: If widths differ, predictions are fewer than two or not finite.
    """
    if predictions.ndim != 2 or predictions.shape[1:] != true_statistics.mean.shape or len(predictions) < 2:
        raise BadInputError(
            f"calibration: predictions {tuple(predictions.shape)} and statistics of "
            f"{tuple(true_statistics.mean.shape)} do not fit; give at least two predictions in the same space"
        )
    if not torch.isfinite(predictions).all():
        raise BadInputError("calibration: predictions hold NaN or infinity; look at the encoder that made them")
    values = predictions.double()
    spread = floor_std(values.std(dim=0, correction=0))
    gain = (true_statistics.std.double() / spread).clamp(max=MAX_GAIN)
    ids = None if nsd_ids is None else np.unique(nsd_ids).astype(np.int32)
    return Calibration(values.mean(dim=0), true_statistics.mean, gain, inputs, ids, config)


def calibration_folder(root: Path | str, encoder: str, subject: str) -> Path:
    """Name the folder of a calibration: ``{root}/calibration/{encoder}/{subject}``."""
    return Path(root) / "calibration" / encoder / subject


def save_calibration(folder: Path | str, calibration: Calibration) -> Path:
    """Write a calibration and its manifest.

    Args:
        folder: As named by :func:`calibration_folder`.
        calibration: Fitted, with the hashes of encoder and adapter as inputs.

    Returns:
        The folder.

    Raises:
        BadInputError: If it does not name its encoder.
    """
    from safetensors.numpy import save_file

    if "encoder" not in calibration.inputs:
        raise BadInputError("calibration: name the encoder whose predictions it was fitted on (inputs['encoder'])")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    tensors = {name: np.ascontiguousarray(getattr(calibration, name).cpu()) for name in _BUFFERS}
    if calibration.nsd_ids is not None:
        tensors[_NSD_IDS] = calibration.nsd_ids
    with atomic_path(folder / FILE) as temporary:
        save_file(tensors, temporary)
    config = {**calibration.config, **_record(calibration.nsd_ids)}
    write_manifest(folder, Manifest("calibration", calibration.content_hash, calibration.inputs, config))
    return folder


def load_calibration(folder: Path | str, inputs: Mapping[str, str]) -> Calibration:
    """Read a calibration of the encoder and adapter at hand.

    Args:
        folder: As named by :func:`calibration_folder`.
        inputs: Content hashes of "encoder" and, where one is used, "adapter".

    Returns:
        The calibration.

    Raises:
        BadInputError: If it is missing, damaged, or of another encoder or adapter.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    manifest = read_manifest(folder, "calibration")
    if set(manifest.inputs) != set(inputs):
        raise BadInputError(
            f"the calibration {folder} is of {sorted(manifest.inputs)}, this run has {sorted(inputs)}; {AGAIN}"
        )
    require_inputs(manifest.inputs, inputs, f"the calibration {folder}")
    try:
        tensors = load_file(folder / FILE)
        ids = tensors[_NSD_IDS].numpy() if _NSD_IDS in tensors else None
        vectors = [tensors[name] for name in _BUFFERS]
        config = {key: value for key, value in manifest.config.items() if key != "fitted_on"}
        calibration = Calibration(vectors[0], vectors[1], vectors[2], manifest.inputs, ids, config)
    except (OSError, KeyError, SafetensorError) as error:
        raise BadInputError(f"{folder / FILE} cannot be read ({error}); {AGAIN}") from error
    recorded = {key: value for key, value in manifest.config.items() if key == "fitted_on"}
    if (calibration.content_hash, _record(ids)) != (manifest.content_hash, recorded):
        raise BadInputError(f"{folder / FILE} does not match its manifest; {AGAIN}")
    return calibration


def _record(nsd_ids: NDArray[np.int32] | None) -> dict[str, Any]:
    return {} if nsd_ids is None else {"fitted_on": record_of_stimuli(nsd_ids)}
