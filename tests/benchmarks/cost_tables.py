"""Tables of what pictures cost: exact counts, measured and computed times and memory, each named as what it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from tests.benchmarks.counting import Count, Memory, compute_memory
from tests.benchmarks.one_draw import DTYPES, Measured
from tests.benchmarks.real_models import RealModel
from tests.benchmarks.real_pipelines import arranged

GIB, TERA = 2**30, 1e12
SHIPPED_BATCH = 8
PRESETS = ("default", "low")
COMPUTED, NOT_RUN = "computed", "not run"


@dataclass
class Row:
    """A generator at one size, and what was found of it.

    Attributes:
        name: Key of ``real_models.MODELS``.
        model: The generator.
        counted: Its exact costs.
        measured: What a draw took, by preset; nothing where it was not run.
    """

    name: str
    model: RealModel
    counted: Count
    measured: dict[str, Measured] = field(default_factory=dict)

    def batch_flops(self, batch: int) -> float:
        """Operations of a draw of one step."""
        return batch * self.counted.picture_flops(self.model.evaluations(1))


def memory_of(row: Row, batch: int, precision: str, preset: str) -> Memory:
    """Compute the peak of a row by our decoder's own preset."""

    def arrange(unet: Any, vae: Any) -> None:
        arranged(row.model, unet, vae, preset)

    return compute_memory(row.model, batch, DTYPES[precision], arrange)


def architecture(rows: list[Row]) -> Iterator[str]:
    """Write the exact costs."""
    columns = (
        "", "embedding", "side", "parameters: U-Net, IP-Adapter, VAE", "weights fp32, fp16",
        "TFLOP: evaluation, decoding", "evaluations", "TFLOP a picture",
    )  # fmt: skip
    yield f"| {' | '.join(columns)} |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        model, counted = row.model, row.counted
        millions = [
            f"{n / 1e6:,.1f} M" for n in (counted.unet_parameters, counted.ip_parameters, counted.vae_parameters)
        ]
        evaluations = model.evaluations()
        half = 2 * (counted.unet_parameters + counted.ip_parameters)
        half += counted.vae_parameters * model.vae_dtype(torch.float16).itemsize
        yield (
            f"| {model.label} | {model.dim} | {model.px} px | {', '.join(millions)} | "
            f"{4 * counted.parameters / GIB:.1f}, {half / GIB:.1f} GiB | {counted.unet_flops / TERA:.2f}, "
            f"{counted.vae_flops / TERA:.1f} | {evaluations} | {counted.picture_flops(evaluations) / TERA:.0f} |"
        )


def time_table(rows: list[Row], batch: int) -> Iterator[str]:
    """Write seconds of a step, of decoding, of a picture."""
    yield "| | one step, guided | decoding | a picture | TFLOP/s: step, decoding | |"
    yield "|---|--:|--:|--:|--:|---|"
    rates: tuple[float, float] | None = None
    for row in rows:
        model, counted, found = row.model, row.counted, row.measured.get("default")
        step, decode = model.evaluations(1) * counted.unet_flops, counted.vae_flops
        if found is not None:
            seconds = found.step_s / batch, found.decode_s / batch
            rates, how = (step / seconds[0], decode / seconds[1]), "step and decoding measured"
        elif rates is not None:
            seconds, how = (step / rates[0], decode / rates[1]), f"{COMPUTED} from the rates of the measured row above"
        else:
            yield f"| {model.label}, {model.px} px | | | | | {NOT_RUN} |"
            continue
        yield (
            f"| {model.label}, {model.px} px | {seconds[0]:.3g} s | {seconds[1]:.3g} s | "
            f"{model.steps * seconds[0] + seconds[1]:.3g} s | {step / seconds[0] / TERA:.2f}, "
            f"{decode / seconds[1] / TERA:.2f} | {how} |"
        )


def peer_table(rows: list[Row]) -> Iterator[str]:
    """Write the stock pipeline's seconds beside ours."""
    yield "| | step: ours, diffusers | ratio | decoding: ours, diffusers | ratio | peak: ours, diffusers |"
    yield "|---|--:|--:|--:|--:|--:|"
    for row in rows:
        found = row.measured.get("default")
        if found is None or not found.peer_step_s:
            yield f"| {row.model.label}, {row.model.px} px | | | | | {NOT_RUN} |"
            continue
        yield (
            f"| {row.model.label}, {row.model.px} px | {found.step_s:.3g}, {found.peer_step_s:.3g} s | "
            f"{found.step_s / found.peer_step_s:.2f} | {found.decode_s:.3g}, {found.peer_decode_s:.3g} s | "
            f"{found.decode_s / found.peer_decode_s:.2f} | {found.peak_bytes / GIB:.2f}, "
            f"{found.peer_peak_bytes / GIB:.2f} GiB |"
        )


def memory_table(rows: list[Row], shape: int, precision: str) -> Iterator[str]:
    """Write computed and measured peaks."""
    columns = (
        "", "preset", "batch", "computed: weights, U-Net, decoding", "peak, computed", "peak, measured",
        "measured / computed",
    )  # fmt: skip
    yield f"| {' | '.join(columns)} |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for row in rows:
        for batch in sorted({shape, SHIPPED_BATCH}):
            for preset in PRESETS:
                computed = memory_of(row, batch, precision, preset)
                found = row.measured.get(preset) if batch == shape else None
                ends = "not run | |"
                if found is not None and found.peak_bytes:
                    ends = f"{found.peak_bytes / GIB:.2f} GiB | {found.peak_bytes / computed.peak:.2f} |"
                parts = ", ".join(f"{n / GIB:.2f}" for n in (computed.weights, computed.unet, computed.vae))
                yield (
                    f"| {row.model.label}, {row.model.px} px | {preset} | {batch} | {parts} | "
                    f"{computed.peak / GIB:.2f} GiB | {ends}"
                )
