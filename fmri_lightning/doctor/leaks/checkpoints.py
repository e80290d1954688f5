"""Encoder and adapter: weights as hashed, inputs as they lie there, statistics of training stimuli and no others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fmri_lightning.adapter.load import load_adapter
from fmri_lightning.adapter.network import AdapterNetwork
from fmri_lightning.doctor.leaks.fitted_on import check_record
from fmri_lightning.doctor.leaks.parts import RunParts
from fmri_lightning.doctor.leaks.statistics import (
    Stored,
    floored_std_of,
    mean_of,
    median_norm_of,
    require_of_training,
    std_of,
    unit_length,
)
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.encoder.network import NetworkMap
from fmri_lightning.encoder.stored import read_checkpoint, require_inputs
from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import read_json, read_manifest
from fmri_lightning.records import EmbeddingSpace

ENCODER_AGAIN = "run again: fmri-lightning fit --config configs/encoder/ridge.yaml (or mlp.yaml)"
ADAPTER_AGAIN = "run again: fmri-lightning fit --config configs/adapter.yaml"


def check_encoder(parts: RunParts, name: Literal["encoder", "low_level"] = "encoder") -> list[str]:
    """Check the encoder of a run, or that of its low-level path.

    Args:
        parts: The run.
        name: Which of the two.

    Returns:
        Lines for the report.

    Raises:
        BadInputError: Weights, inputs, record or statistics are not those of the training stimuli at hand.
    """
    path = parts.checkpoint_path(name)
    encoder = load_encoder(path)  # verifies the content hash
    # Of latents the run knows the true ones only in the conditions that draw from the truth, and by another name.
    of_encoder = ("clip_cache",) if name == "encoder" else ()
    stored, what = read_checkpoint(path, "encoder")["fmri_lightning"], f"{name} {path}"
    preproc = {"preproc": read_manifest(parts.folder_of("preproc"), "preproc").content_hash}
    require_inputs(stored["inputs"], {**preproc, **_split_and_caches(parts, *of_encoder)}, what)
    _require_subject(what, encoder.subject, parts)
    lines = [f"{what}: weights as hashed, inputs as at hand"]
    if parts.table is None:
        return lines
    lines.append(check_record(what, stored.get("fitted_on"), parts, ENCODER_AGAIN))
    cache = parts.caches.get("clip_cache" if name == "encoder" else "low_level_cache")
    if cache is None:
        return [
            *lines,
            f"{what}: the run names no cache of its targets; the statistics of its targets are not there to check",
        ]
    statistics = _of_space("space", encoder.space)
    if isinstance(encoder.predictor, NetworkMap):
        statistics += _of_buffers(encoder.predictor, "target")
    require_of_training(what, statistics, cache, parts, ENCODER_AGAIN)
    return [*lines, f"{what}: {_names(statistics)} are those of the {len(parts.train_ids)} training stimuli"]


def check_adapter(parts: RunParts) -> list[str]:
    """Check the adapter of a run.

    Args:
        parts: The run.

    Returns:
        Lines for the report.

    Raises:
        BadInputError: Weights, inputs, record or statistics are not those of the training stimuli at hand.
    """
    path = parts.checkpoint_path("adapter")
    adapter = load_adapter(path)  # verifies the content hash
    stored, what = read_checkpoint(path, "adapter")["fmri_lightning"], f"adapter {path}"
    require_inputs(stored["inputs"], _split_and_caches(parts, "clip_cache", "target_cache"), what)
    _require_subject(what, adapter.subject, parts)
    lines = [f"{what}: weights as hashed, inputs as at hand"]
    if parts.table is None:
        return lines
    lines.append(check_record(what, stored.get("fitted_on"), parts, ADAPTER_AGAIN))
    _require_count_in_report(path, adapter.content_hash, parts)
    spaces = {"source": adapter.source_space, "target": adapter.target_space}
    for side, name in (("source", "clip_cache"), ("target", "target_cache")):
        cache = parts.caches.get(name)
        if cache is None:
            lines.append(f"{what}: the run names no {name}; the statistics of its {side} are not there to check")
            continue
        statistics = _of_buffers(adapter.network, side) + _of_space(f"{side}_space", spaces[side])
        require_of_training(what, statistics, cache, parts, ADAPTER_AGAIN)
        lines.append(f"{what}: {_names(statistics)} are those of the {len(parts.train_ids)} training stimuli")
    return lines


def _split_and_caches(parts: RunParts, *names: str) -> dict[str, str]:
    at_hand = {} if parts.index is None else {"split": str(parts.index.config["split_hash"])}
    return at_hand | {name: parts.caches[name].content_hash for name in names if name in parts.caches}


def _require_subject(what: str, subject: str, parts: RunParts) -> None:
    if subject != parts.subject:
        raise BadInputError(f"{what} is of {subject}, the run is of {parts.subject}; run predict with one of its own")


def _of_space(name: str, space: EmbeddingSpace) -> list[Stored]:
    """Statistics in the description of a space; foreign parts may have none."""
    if space.mean is None or space.std is None or space.median_norm is None:
        return []
    return [
        Stored(f"{name}.mean", np.asarray(space.mean), mean_of),
        Stored(f"{name}.std", np.asarray(space.std), std_of),
        Stored(f"{name}.median_norm", np.array([space.median_norm]), median_norm_of),
    ]


def _of_buffers(network: NetworkMap | AdapterNetwork, side: str) -> list[Stored]:
    """Statistics that a network applies; it takes its source at unit length."""
    buffers: Mapping[str, Any] = dict(network.named_buffers())
    prepare = {"prepare": unit_length} if side == "source" else {}
    return [
        Stored(name, buffers[name].numpy(), statistic, **prepare)
        for name, statistic in ((f"{side}_mean", mean_of), (f"{side}_std", floored_std_of))
    ]


def _require_count_in_report(path: Path, content_hash: str, parts: RunParts) -> None:
    """Compare the adapter's report, where it lies beside this adapter."""
    report = path.with_name(f"{parts.subject}_clip_adapter.json")
    if not report.is_file():
        return
    stored = read_json(report)
    if stored.get("content_hash") != content_hash:
        return  # of another fit in this folder; no part of the run
    found = stored["data_splits"]
    expected = {f"n_{split}": len(parts.stimuli(split)) for split in ("train", "val", "test")}
    if found != expected:
        raise BadInputError(f"{report}: data_splits are {found}, expected {expected}; {ADAPTER_AGAIN}")


def _names(statistics: list[Stored]) -> str:
    return ", ".join(one.name for one in statistics) or "no statistics"
