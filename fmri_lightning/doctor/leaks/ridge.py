"""A ridge's own proof of what it was fitted on: its residuals add up to zero over those trials and over no others."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fmri_lightning.betas.preprocess import Preprocess
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.doctor.leaks.parts import RunParts
from fmri_lightning.doctor.leaks.suspects import suspects
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.encoder.data import EncoderDataModule
from fmri_lightning.encoder.load import LoadedEncoder, load_encoder
from fmri_lightning.encoder.network import LinearMap
from fmri_lightning.encoder.stored import read_checkpoint
from fmri_lightning.errors import BadInputError
from fmri_lightning.records import TrialTable

TOLERANCE = 1e-5
"""Largest mean residual over the training rows, in standard deviations of the target. An intercept stored in float32
leaves 1e-7 of itself; one foreign trial among 27000 leaves 4e-5 where it misses by one standard deviation."""


def check_ridge(parts: RunParts) -> str | None:
    """Check that the intercept of a ridge is that of its training trials.

    The intercept is never penalised, so the residuals of a ridge have mean zero over the rows it was fitted on.

    Args:
        parts: The run, with betas, an index and a clip cache.

    Returns:
        A line for the report, or None where the encoder is no ridge.

    Raises:
        BadInputError: The residuals of the training trials do not add up to zero.
    """
    path = parts.checkpoint_path("encoder")
    encoder = load_encoder(path)
    if encoder.name != "ridge" or not isinstance(encoder.predictor, LinearMap):
        return None
    train_mode = read_checkpoint(path, "encoder")["fmri_lightning"].get("train_mode", "single")
    data = EncoderDataModule(
        parts.data["index_root"],
        str(parts.folder_of("betas")),
        str(parts.folder_of("preproc")),
        parts.data["clip_cache"],
        parts.subject,
        train_mode=train_mode,
    )
    data.setup("fit")
    rows = data.train_rows()
    targets = rows.targets.numpy().astype(np.float64)
    residual = targets.mean(axis=0) - _linear(encoder, rows.features.numpy().mean(axis=0, dtype=np.float64))
    spread = np.maximum(targets.std(axis=0), 1e-6 * targets.std(axis=0).max())
    rounding = 1e-6 * np.abs(encoder.predictor.intercept.numpy())
    if np.all(np.abs(residual) <= TOLERANCE * spread + rounding):
        return f"encoder {path}: the residuals of its {len(targets)} training rows add up to zero, as a ridge's do"
    worst = int(np.argmax(np.abs(residual) / spread))
    raise BadInputError(
        f"encoder {path}: the intercept is not that of the {len(targets)} training rows (dimension {worst}: mean "
        f"residual {residual[worst]:.3g}, expected 0); it saw {_name_trials(parts, encoder, residual, spread)}; "
        "run again: fmri-lightning fit --config configs/encoder/ridge.yaml"
    )


def _linear(encoder: LoadedEncoder, features: NDArray[np.floating]) -> NDArray[np.float64]:
    predictor = encoder.predictor
    assert isinstance(predictor, LinearMap)
    return np.asarray(features @ predictor.weights.double().numpy() + predictor.intercept.double().numpy())


def _name_trials(
    parts: RunParts, encoder: LoadedEncoder, residual: NDArray[np.float64], spread: NDArray[np.float64]
) -> str:
    """Find the trials whose residuals are what the training trials lack."""
    table, cache = parts.table, parts.caches["clip_cache"]
    assert table is not None
    others = np.flatnonzero(table.split != "train")
    missed = _residuals(parts, encoder, table, others, cache)
    found = others[suspects(residual / spread, -missed / spread, table.split[others])]
    if not len(found):
        return "other trials, which cannot be told apart"
    listed = ", ".join(f"{int(table.global_trial[row])} ({table.split[row]})" for row in found[:5])
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return f"{len(found)} trials outside train: global_trial {listed}{more}"


def _residuals(
    parts: RunParts, encoder: LoadedEncoder, table: TrialTable, rows: NDArray[np.int64], cache: EmbeddingCache
) -> NDArray[np.float64]:
    betas = np.asarray(BetaStore.open(parts.folder_of("betas")).betas[rows], dtype=np.float32)
    with torch.no_grad():
        features = Preprocess.load(parts.folder_of("preproc")).eval()(torch.from_numpy(betas)).numpy()
    return np.asarray(cache.rows(table.nsd_id[rows]) - _linear(encoder, features.astype(np.float64)))
