"""What a run will cost: pictures, U-Net evaluations, time and memory, from the measured rate of a first batch."""

from __future__ import annotations

import datetime
import math
import resource
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fmri_lightning.errors import ResourceError
from fmri_lightning.generation.controls import NEEDS_BRAIN
from fmri_lightning.generation.decoder import RETRIEVAL, Decoder, DecoderConfig, Steering, family_files
from fmri_lightning.generation.sampler import SamplingOptions

if TYPE_CHECKING:
    from fmri_lightning.generation.module import ReconstructionModule

OUT_OF_MEMORY = "out of memory at batch size 1; use --model.memory low, a smaller resolution or decoder"
MEASURED_STEPS = 3
"""Steps of the batch that is timed; the others take as long."""


@dataclass(frozen=True)
class Rate:
    """What one batch costs on a device.

    Attributes:
        shape: Pictures of the batch; fewer than asked for where those do not fit into memory.
        batch_s: Seconds of a whole batch.
        peak_bytes: Most memory in use while it was drawn: of the device on CUDA, of the process elsewhere.
        device: In words.
    """

    shape: int
    batch_s: float
    peak_bytes: int
    device: str


def measure_rate(decoder: Decoder, options: SamplingOptions, shape: int, start: Tensor | None = None) -> Rate:
    """Time a first batch: one step to warm up, then one and three steps, and the rest by their difference.

    Args:
        decoder: Decoder on its device, in its precision.
        options: Options of the run.
        shape: Batch shape.
        start: uint8 (1, height, width, 3), of the size of the pictures that the run starts from; None for noise.

    Returns:
        The rate. Steps outside the guidance interval count half.

    Raises:
        ResourceError: A single picture does not fit into memory.
    """
    while True:
        try:
            return _measure(decoder, options, shape, start)
        except torch.cuda.OutOfMemoryError as error:
            if shape == 1:
                raise ResourceError(OUT_OF_MEMORY) from error
            shape //= 2
            torch.cuda.empty_cache()


def _measure(decoder: Decoder, options: SamplingOptions, shape: int, start: Tensor | None) -> Rate:
    parts = decoder.halves()
    device = next(parts[0].parameters()).device if parts else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    # Each step guided as the run's are: else the doubled batch of guidance would be missed.
    # And each step run: from a start picture the first ones would not be.
    always = replace(options, guidance_interval=(0.0, 1.0), strength=1.0)
    steering = Steering(start=None if start is None else start.expand(shape, -1, -1, -1))
    embeddings = torch.zeros(shape, 1 if decoder.space is None else decoder.space.dim)

    def seconds(steps: int) -> float:
        begin_s = time.perf_counter()
        decoder.draw(embeddings, list(range(shape)), replace(always, num_inference_steps=steps), steering=steering)
        return time.perf_counter() - begin_s

    seconds(1)
    one_s, more_s = seconds(1), seconds(MEASURED_STEPS)
    step_s = max(more_s - one_s, 0.0) / (MEASURED_STEPS - 1)
    evaluations = replace(always, num_inference_steps=1).evaluations()
    batch_s = max(one_s - step_s, 0.0) + step_s * options.evaluations(start is not None) / evaluations
    return Rate(shape, batch_s, _peak_bytes(device), _words(device))


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _words(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def bill(module: ReconstructionModule, n_left: int, n_done: int) -> str:
    """Write what a run would draw.

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
    if config.family == RETRIEVAL:
        return f"{module.run_folder}\ndry run: {n_left} pictures to look up ({n_done} done)"
    world, evaluations = module.trainer.world_size, options.evaluations(module.low_level_ckpt is not None)
    own = (
        ""
        if module.reliability is None or module.condition not in NEEDS_BRAIN
        else ", each at a noise_level of its own"
    )
    return (
        f"{module.run_folder}\n"
        f"dry run: {n_left} pictures to draw{own} ({n_done} done), {evaluations} U-Net evaluations each, "
        f"{n_left * evaluations} in all, in batches of {module.batch_size} on {world} "
        f"device{'' if world == 1 else 's'}; weights of {family_files(config).model_name(config)}: {_stored(config)}"
        + ("" if config.lora is None else f"; LoRA of {config.lora} merged")
    )


def _stored(config: DecoderConfig) -> str:
    stored = family_files(config).weights_bytes(config)
    return "unknown before the download" if stored is None else f"{stored / 2**20:.0f} MiB as stored"


def can_be_timed(config: DecoderConfig) -> tuple[bool, str]:
    """Say whether a first batch can be drawn without a download.

    Args:
        config: The decoder.

    Returns:
        The answer, and what to say to a user who would have liked a time; "" where there is none to tell.
    """
    if config.family in ("none", RETRIEVAL):
        return False, ""
    files = family_files(config)
    if files.weights_are_here(config):
        return True, ""
    commands = " && ".join(one.command() for one in files.hub_files(config))
    return False, f"not timed: the weights are not on this machine; run: {commands or 'the fit that writes them'}"


def priced(rate: Rate, n_left: int, asked: int, world_size: int) -> str:
    """Write how long the pictures will take.

    Args:
        rate: Measured on one device.
        n_left: Pictures to draw.
        asked: Batch shape asked for.
        world_size: Devices that share them.

    Returns:
        One line.

    Example:
        >>> priced(Rate(8, 2.0, 2**30, "cpu"), 20, 8, 2)
        'about 0:00:04 of drawing: 2 batches a device at 2.00 s (4.00 pictures/s a device, cpu), peak memory 1024 MiB'
    """
    batches = math.ceil(math.ceil(n_left / world_size) / rate.shape)
    whole, per_s = datetime.timedelta(seconds=round(batches * rate.batch_s)), rate.shape / rate.batch_s
    return (
        f"about {whole} of drawing: {batches} batches a device at {rate.batch_s:.2f} s ({per_s:.2f} "
        f"pictures/s a device, {rate.device}), peak memory {rate.peak_bytes / 2**20:.0f} MiB"
        + ("" if rate.shape == asked else f"; batches of {rate.shape}, because {asked} do not fit into memory")
    )
