"""All checks of a run in the order of the flow."""

from __future__ import annotations

from pathlib import Path

from fmri_lightning.betas.leaks import check_leaks, check_split
from fmri_lightning.run_leaks.caches import check_cache
from fmri_lightning.run_leaks.calibrations import check_calibration
from fmri_lightning.run_leaks.checkpoints import check_adapter, check_encoder
from fmri_lightning.run_leaks.fingerprint import check_fingerprint
from fmri_lightning.run_leaks.gallery import check_results
from fmri_lightning.run_leaks.parts import RunParts
from fmri_lightning.run_leaks.ridge import check_ridge

OPTIONAL = ("index", "betas", "clip_cache", "target_cache", "encoder", "adapter", "calibration")


def check_run(run: Path) -> list[str]:
    """Check index, betas, preprocessing, caches, encoder, adapter, calibration, results and fingerprint of a run.

    Args:
        run: Folder written by predict.

    Returns:
        One line per check that passed, and per part that was not there to check.

    Raises:
        BadInputError: At the first leak or mismatch; it names file, statistic and stimuli or trials.
    """
    parts = RunParts.open(run)
    lines = [*_check_brain(parts)]
    lines += [check_cache(name, cache, parts) for name, cache in parts.caches.items()]
    if parts.used("encoder"):
        lines += check_encoder(parts)
        ridge = check_ridge(parts) if "clip_cache" in parts.caches else None
        lines += [] if ridge is None else [ridge]
    if parts.used("adapter"):
        lines += check_adapter(parts)
    if parts.used("calibration"):
        lines += check_calibration(parts)
    lines += [*check_results(parts), check_fingerprint(parts)]
    absent = [name for name in OPTIONAL if not parts.used(name)]
    return [*lines, f"not there to check, for the run read none: {', '.join(absent)}"] if absent else lines


def _check_brain(parts: RunParts) -> list[str]:
    if parts.index is None or parts.table is None:
        return []
    if parts.used("betas"):
        root = Path(parts.data["index_root"])
        return check_leaks(parts.folder_of("betas"), parts.folder_of("preproc"), root, parts.subject)
    return [check_split(parts.table, parts.index)]
