"""All checks of a run in the order of the flow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fmri_lightning.betas.leaks import check_leaks, check_split
from fmri_lightning.doctor.leaks.caches import check_cache
from fmri_lightning.doctor.leaks.calibrations import check_calibration
from fmri_lightning.doctor.leaks.checkpoints import check_adapter, check_encoder
from fmri_lightning.doctor.leaks.fingerprint import check_fingerprint
from fmri_lightning.doctor.leaks.gallery import check_results
from fmri_lightning.doctor.leaks.loras import check_lora
from fmri_lightning.doctor.leaks.parts import RunParts
from fmri_lightning.doctor.leaks.prediction_only import check_prediction_only
from fmri_lightning.doctor.leaks.reliabilities import check_reliability
from fmri_lightning.doctor.leaks.ridge import check_ridge
from fmri_lightning.index.prediction_only import is_prediction_only

OPTIONAL = ("index", "betas", "clip_cache", "target_cache", "encoder", "adapter", "calibration", "reliability")


def check_run(run: Path) -> Iterator[str]:
    """Check everything that a run was made from, its results and its fingerprint.

    Args:
        run: Folder written by predict.

    Yields:
        One line per check that passed, and per part that was not there to check, as they end.

    Raises:
        BadInputError: At the first leak or mismatch; it names file, statistic and stimuli or trials.
    """
    parts = RunParts.open(run)
    if is_prediction_only(parts.index):
        yield from check_prediction_only(parts)
        return
    yield from _check_brain(parts)
    for name, cache in parts.caches.items():
        yield check_cache(name, cache, parts)
    if parts.used("encoder"):
        yield from check_encoder(parts)
        ridge = check_ridge(parts) if "clip_cache" in parts.caches else None
        if ridge is not None:
            yield ridge
    if parts.used("low_level"):
        yield from check_encoder(parts, "low_level")
    if parts.used("adapter"):
        yield from check_adapter(parts)
    if parts.used("calibration"):
        yield from check_calibration(parts)
    if parts.used("reliability"):
        yield from check_reliability(parts)
    if parts.used("lora"):
        yield check_lora(parts)
    yield from check_results(parts)
    yield check_fingerprint(parts)
    absent = [name for name in OPTIONAL if not parts.used(name)]
    if absent:
        yield f"not there to check, for the run read none: {', '.join(absent)}"


def _check_brain(parts: RunParts) -> list[str]:
    if parts.index is None or parts.table is None:
        return []
    if parts.used("betas"):
        root = Path(parts.data["index_root"])
        return check_leaks(parts.folder_of("betas"), parts.folder_of("preproc"), root, parts.subject)
    return [check_split(parts.table, parts.index)]
