"""Reliability: of these parts, learnt from the errors of val pictures and of no others, and computed again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.adapter.reliability.artefact import AGAIN, Reliability, load_reliability
from fmri_lightning.adapter.reliability.error_map import fit_error_map
from fmri_lightning.adapter.reliability.fit import TargetOf
from fmri_lightning.adapter.reliability.items import item_features, rows_of_pictures
from fmri_lightning.adapter.voxels import open_voxels
from fmri_lightning.betas.preprocess import Preprocess
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.doctor.leaks.parts import RunParts
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.encoder.uncertainty.leverage import RidgeLeverage
from fmri_lightning.errors import BadInputError

TOLERANCE = 1e-3
"""Relative: what it is computed with is as hashed, so that only other libraries or machines round differently; an
error of another picture differs by a tenth."""


def check_reliability(parts: RunParts) -> list[str]:
    """Check the reliability of a run.

    Args:
        parts: The run, with a brain and an index.

    Returns:
        Lines for the report.

    Raises:
        BadInputError: Hash, inputs or numbers do not agree, or it saw the errors of pictures other than val.
    """
    folder = Path(parts.model["reliability"])
    names = ("encoder", "adapter", "calibration", "split")
    made_from = {name: parts.manifest.inputs[name] for name in names if parts.used(name)}
    found = load_reliability(folder, made_from, parts.data["trial_mode"])
    what = f"reliability {folder}"
    ids = np.unique(found.evidence.nsd_ids)
    foreign = np.setdiff1d(ids, parts.stimuli("val"))
    if len(foreign):
        raise BadInputError(f"{what} was fitted on errors of {parts.name_stimuli(foreign)}; {AGAIN}")
    lines = [f"{what}: numbers as hashed, of these parts, from {len(ids)} val stimuli"]
    lines.append(_check_errors(what, found, ids, parts))
    leverage = found.uncertainty.leverage
    if leverage is not None:
        lines.append(_check_leverage(what, leverage, parts))
    return lines


def _check_errors(what: str, found: Reliability, ids: NDArray[np.int32], parts: RunParts) -> str:
    """Compute uncertainties and errors of its val pictures again, and fit the map on them."""
    assert parts.table is not None
    encoder, evidence = load_encoder(parts.checkpoint_path("encoder")), found.evidence
    rows, shown, trials = rows_of_pictures(parts.table, ids, found.trial_mode)
    store, preprocess = BetaStore.open(parts.folder_of("betas")), Preprocess.load(parts.folder_of("preproc"))
    items = item_features(store.betas, preprocess, rows, shown, trials)
    if not np.array_equal(shown, evidence.nsd_ids):
        raise BadInputError(f"{what}: its items are not those of its {len(ids)} val stimuli; {AGAIN}")
    again = {"uncertainties": (evidence.signals, found.uncertainty.signals(encoder, items))}
    cache = parts.caches.get("target_cache" if parts.used("adapter") else "clip_cache")
    if cache is not None:
        adapter = parts.checkpoint_path("adapter") if parts.used("adapter") else None
        calibration = Path(parts.model["calibration"]) if parts.used("calibration") else None
        target = TargetOf(encoder, adapter, calibration, cache)
        again["errors"] = (evidence.errors, target.errors(found.uncertainty.predicted(encoder, items), shown))
    fitted, ordering = fit_error_map(evidence.signals, evidence.errors, evidence.nsd_ids)
    again["expected errors"] = (found.error_map.errors(evidence.signals), fitted.errors(evidence.signals))
    again["rank correlation"] = (np.array([found.ordering.low]), np.array([ordering.low]))
    for name, (stored, expected) in again.items():
        if not np.allclose(stored, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
            raise BadInputError(f"{what}: {name} are not those of its {len(ids)} val stimuli; it saw others; {AGAIN}")
    unseen = "" if cache is not None else "; the run names no embeddings to compute the errors from"
    return f"{what}: {', '.join(again)} are those of its {len(ids)} val stimuli{unseen}"


def _check_leverage(what: str, leverage: RidgeLeverage, parts: RunParts) -> str:
    """Compare the mean row with that of the training rows; one foreign row moves it."""
    if "clip_cache" not in parts.caches:
        return f"{what}: the run names no clip_cache; the rows of its leverage are not there to check"
    voxels = open_voxels(
        parts.checkpoint_path("encoder"),
        parts.data["index_root"],
        parts.data["betas"],
        parts.data["preproc"],
        parts.data["clip_cache"],
        parts.subject,
    )
    voxels.data.setup("fit")
    rows = voxels.data.train_rows().features.numpy().astype(np.float64)
    mean, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-12
    off = float(np.max(np.abs(leverage.mean.numpy() - mean) / spread))
    if int(leverage.n_train) != len(rows) or off > 1e-6:
        raise BadInputError(
            f"{what}: its leverage is of {int(leverage.n_train)} rows whose mean is off by {off:.2g} deviations, not "
            f"of the {len(rows)} training rows; {AGAIN}"
        )
    return f"{what}: its leverage is that of the {len(rows)} training rows"
