"""Where a run writes, under which names, and what it would cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmri_lightning.errors import UsageError
from fmri_lightning.generation.inputs import Inputs
from fmri_lightning.generation.predictions import Predictions
from fmri_lightning.generation.unclip_folder import model_name, weights_bytes, weights_fingerprint

if TYPE_CHECKING:
    from fmri_lightning.generation.module import ReconstructionModule

DIFFUSION = ("unclip", "mini", "none")


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


def lock_folder(folder: Path, shard: tuple[int, int]) -> Path:
    """Choose the folder whose lock a job holds: the run, or its own part of a job array."""
    return folder if shard == (1, 1) else folder / "shards" / f"part{shard[0]:04d}of{shard[1]:04d}"


def file_stem(table: Predictions, row: int) -> str:
    """Name an item in file names: nsd{ID}, or nsd{ID}_trial{T} for a single trial."""
    stem = f"nsd{int(table.nsd_id[row])}"
    trial = int(table.global_trial[row])
    return stem if trial < 0 else f"{stem}_trial{trial}"


def result_path(table: Predictions, row: int) -> str:
    """Name an item's reconstruction, relative to the run folder."""
    return f"images/{file_stem(table, row)}_generated.png"


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
    draws = config.family != "none"
    return {
        "subject": data.subject,
        "condition": module.condition,
        "trial_mode": data.trial_mode,
        "test_set": data.test_set,
        "gallery_limit": data.gallery_limit,
        "seed": module.run_seed,
        "n_samples": module.n_samples,
        "decoder.family": config.family,
        "decoder.model_id": model_name(config) if draws else None,
        "decoder.weights": weights_fingerprint(config) if draws else None,
        "decoder.resolution": config.resolution,
        "guidance_scale": options.guidance_scale,
        "num_inference_steps": options.num_inference_steps,
        "noise_level": options.noise_level,
        # Only where it differs from what runs of earlier versions did: they go on in their folders.
        **({} if options.noise_mode == "add" else {"noise_mode": options.noise_mode}),
        "scheduler": options.scheduler,
        "guidance_interval": list(options.guidance_interval),
        "precision": str(module.trainer.precision_plugin.precision),
    }


def bill(module: ReconstructionModule, n_left: int, n_done: int) -> str:
    """Write what a run would draw and cost.

    Args:
        module: The run.
        n_left: Pictures still to draw.
        n_done: Pictures in the folder already.

    Returns:
        A few lines.
    """
    config, options = module.decoder_config, module.options
    if config.family == "none":
        return f"{module.run_folder}\ndry run: predictions.parquet only, no pictures"
    evaluations = n_left * options.evaluations()
    stored = weights_bytes(config)
    memory = "unknown before the download" if stored is None else f"{stored / 2**20:.0f} MiB as stored"
    return (
        f"{module.run_folder}\n"
        f"dry run: {n_left} pictures to draw ({n_done} done), {options.evaluations()} U-Net evaluations each, "
        f"{evaluations} in all, in batches of {module.batch_size} on {module.trainer.world_size} devices; "
        f"weights of {model_name(config)}: {memory}"
    )
