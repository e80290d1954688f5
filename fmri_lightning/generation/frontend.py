"""From betas to the embeddings that pictures are drawn from: once, in float32, at one batch shape.

The whole test set is always computed, in its own order, and the items asked for are taken from it: a limit, a list
of ids, a shard or a device count then cannot move a bit of any embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fmri_lightning.adapter.reliability.items import item_features
from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.encoder.padded import Vectors, padded_forward
from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.controls import Condition, shuffled_partners
from fmri_lightning.generation.inputs import Inputs
from fmri_lightning.generation.low_level import LowLevel, latents_of_items
from fmri_lightning.generation.nearest import first_by_hash, nearest, training_ids
from fmri_lightning.generation.plan import TrialMode
from fmri_lightning.generation.predictions import Predictions
from fmri_lightning.generation.sampler import NoiseMode
from fmri_lightning.metrics.cosine import cosine, mean_vector_cosine

__all__ = ["FrontEnd", "padded_forward", "run_front_end"]


@dataclass(frozen=True)
class FrontEnd:
    """What the front end found.

    Attributes:
        predictions: Rows of the items asked for.
        mean_vector_cosine: Mean over them of the cosine with the mean training embedding; None where unknown.
        gallery: Training stimuli searched for nearest neighbours.
    """

    predictions: Predictions
    mean_vector_cosine: float | None
    gallery: int


def run_front_end(
    inputs: Inputs,
    condition: Condition,
    trial_mode: TrialMode,
    gallery_limit: int | None,
    seed: int,
    low_level: LowLevel | None = None,
    noise_mode: NoiseMode = "add",
) -> FrontEnd:
    """Compute the embeddings of a run.

    Args:
        inputs: Checked inputs.
        condition: What pictures are drawn from.
        trial_mode: How repeats are combined.
        gallery_limit: Training stimuli of the nearest-neighbour gallery; None takes all.
        seed: Seed of the run; decides the derangement of condition shuffled.
        low_level: Where the layout comes from; None where embeddings steer alone.
        noise_mode: What a noise level does; decides which level stands for an expected error.

    Returns:
        Predictions and baselines.
    """
    items, chosen = inputs.items, inputs.chosen
    source, target, drawn_from = _conditioned(inputs, condition, trial_mode, seed)
    used, cache = (source, inputs.clip_cache) if source is not None else (target, inputs.target_cache)
    levels = _noise_levels(inputs, condition, seed, noise_mode)
    pred_gt = np.full(len(items), np.nan, np.float32)
    nn_ids, nn_cosine = np.full(len(items), -1, np.int32), np.full(len(items), np.nan, np.float32)
    baseline, gallery = None, np.empty(0, np.int32)
    if cache is not None:
        truth = cache.rows(items.nsd_id)
        train = training_ids(inputs.table)
        gallery = first_by_hash(train, gallery_limit)
        if used is not None and condition != "unconditional":
            pred_gt = cosine(used, truth).astype(np.float32)
            if len(gallery):
                nn_ids, nn_cosine = nearest(used, cache.rows(gallery), gallery)
        if len(train):
            mean = cache.rows(train).mean(axis=0, dtype=np.float64)
            baseline = float(mean_vector_cosine(mean, truth[chosen]).mean())
    latents = _latents(inputs, condition, trial_mode, seed, low_level)
    predictions = Predictions(
        nsd_id=items.nsd_id[chosen],
        trial_id=items.trial_id[chosen],
        global_trial=items.global_trial[chosen],
        source=None if source is None else source[chosen],
        target=None if target is None else target[chosen],
        cosine_pred_gt=pred_gt[chosen],
        nn_nsd_id=nn_ids[chosen],
        nn_cosine=nn_cosine[chosen],
        drawn_from_nsd_id=drawn_from[chosen],
        low_level=None if latents is None else latents[chosen],
        noise_level=None if levels is None else levels[chosen],
    )
    return FrontEnd(predictions, baseline, len(gallery))


def _latents(
    inputs: Inputs, condition: Condition, trial_mode: TrialMode, seed: int, low_level: LowLevel | None
) -> Vectors | None:
    """Latents of the full test set, by the same use of repeats and the same partners as the embeddings."""
    if low_level is None:
        return None

    def predict(encoder: torch.nn.Module) -> Vectors:
        return _encode(inputs, encoder, trial_mode)

    latents = latents_of_items(low_level, inputs.items, condition, seed, predict)
    _require_finite(latents, inputs)
    return latents


def _conditioned(
    inputs: Inputs, condition: Condition, trial_mode: TrialMode, seed: int
) -> tuple[Vectors | None, Vectors | None, NDArray[np.int32]]:
    """Source and target vectors of the full test set, and whose they are."""
    items = inputs.items
    own = items.nsd_id
    if condition in ("predicted", "shuffled"):
        source, target = _predicted(inputs, trial_mode)
        if condition == "predicted":
            return source, target, own
        partners = shuffled_partners(items, seed)
        return (
            None if source is None else source[partners],
            None if target is None else target[partners],
            own[partners],
        )
    if condition == "true_target":
        assert inputs.target_cache is not None
        known = None if inputs.clip_cache is None else inputs.clip_cache.rows(own)
        return known, inputs.target_cache.rows(own), own
    if condition == "true_source":
        assert inputs.clip_cache is not None
        true = inputs.clip_cache.rows(own)
        return true, _adapted(inputs, true), own
    if condition == "mean":
        return *_training_mean(inputs), own
    dim = 0 if inputs.target_space is None else inputs.target_space.dim
    return None, np.zeros((len(items), dim), np.float32), own


def _noise_levels(inputs: Inputs, condition: Condition, seed: int, noise_mode: NoiseMode) -> NDArray[np.int32] | None:
    """Noise level of each item of the full test set; a shuffled item has its partner's, as it has its embedding."""
    if inputs.reliability is None:
        return None
    items = inputs.items
    features = item_features(inputs.store.betas, inputs.preprocess, items.rows, items.nsd_id, items.global_trial)
    levels: NDArray[np.int32] = inputs.reliability.levels(
        inputs.reliability.expected_errors(inputs.encoder, features), noise_mode
    )
    return levels[shuffled_partners(items, seed)] if condition == "shuffled" else levels


