"""What the command leaves in {run}/brain: tables, maps, bars, and a summary that says the rest is whole."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.store import write_npz
from fmri_lightning.evaluation.voxels.bars import write_bars
from fmri_lightning.evaluation.voxels.compute import Found, Settings
from fmri_lightning.evaluation.voxels.flat import MM_PER_PX, FlatCortex, flatten
from fmri_lightning.evaluation.voxels.maps import UNDERLAY, NativeSpace, write_map
from fmri_lightning.evaluation.voxels.material import Material
from fmri_lightning.evaluation.voxels.tables import ablation_rows, region_rows, write_table
from fmri_lightning.evaluation.voxels.words import QUANTITIES
from fmri_lightning.locks import run_lock
from fmri_lightning.manifest import Manifest, atomic_path, content_hash, file_sha256, write_json, write_manifest

FOLDER = "brain"
SUMMARY = "summary.json"
MAPS = "maps"
FLAT = "flat"
ON_FLAT = ("pattern", "encoding_r", "encoding_of_ceiling")


@dataclass(frozen=True, eq=False)
class Places:
    """Where maps can be drawn.

    Attributes:
        space: Native volume, or None.
        why_no_maps: Why there is none, or "".
        cortex: Flattened hemispheres; empty for none.
        why_no_flat: Why there are none, or "".
    """

    space: NativeSpace | None
    why_no_maps: str
    cortex: list[FlatCortex]
    why_no_flat: str


def summarise(material: Material, settings: Settings, found: Found, places: Places) -> dict[str, Any]:
    """Turn what was found into the contents of summary.json.

    Args:
        material: Of the run.
        settings: Of the command.
        found: The numbers.
        places: Where maps can be drawn.

    Returns:
        Plain types.
    """
    run, space = material.run.summary, places.space
    return {
        "subject": run["subject"],
        "encoder": run.get("encoder"),
        "simulated": bool(run.get("simulated", False)),
        "test_set": run.get("test_set"),
        "n_voxels": material.n_voxels,
        "n_read": len(material.read),
        "space": None if space is None else f"native {space.name} of {space.subject}",
        "maps": [] if space is None else list(found.maps),
        "no_maps": places.why_no_maps or None,
        "flat": [f"{side.hemisphere}: {side.layout}" for side in places.cortex],
        "no_flat": places.why_no_flat or None,
        "patterns": found.facts.get("patterns"),
        "encoding": found.facts.get("encoding"),
        "ablation": found.ablation,
        "regions": found.quantities,
        "skipped": material.rois.skipped,
        "resamples": settings.plan.resamples,
        "seed": settings.plan.seed,
    }


def write_results(
    folder: Path, material: Material, found: Found, summary: dict[str, Any], places: Places
) -> list[Path]:
    """Write everything, the manifest last, beside the folder, and then put it in the place of what lay there.

    Args:
        folder: ``{run}/brain``.
        material: Of the run.
        found: The numbers.
        summary: Of :func:`summarise`.
        places: Where maps can be drawn.

    Returns:
        The files.
    """
    with run_lock(folder.parent):
        making = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(making, ignore_errors=True)
        try:
            files = _write_all(making, material, found, summary, places)
            shutil.rmtree(folder, ignore_errors=True)
            making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return [folder / path.relative_to(making) for path in files]


def _write_all(folder: Path, material: Material, found: Found, summary: dict[str, Any], places: Places) -> list[Path]:
    files = write_table(folder, "voxels", voxel_columns(material, found))
    files += write_table(folder, "regions", region_rows(found.quantities))
    if found.ablation is not None:
        files += write_table(folder, "ablation", ablation_rows(found.ablation))
    if found.patterns is not None:
        files.append(_write_patterns(folder / "patterns.npz", material, found))
    files += write_bars(folder / "bars.svg", found.quantities, found.ablation, _title(summary))
    if places.space is not None:
        files += _write_maps(folder / MAPS, material, found, places.space)
        if places.cortex:
            files += _write_flat(folder / FLAT, found, places.space, places.cortex)
    write_json(folder / SUMMARY, summary)
    files.append(folder / SUMMARY)
    hashes = {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    write_manifest(
        folder,
        Manifest(
            "brain",
            content_hash(*(part for item in sorted(hashes.items()) for part in item)),
            inputs=dict(material.run.summary["provenance"]["inputs"]),
            config={"files": hashes, "resamples": summary["resamples"], "seed": summary["seed"]},
        ),
    )
    return files


def voxel_columns(material: Material, found: Found) -> dict[str, NDArray[Any]]:
    """Columns of the table of voxels: where each is, whether the encoder reads it, every map, and the regions."""
    store = material.brain.store
    names = store.voxels.column_names
    read = np.zeros(material.n_voxels, dtype=bool)
    read[material.read] = True
    place = {
        name: store.voxels.column(name).to_numpy() for name in ("i", "j", "k", "hemisphere", "vertex") if name in names
    }
    return {
        "voxel": np.arange(material.n_voxels, dtype=np.int32),
        **place,
        "dropped": store.dropped,
        "read_by_the_encoder": read,
        "ncsnr": store.ncsnr,
        **found.maps,
        **{f"roi.{name}": labels for name, labels in store.roi_labels.items()},
    }


def _title(summary: dict[str, Any]) -> str:
    simulated = ", simulated brain" if summary["simulated"] else ""
    return f"{summary['subject']}, {summary['encoder']}{simulated}: bars with 95 % intervals over stimuli"


def _write_patterns(path: Path, material: Material, found: Found) -> Path:
    patterns = found.patterns
    assert patterns is not None
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        np.savez(
            handle,
            voxels=material.read.astype(np.int32),
            pattern=patterns.pattern.astype(np.float32),
            component_axes=patterns.components.axes.astype(np.float32),
            component_sd=patterns.components.sd.astype(np.float32),
            decoded_mean=patterns.components.mean.astype(np.float32),
        )
    return path


def _write_maps(folder: Path, material: Material, found: Found, space: NativeSpace) -> list[Path]:
    files = []
    of_run = {"subject": material.run.summary["subject"], "encoder": material.run.summary.get("encoder")}
    for name, values in found.maps.items():
        about = {"quantity": name, "unit": QUANTITIES[name].unit, "description": QUANTITIES[name].description}
        files += write_map(folder, name, space.volume(values), space, about | of_run)
    codes = {"quantity": UNDERLAY, "unit": "code", "description": "1 brain mask, 2 voxel of the beta store"}
    return files + write_map(folder, UNDERLAY, space.underlay(), space, codes | of_run)


def _write_flat(folder: Path, found: Found, space: NativeSpace, cortex: list[FlatCortex]) -> list[Path]:
    names = [name for name in ON_FLAT if name in found.maps]
    pictures = flatten(cortex, {name: space.volume(found.maps[name]) for name in names})
    write_npz(folder / "flat.npz", **pictures)
    write_json(
        folder / "flat.json",
        {
            "quantities": {name: vars(QUANTITIES[name]) for name in names},
            "mm_per_px": MM_PER_PX,
            "layout": {side.hemisphere: side.layout for side in cortex},
            "sampled": "nearest voxel at three cortical depths, mean over those that have a value",
            "outside": "NaN: no cortex, or no voxel of the beta store; cortex.lh and cortex.rh tell them apart",
        },
    )
    return [folder / "flat.npz", folder / "flat.json"]
