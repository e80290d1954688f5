"""Where a run writes, under which names, and who may."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmri_lightning.errors import UsageError
from fmri_lightning.generation.decoder import family_files
from fmri_lightning.generation.inputs import Inputs
from fmri_lightning.generation.plan import Items
from fmri_lightning.generation.predictions import Predictions
from fmri_lightning.locks import require_unlocked, run_lock

if TYPE_CHECKING:
    from fmri_lightning.generation.module import ReconstructionModule

LAYOUTS = "low_level"
"""Folder of the blurry pictures that pictures are started from."""
DIFFUSION = ("unclip", "mini", "none")
"""Families whose runs are named {encoder}_diffusion, as the first design has it; others by their own name."""


def default_folder(module: ReconstructionModule, inputs: Inputs) -> Path:
    """Choose the run folder.

    Args:
        module: The run.
        inputs: Its inputs; the encoder's name is part of the default.

    Returns:
        ``output_dir`` or ``outputs/recon/{subject}/{encoder}_diffusion``; for a control its ``controls/{condition}``.

    Raises:
        UsageError: A control without an encoder needs an explicit folder.
    """
    data = module.datamodule
    if module.output_dir is not None:
        base = module.output_dir
    else:
        name = encoder_name(module, inputs)
        if name is None:
            raise UsageError(f"condition {module.condition} reads no encoder; name the run with --output_dir DIR")
        family = module.decoder_config.family
        single = "_single" if data.trial_mode == "single" else ""
        suffix = "diffusion" if family in DIFFUSION else family
        base = Path("outputs/recon") / data.subject / f"{name}_{suffix}{single}"
    if module.condition == "predicted" or base.parts[-2:] == ("controls", module.condition):
        return base
    return base / "controls" / module.condition


def encoder_name(module: ReconstructionModule, inputs: Inputs) -> str | None:
    """Name what predicts: ridge or mlp, the file of given embeddings, or a checkpoint that a control does not read."""
    if inputs.encoder is not None:
        return str(inputs.encoder.name)
    given = module.datamodule.embeddings or module.encoder_ckpt
    return None if given is None else Path(given).stem


def hold_folder(folder: Path, shard: tuple[int, int], held: contextlib.ExitStack) -> None:
    """Lock a run folder, or a job's own share of it, against whatever would write the same pictures.

    Both sides lock first and look at the other's locks then: of two that start at once, one is refused.

    Args:
        folder: The run folder.
        shard: Share of a job array, (1, 1) for the whole.
        held: Gives the lock back.

    Raises:
        ResourceError: Another job holds the folder, or, of the whole, a share of it.
    """
    shares = folder / "shards"
    if shard == (1, 1):
        held.enter_context(run_lock(folder))
        for share in sorted(shares.glob("part*of*/")):
            require_unlocked(share)
    else:
        held.enter_context(run_lock(shares / f"part{shard[0]:04d}of{shard[1]:04d}"))
        require_unlocked(folder)


def clear_leftovers(folder: Path) -> None:
    """Remove temporary files of killed processes; only for a job that holds the whole folder.

    Args:
        folder: The run folder.
    """
    for inside in (folder, folder / "images", folder / "samples", folder / LAYOUTS):
        for path in inside.glob(".*.tmp"):
            path.unlink(missing_ok=True)


def file_stem(table: Predictions, row: int) -> str:
    """Name an item in file names: nsd{ID}, or nsd{ID}_trial{T} for a single trial."""
    return _stem(int(table.nsd_id[row]), int(table.global_trial[row]))


def _stem(nsd_id: int, global_trial: int) -> str:
    return f"nsd{nsd_id}" if global_trial < 0 else f"nsd{nsd_id}_trial{global_trial}"


def result_path(table: Predictions, row: int) -> str:
    """Name an item's reconstruction, relative to the run folder."""
    return f"images/{file_stem(table, row)}_generated.png"


def layout_path(table: Predictions, row: int) -> str:
    """Name the blurry picture of an item's low-level path, relative to the run folder."""
    return _layout_of(file_stem(table, row))


def _layout_of(stem: str) -> str:
    return f"{LAYOUTS}/{stem}_low_level.png"


def units_with_layout(folder: Path, units: set[tuple[int, int]], items: Items) -> set[tuple[int, int]]:
    """Keep the units whose item's blurry picture is there too; the others are drawn again.

    Args:
        folder: The run folder.
        units: (trial_id, sample) of finished pictures.
        items: The full test set.

    Returns:
        The units kept.
    """
    rows = zip(items.trial_id.tolist(), items.nsd_id.tolist(), items.global_trial.tolist(), strict=True)
    there = {trial for trial, nsd_id, at in rows if (folder / _layout_of(_stem(nsd_id, at))).is_file()}
    return {unit for unit in units if unit[0] in there}


def picture_path(table: Predictions, row: int, sample: int, n_samples: int) -> str:
    """Name a drawn picture, relative to the run folder.

    Args:
        table: The predictions.
        row: Which item.
        sample: Which of its samples.
        n_samples: How many there are; a single one is the reconstruction itself.

    Returns:
        For instance images/nsd12_generated.png or samples/nsd12_k3.png.
    """
    return result_path(table, row) if n_samples == 1 else f"samples/{file_stem(table, row)}_k{sample}.png"


def fingerprint_fields(module: ReconstructionModule) -> dict[str, Any]:
    """List everything but the inputs' hashes that decides the bytes of a picture.

    Args:
        module: The run.

    Returns:
        Plain types by name. Device count, limit, ids, shards and batch size are not among them.
    """
    data, options, config = module.datamodule, module.options, module.decoder_config
    files = None if config.family == "none" else family_files(config)
    return {
        "subject": data.subject,
        "condition": module.condition,
        "trial_mode": data.trial_mode,
        "test_set": data.test_set,
        "gallery_limit": data.gallery_limit,
        "seed": module.run_seed,
        "n_samples": module.n_samples,
        "decoder.family": config.family,
        "decoder.model_id": None if files is None else files.model_name(config),
        "decoder.weights": None if files is None else files.weights_fingerprint(config, data),
        "decoder.resolution": config.resolution,
        **({} if files is None else files.further_fields(config)),
        "guidance_scale": options.guidance_scale,
        "num_inference_steps": options.num_inference_steps,
        "noise_level": options.noise_level,
        # Only where it differs from what runs of earlier versions did: they go on in their folders.
        **({} if options.noise_mode == "add" else {"noise_mode": options.noise_mode}),
        **({} if module.memory == "default" else {"memory": module.memory}),
        **({"compile": True} if module.compiled else {}),
        **({} if module.low_level_ckpt is None else {"strength": options.strength}),
        **({"low_level_blend": module.low_level_blend} if module.low_level_blend else {}),
        "scheduler": options.scheduler,
        "guidance_interval": list(options.guidance_interval),
        "precision": str(module.trainer.precision_plugin.precision),
    }
