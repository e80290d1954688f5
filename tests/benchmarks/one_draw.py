"""One generator drawn once in a process of its own: seconds of a step and of decoding, and peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

DTYPES = {"32-true": torch.float32, "16-true": torch.float16, "bf16-true": torch.bfloat16}


@dataclass(frozen=True)
class Measured:
    """What one draw of one step took.

    Attributes:
        step_s: Seconds of one U-Net pass, both halves of guidance; on a CPU CPU-seconds.
        decode_s: Seconds of decoding.
        peak_bytes: Most memory during the draw, the weights included; on a CPU beyond what the libraries took before
            the weights were made. 0 where it cannot be told.
        peer_step_s: As step_s, by the stock pipeline; 0 where it did not run.
        peer_decode_s: As decode_s, by the stock pipeline.
        peer_peak_bytes: As peak_bytes, by the stock pipeline.
    """

    step_s: float
    decode_s: float
    peak_bytes: int
    peer_step_s: float = 0.0
    peer_decode_s: float = 0.0
    peer_peak_bytes: int = 0


def measure(
    name: str, px: int, batch: int, precision: str, preset: str, with_peer: bool, rounds: int, threads: int
) -> Measured | None:
    """Draw in a process of its own.

    Args:
        name: Key of ``real_models.MODELS``.
        px: Side of the pictures.
        batch: Pictures.
        precision: Key of :data:`DTYPES`.
        preset: Memory preset.
        with_peer: Draw by the stock pipeline too.
        rounds: Draws, of which the quickest counts; the first one of a process is slower.
        threads: Threads on a CPU.

    Returns:
        What it took, or None where it did not fit into memory.
    """
    words = [name, str(px), str(batch), precision, preset, str(int(with_peer)), str(rounds), str(threads)]
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return Measured(**json.loads(done.stdout.splitlines()[-1]))
    if done.returncode == -9 or "OutOfMemoryError" in done.stderr:
        return None
    raise RuntimeError(f"{' '.join(words)} failed:\n{done.stderr[-2000:]}")


def draw_once(
    name: str, px: int, batch: int, precision: str, preset: str, with_peer: bool, rounds: int, threads: int
) -> Measured:
    """Draw in this process; arguments as of :func:`measure`.

    Args:
        name: Key of ``real_models.MODELS``.
        px: Side of the pictures.
        batch: Pictures.
        precision: Key of :data:`DTYPES`.
        preset: Memory preset.
        with_peer: Draw by the stock pipeline too.
        rounds: Draws, of which the quickest counts; the first one of a process is slower.
        threads: Threads on a CPU.

    Returns:
        What it took.
    """
    from dataclasses import replace

    from fmri_lightning.generation.sampler import SamplingOptions
    from tests.benchmarks.real_models import MODELS
    from tests.benchmarks.real_pipelines import build_pipeline, draw_stock, our_decoder

    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = replace(MODELS[name], px=px)
    build_pipeline(model, torch.device("meta"), torch.float32)  # libraries are imported by their first use
    before = _resident(device)
    pipeline = build_pipeline(model, device, DTYPES[precision])
    decoder: Any = our_decoder(pipeline, model)
    embeddings = torch.randn(batch, model.dim, generator=torch.Generator().manual_seed(0)) * 10
    options = SamplingOptions(num_inference_steps=1, scheduler="ddim", guidance_scale=model.guidance)

    def ours() -> None:
        decoder.draw(embeddings, list(range(batch)), options)

    def peer() -> None:
        draw_stock(pipeline, model, embeddings, 1)

    decoder.prepare(preset, False)
    if not with_peer:
        return Measured(*_best([_timed(pipeline, device, ours, before) for _ in range(rounds)]))
    own, stock = [], []
    for _ in range(rounds):
        pipeline.vae.to(model.vae_dtype(pipeline.unet.dtype))
        own.append(_timed(pipeline, device, ours, before))
        if pipeline.unet.dtype == torch.bfloat16:
            pipeline.vae.to(torch.bfloat16)  # the stock pipeline's rule: only float16 is decoded in float32
        stock.append(_timed(pipeline, device, peer, before))
    return Measured(*_best(own), *_best(stock))


def _best(draws: list[tuple[float, float, int]]) -> tuple[float, float, int]:
    """Shortest times and largest peak."""
    steps, decodes, peaks = zip(*draws, strict=True)
    return min(steps), min(decodes), max(peaks)


def _timed(pipeline: Any, device: torch.device, draw: Callable[[], None], before: int) -> tuple[float, float, int]:
    """Seconds of the U-Net, seconds of decoding, peak."""
    unet, vae = _Stopwatch(device), _Stopwatch(device)
    hooks = [
        pipeline.unet.register_forward_pre_hook(unet.start),
        pipeline.unet.register_forward_hook(unet.stop),
    ]
    decode = pipeline.vae.decode
    pipeline.vae.decode = vae.around(decode)
    _reset_peak(device)
    with torch.inference_mode():
        draw()
    peak = _peak(device)
    for hook in hooks:
        hook.remove()
    pipeline.vae.decode = decode
    return unet.seconds, vae.seconds, max(0, peak - before) if peak else 0


class _Stopwatch:
    def __init__(self, device: torch.device) -> None:
        self.seconds = self._begin_s = 0.0
        self._on_cuda = device.type == "cuda"

    def _now(self) -> float:
        if self._on_cuda:
            torch.cuda.synchronize()
        # CPU time: other work on the machine does not count.
        return time.perf_counter() if self._on_cuda else time.process_time()

    def start(self, *_: Any) -> None:
        self._begin_s = self._now()

    def stop(self, *_: Any) -> None:
        self.seconds += self._now() - self._begin_s

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.start()
            try:
                return call(*args, **kwargs)
            finally:
                self.stop()

        return timed


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> int:
    return int(torch.cuda.max_memory_allocated()) if device.type == "cuda" else _status("VmHWM")


def _resident(device: torch.device) -> int:
    return 0 if device.type == "cuda" else _status("VmRSS")


def _status(field: str) -> int:
    """Bytes of a line of /proc/self/status; 0 where there is none."""
    path = Path("/proc/self/status")
    if not path.is_file():
        return 0
    return next(int(line.split()[1]) * 1024 for line in path.read_text().splitlines() if line.startswith(field + ":"))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    name, px, batch, precision, preset, *numbers = sys.argv[1:]
    with_peer, rounds, threads = map(int, numbers)
    found = draw_once(name, int(px), int(batch), precision, preset, bool(with_peer), rounds, threads)
    print(json.dumps(asdict(found)))
