"""Open what predict needs and refuse parts that were not made for one another, before anything heavy is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.embeddings.spaces import SPACES
from fmri_lightning.encoder.stored import require_inputs
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.controls import NEEDS_BRAIN, Condition
from fmri_lightning.generation.data import ReconstructionDataModule
from fmri_lightning.generation.plan import Items
from fmri_lightning.index.prediction_only import is_prediction_only
from fmri_lightning.manifest import Manifest, read_manifest, require_input
from fmri_lightning.records import EmbeddingSpace, TrialTable, require_embeddings, require_same_space

UNIT_TOLERANCE = 1e-3
"""How far from 1 the length of a normalised vector may be after it was stored in half precision."""


@dataclass
class Inputs:
    """Everything the front end reads, checked.

    Attributes:
        items: Full test set.
        chosen: Positions of the items asked for.
        table: Index of the subject, or None.
        store: Beta store, or None where no brain is read.
        preprocess: Module from T0 betas to features, or None.
        encoder: Features to raw source embeddings, or None.
        adapter: Source to target embeddings, or None.
        calibration: Correction of predicted target embeddings, or None.
        reliability: Expected error of each prediction, or None.
        given: Embeddings of another system, or None.
        given_is_target: Whether those are in the decoder's space already.
        clip_cache: True source embeddings, or None.
        target_cache: True target embeddings, or None.
        source_space: Space of source embeddings, or None.
        target_space: Space the decoder gets, or None.
        hashes: Content hash per input.
        trained_split: Split of the training stimuli that every fitted part must name, or None where nothing tells it.
    """

    items: Items
    chosen: NDArray[np.int64]
    table: TrialTable | None = None
    store: Any = None
    preprocess: Any = None
    encoder: Any = None
    adapter: Any = None
    calibration: Any = None
    reliability: Any = None
    given: EmbeddingCache | None = None
    given_is_target: bool = False
    clip_cache: EmbeddingCache | None = None
    target_cache: EmbeddingCache | None = None
    source_space: EmbeddingSpace | None = None
    target_space: EmbeddingSpace | None = None
    hashes: dict[str, str] = field(default_factory=dict)
    trained_split: str | None = None


def open_inputs(
    data: ReconstructionDataModule,
    encoder_ckpt: str | None,
    adapter_ckpt: str | None,
    calibration: str | None,
    condition: Condition,
    decoder_space: EmbeddingSpace | None,
    reliability: str | None = None,
) -> Inputs:
    """Open and check all inputs of a run.

    Args:
        data: The datamodule after its setup.
        encoder_ckpt: Encoder checkpoint; needed where predictions are drawn and no embeddings are given.
        adapter_ckpt: Adapter checkpoint, or None where source and target space are one.
        calibration: Folder of a calibration, or None.
        condition: What the pictures are drawn from.
        decoder_space: Space the decoder needs, or None to stop at predictions.
        reliability: Folder of a reliability, or None.

    Returns:
        The inputs.

    Raises:
        UsageError: A part that the condition needs is not named.
        BadInputError: A part is missing or damaged, or two parts were made from different inputs.
    """
    inputs = Inputs(items=data.items, chosen=data.chosen, table=data.table)
    if data.index_manifest is not None:
        inputs.hashes["index"] = data.index_manifest.content_hash
    for name in ("clip_cache", "target_cache"):
        path = getattr(data, name)
        if path is not None:
            cache = EmbeddingCache.open(path)
            require_embeddings(cache.space, f"{name} {path}")
            setattr(inputs, name, cache)
            inputs.hashes[name] = cache.content_hash
    if adapter_ckpt is not None:
        _open_adapter(inputs, adapter_ckpt)
    inputs.trained_split = _trained_split(data, needed=adapter_ckpt is not None)
    if data.given is not None:
        _take_given(inputs, data, decoder_space)
    elif condition in NEEDS_BRAIN:
        _open_brain(inputs, data, encoder_ckpt)
    if calibration is not None and condition in NEEDS_BRAIN:
        _open_calibration(inputs, calibration)
    if reliability is not None and condition in NEEDS_BRAIN:
        _open_reliability(inputs, reliability, data)
    if inputs.source_space is None and inputs.clip_cache is not None:
        inputs.source_space = inputs.clip_cache.space
    _check_spaces(inputs, data, adapter_ckpt, encoder_ckpt, decoder_space)
    _check_fitted_on(inputs, data.index_manifest, encoder_ckpt, adapter_ckpt)
    _check_condition(inputs, condition, decoder_space, is_prediction_only(data.index_manifest))
    return inputs


def _trained_split(data: ReconstructionDataModule, needed: bool) -> str | None:
    """Name the split that fitted parts were trained on: the index's, or where it has none the preprocessing's."""
    if data.index_manifest is None:
        return None
    if not is_prediction_only(data.index_manifest):
        return str(data.index_manifest.config.get("split_hash"))
    return read_manifest(data.preproc, "preproc").inputs["split"] if needed else None


def _open_adapter(inputs: Inputs, adapter_ckpt: str) -> None:
    from fmri_lightning.adapter.load import load_adapter

    inputs.adapter = load_adapter(adapter_ckpt)
    inputs.hashes["adapter"] = inputs.adapter.content_hash


def _open_brain(inputs: Inputs, data: ReconstructionDataModule, encoder_ckpt: str | None) -> None:
    from fmri_lightning.betas.like import require_like
    from fmri_lightning.betas.preprocess import Preprocess
    from fmri_lightning.betas.store import BetaStore
    from fmri_lightning.encoder.load import load_encoder

    if encoder_ckpt is None:
        raise UsageError("name the encoder with --model.encoder_ckpt FILE, or give --data.embeddings FILE")
    if data.index_manifest is None:
        raise UsageError("predictions need the index; name it with --data.index_root DIR")
    betas_again = f"fmri-lightning betas --subject {data.subject}"
    fit_again = "fmri-lightning fit --config configs/encoder/ridge.yaml (or mlp.yaml)"
    only_predicted = is_prediction_only(data.index_manifest)
    store = BetaStore.open(data.betas, verify=only_predicted)
    require_input(store.manifest, "index", data.index_manifest.content_hash, betas_again)
    preproc = read_manifest(data.preproc, "preproc")
    if only_predicted:
        require_like(store, preproc)
        inputs.trained_split = preproc.inputs["split"]
    else:
        require_input(preproc, "betas", store.manifest.content_hash, betas_again)
        require_input(preproc, "split", str(data.index_manifest.config.get("split_hash")), betas_again)
    encoder = load_encoder(encoder_ckpt)
    require_embeddings(encoder.space, f"encoder {encoder_ckpt}")
    if encoder.subject != data.subject:
        raise BadInputError(f"encoder {encoder_ckpt} is of {encoder.subject}, --data.subject is {data.subject}")
    made_from = Manifest("encoder", encoder.content_hash, inputs=dict(encoder.inputs))
    require_input(made_from, "preproc", preproc.content_hash, fit_again)
    preprocess = Preprocess.load(data.preproc)
    widths = (*store.betas.shape, preprocess.n_features)
    expected = (len(data.table or ()), preprocess.n_voxels, encoder.n_features)
    if widths != expected:
        raise BadInputError(
            f"trials, voxels and features are {widths} in {data.betas} and {data.preproc}, index, preprocessing and "
            f"encoder expect {expected}; run again: {betas_again}, then {fit_again}"
        )
    inputs.store, inputs.preprocess, inputs.encoder = store, preprocess, encoder
    inputs.source_space = encoder.space
    inputs.hashes |= {
        "betas": store.manifest.content_hash,
        "preproc": preproc.content_hash,
        "split": str(data.index_manifest.config.get("split_hash")),
        "encoder": encoder.content_hash,
    }


def _open_calibration(inputs: Inputs, folder: str) -> None:
    from fmri_lightning.adapter.calibration import load_calibration

    if inputs.encoder is None:
        raise UsageError("a calibration belongs to an encoder; --data.embeddings takes no --model.calibration")
    parts: dict[str, str] = {name: inputs.hashes[name] for name in ("encoder", "adapter") if name in inputs.hashes}
    inputs.calibration = load_calibration(folder, parts)
    inputs.hashes["calibration"] = inputs.calibration.content_hash


def _open_reliability(inputs: Inputs, folder: str, data: ReconstructionDataModule) -> None:
    from fmri_lightning.adapter.reliability.artefact import load_reliability

    if inputs.encoder is None:
        raise UsageError("a reliability belongs to an encoder; --data.embeddings takes no --model.reliability")
    names = ("encoder", "adapter", "calibration", "split")
    parts: dict[str, str] = {name: inputs.hashes[name] for name in names if name in inputs.hashes}
    if inputs.trained_split is not None:
        parts["split"] = inputs.trained_split
    inputs.reliability = load_reliability(folder, parts, data.trial_mode)
    inputs.hashes["reliability"] = inputs.reliability.content_hash


def _take_given(inputs: Inputs, data: ReconstructionDataModule, decoder_space: EmbeddingSpace | None) -> None:
    given = data.given
    assert given is not None
    if data.trial_mode != "average":
        raise UsageError("--data.embeddings holds one vector a picture; it goes with --data.trial_mode average")
    require_embeddings(given.space, f"embeddings {data.embeddings}")
    _require_declared_scale(given, f"embeddings {data.embeddings}")
    inputs.given = given
    inputs.hashes["embeddings"] = given.content_hash
    to_adapter = inputs.adapter is not None and given.space.dim == inputs.adapter.source_space.dim
    inputs.given_is_target = not to_adapter and decoder_space is not None and given.space.dim == decoder_space.dim
    if not inputs.given_is_target:
        inputs.source_space = given.space


def _require_declared_scale(given: EmbeddingCache, what: str) -> None:
    """Refuse vectors of unit length that are said to be raw, and the other way round."""
    norms = np.linalg.norm(given.embeddings[:1000].astype(np.float64), axis=1)
    of_unit_length = bool(np.all(np.abs(norms - 1) < UNIT_TOLERANCE))
    if of_unit_length != (given.space.scale == "unit"):
        raise BadInputError(
            f"{what} say they are {given.space.scale}, their median length is {np.median(norms):.3g}; "
            "write raw projections, or declare their scale"
        )


def _check_spaces(
    inputs: Inputs,
    data: ReconstructionDataModule,
    adapter_ckpt: str | None,
    encoder_ckpt: str | None,
    decoder_space: EmbeddingSpace | None,
) -> None:
    source = inputs.source_space
    maker = f"encoder {encoder_ckpt}" if inputs.encoder is not None else f"embeddings {data.embeddings}"
    if inputs.encoder is None and inputs.given is None:
        maker = f"clip cache {data.clip_cache}"
    if source is not None and inputs.clip_cache is not None:
        same_space(source, inputs.clip_cache.space, maker, f"clip cache {data.clip_cache}")
    if source is not None and inputs.adapter is not None:
        same_space(source, inputs.adapter.source_space, maker, f"adapter {adapter_ckpt}")
    if inputs.given_is_target:
        assert inputs.given is not None
        inputs.target_space, target_maker = inputs.given.space, f"embeddings {data.embeddings}"
    elif inputs.adapter is not None:
        inputs.target_space, target_maker = inputs.adapter.target_space, f"adapter {adapter_ckpt}"
    else:
        inputs.target_space, target_maker = source, maker
    if decoder_space is not None:
        if inputs.target_space is not None:
            same_space(inputs.target_space, decoder_space, target_maker, "the decoder")
        if inputs.target_cache is not None:
            same_space(inputs.target_cache.space, decoder_space, f"target cache {data.target_cache}", "the decoder")
        inputs.target_space = inputs.target_space or decoder_space


def _check_fitted_on(
    inputs: Inputs, index: Manifest | None, encoder_ckpt: str | None, adapter_ckpt: str | None
) -> None:
    """Refuse weights of another split, whose training stimuli may be test stimuli here, or of other embeddings.

    A prediction-only index has embeddings of its own pictures, none of which anything was fitted on: they are held to
    the same space, by :func:`_check_spaces`, and not to the same file.
    """
    at_hand = {} if inputs.trained_split is None else {"split": inputs.trained_split}
    if not is_prediction_only(index):
        at_hand |= {name: inputs.hashes[name] for name in ("clip_cache", "target_cache") if name in inputs.hashes}
    for kind, part, path in (("encoder", inputs.encoder, encoder_ckpt), ("adapter", inputs.adapter, adapter_ckpt)):
        if part is not None:
            wanted = {name: value for name, value in at_hand.items() if name in part.inputs}
            require_inputs(part.inputs, wanted, f"{kind} {path}")


def same_space(a: EmbeddingSpace, b: EmbeddingSpace, what_a: str, what_b: str) -> None:
    """Refuse two parts of different spaces, by name where one of them carries no probe vectors.

    Args:
        a: Space of the first part.
        b: Space of the second part.
        what_a: The first part in words.
        what_b: The second part in words.

    Raises:
        BadInputError: The spaces differ.
    """
    require_same_space(a, b, what_a, what_b)
    unproved = a.probe is None or b.probe is None
    if unproved and a.name != b.name and a.name in SPACES and b.name in SPACES:
        raise BadInputError(
            f"{what_a} works in {a.name!r}, {what_b} in {b.name!r}; use two parts made for one embedding space"
        )


def _check_condition(
    inputs: Inputs, condition: Condition, decoder_space: EmbeddingSpace | None, only_predicted: bool
) -> None:
    if condition == "mean" and only_predicted:
        raise UsageError(
            "condition mean draws from the mean of the training stimuli, and a prediction-only index has none; draw it "
            "from the index that the encoder was trained on"
        )
    if condition == "true_target" and inputs.target_cache is None:
        raise UsageError("condition true_target needs --data.target_cache FILE (fmri-lightning clip-cache --space …)")
    if condition in ("true_source", "mean") and inputs.clip_cache is None:
        raise UsageError(f"condition {condition} needs --data.clip_cache FILE")
    if condition == "mean" and inputs.table is None:
        raise UsageError("condition mean needs the index, for the training stimuli; name it with --data.index_root DIR")
    ids = inputs.items.nsd_id
    for cache in (inputs.clip_cache, inputs.target_cache):
        if cache is not None:
            cache.row_numbers(ids)
    if decoder_space is None or inputs.adapter is not None or inputs.given_is_target:
        return
    if condition in ("predicted", "shuffled", "true_source") and inputs.source_space is not None:
        same_space(inputs.source_space, decoder_space, "the embeddings", "the decoder (no --model.adapter_ckpt)")