def _predicted(inputs: Inputs, trial_mode: TrialMode) -> tuple[Vectors | None, Vectors | None]:
    if inputs.given is not None:
        vectors = inputs.given.rows(inputs.items.nsd_id)
        if inputs.given_is_target:
            return None, vectors
        source = vectors
    else:
        source = _encode(inputs, inputs.encoder, trial_mode)
    _require_finite(source, inputs)
    target = _adapted(inputs, source)
    if inputs.calibration is not None:
        target = padded_forward(inputs.calibration, target)
    return source, target


def _require_finite(source: Vectors, inputs: Inputs) -> None:
    bad = ~np.isfinite(source).all(axis=1)
    if bad.any():
        ids = np.unique(inputs.items.nsd_id[bad])
        raise BadInputError(
            f"the predicted embeddings of {len(ids)} test stimuli are not finite (nsd_id {ids[:5].tolist()}): NaN in "
            "their betas; run again: fmri-lightning betas"
        )


def _encode(inputs: Inputs, encoder: torch.nn.Module, trial_mode: TrialMode) -> Vectors:
    betas, groups = inputs.store.betas, inputs.items.rows

    def features_to_embeddings(rows_of_betas: Vectors) -> Vectors:
        return padded_forward(encoder, padded_forward(inputs.preprocess, rows_of_betas))

    rows = np.concatenate(groups)
    if trial_mode == "average_outputs":
        outputs = features_to_embeddings(np.asarray(betas[rows], dtype=np.float32))
        stops = np.cumsum([len(group) for group in groups])
        return np.stack([part.mean(axis=0, dtype=np.float32) for part in np.split(outputs, stops[:-1])])
    counts = [len(group) for group in groups]
    ids, means = average_repeats(np.asarray(betas[rows], dtype=np.float32), np.repeat(np.arange(len(groups)), counts))
    assert np.array_equal(ids, np.arange(len(groups)))
    return features_to_embeddings(means)


def _adapted(inputs: Inputs, source: Vectors) -> Vectors:
    return source if inputs.adapter is None else padded_forward(inputs.adapter, source)


def _training_mean(inputs: Inputs) -> tuple[Vectors, Vectors]:
    """The mean true embedding of the training stimuli, in both spaces, for every item."""
    assert inputs.clip_cache is not None
    train = training_ids(inputs.table)

    def mean_of(cache: Any) -> Vectors:
        mean = cache.rows(train).mean(axis=0, dtype=np.float64).astype(np.float32)
        return np.tile(mean, (len(inputs.items), 1))

    source = mean_of(inputs.clip_cache)
    return source, _adapted(inputs, source) if inputs.target_cache is None else mean_of(inputs.target_cache)
