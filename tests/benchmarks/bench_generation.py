"""Pictures a second, peak memory and share of the device's matrix-product rate of generation; run by hand.

    python tests/benchmarks/bench_generation.py                     # both parts
    python tests/benchmarks/bench_generation.py --only overhead     # predict against the bare sampler
    python tests/benchmarks/bench_generation.py --only real --px 768 --batch 8 --precision 16-true

*overhead*: 64 pictures of the shipped mini model by `predict`, from on_predict_start to on_predict_end with all files
on the disk, against the bare sampler on the same batches, in CPU seconds, interleaved, medians.

*real*: Stable Diffusion 2.1 unCLIP with random weights: ours in batches, diffusers' pipeline picture by picture and in
the same batches, and by the settings of the first design document (50 steps, attention slicing, picture by picture).
On a CPU the rows are extrapolated from runs of one and two steps and say so.

*precision*: the mini model in float16 and bfloat16 beside float32: how far the same pictures differ.

*memory*: peak memory of one step of the real architecture and the decoding of a batch, both presets, each in a process
of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

N_MINI, MINI_BATCH, OVERHEAD_LIMIT = 64, 16, 1.10
MINI: dict[str, Any] = {"num_inference_steps": 10, "guidance_scale": 6.0, "scheduler": "unipc"}
DTYPES = {"32-true": torch.float32, "16-true": torch.float16, "bf16-true": torch.bfloat16}


def overhead(runs: int) -> None:
    """Compare predict with its sampler, on the mini model."""
    from fmri_lightning.generation.decoder import DecoderConfig, decoder_space, load_decoder
    from fmri_lightning.generation.sampler import SamplingOptions

    options = MINI
    torch.set_num_threads(1)
    space = decoder_space(DecoderConfig("mini"))
    assert space is not None
    decoder: Any = load_decoder(DecoderConfig("mini"))
    vectors = mini_vectors(decoder)
    through, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        for run in range(runs + 1):  # the first warms up
            bare.append(_bare_s(decoder, vectors, SamplingOptions(**options)))
            through.append(_predict_s(Path(folder) / str(run), vectors, space, options))
    predict_s, sampler_s = statistics.median(through[1:]), statistics.median(bare[1:])
    print(f"mini model, {N_MINI} pictures in batches of {MINI_BATCH}, CPU seconds, medians of {runs}:")
    print(f"  bare sampler {sampler_s:.1f}, predict {predict_s:.1f}: {predict_s / sampler_s:.3f} times "
          f"({'met' if predict_s <= OVERHEAD_LIMIT * sampler_s else 'MISSED'}: at most {OVERHEAD_LIMIT})")  # fmt: skip


def _bare_s(decoder: Any, vectors: np.ndarray, options: Any) -> float:
    begin_s = time.process_time()
    with torch.inference_mode():
        for start in range(0, N_MINI, MINI_BATCH):
            ids = range(start, start + MINI_BATCH)
            decoder.draw(torch.from_numpy(vectors[start : start + MINI_BATCH]), [42 + i for i in ids], options)
    return time.process_time() - begin_s


def _predict_s(folder: Path, vectors: np.ndarray, space: Any, options: dict[str, Any]) -> float:
    from lightning.pytorch import Callback

    from fmri_lightning.embeddings.cache import write_cache
    from fmri_lightning.generation.data import ReconstructionDataModule
    from fmri_lightning.generation.decoder import DecoderConfig
    from fmri_lightning.generation.module import ReconstructionModule
    from fmri_lightning.lightning_cli import StageTrainer

    folder.mkdir()
    write_cache(folder / "given.parquet", np.arange(N_MINI), vectors, space)
    data = ReconstructionDataModule(index_root=None, clip_cache=None, embeddings=str(folder / "given.parquet"))
    module = ReconstructionModule(
        decoder=DecoderConfig("mini"), batch_size=MINI_BATCH, output_dir=folder / "run", seed=42, **options
    )
    seconds = {}

    class Clock(Callback):
        def on_predict_start(self, trainer, pl_module):
            seconds["start"] = time.process_time()

    class LastClock(Callback):
        def on_predict_end(self, trainer, pl_module):
            seconds["end"] = time.process_time()

    # Callbacks of the module come after those of the trainer: the writer's end must lie inside.
    module.configure_callbacks = _with_last(module.configure_callbacks, LastClock())  # type: ignore[method-assign]
    trainer = StageTrainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, callbacks=[Clock()],
    )  # fmt: skip
    trainer.predict(module, datamodule=data, return_predictions=False)
    assert len(list((folder / "run" / "images").glob("*.png"))) == N_MINI
    return seconds["end"] - seconds["start"]


def _with_last(callbacks: Callable[[], list[Any]], last: Any) -> Callable[[], list[Any]]:
    return lambda: [*callbacks(), last]


def mini_vectors(decoder: Any) -> np.ndarray:
    """Draw embeddings with the spread of real ones, (64, dim) float32."""
    mean, std = decoder.normalizer.mean.numpy(), decoder.normalizer.std.numpy()
    noise = np.random.default_rng(0).normal(size=(N_MINI, decoder.space.dim))
    return (mean + std * noise).astype(np.float32)


def precision() -> None:
    """Tell how far pictures of half precision are from those of float32."""
    from fmri_lightning.generation.decoder import DecoderConfig, load_decoder
    from fmri_lightning.generation.sampler import SamplingOptions

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pictures = {}
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        decoder: Any = load_decoder(DecoderConfig("mini")).to(device)
        vectors = torch.from_numpy(mini_vectors(decoder.cpu()))
        decoder.to(device)
        for part in decoder.halves():
            part.to(dtype=dtype)
        drawn = []
        with torch.inference_mode():
            for start in range(0, N_MINI, MINI_BATCH):
                seeds = [42 + i for i in range(start, start + MINI_BATCH)]
                drawn.append(decoder.generate(vectors[start : start + MINI_BATCH], seeds, SamplingOptions(**MINI)))
        pictures[dtype] = torch.cat(drawn).double()
    print(f"mini model, {N_MINI} pictures on {device}, difference to float32 on the scale of 0..255:")
    for dtype in (torch.float16, torch.bfloat16):
        error = pictures[dtype] - pictures[torch.float32]
        psnr = 10 * torch.log10(255**2 / error.square().mean())
        print(f"  {dtype}: mean {error.abs().mean():.2f}, 99th percentile "
              f"{np.quantile(error.abs().numpy(), 0.99):.0f}, PSNR {psnr:.1f} dB")  # fmt: skip
    apart = pictures[torch.float32] - pictures[torch.float32].roll(1, dims=0)
    print(f"  another picture instead: mean {apart.abs().mean():.0f}")


def memory(px: int, batch: int, dtype_name: str) -> None:
    """Run one step by each preset, in processes of their own."""
    for preset in ("default", "low"):
        words = ["--only", "one-step", "--px", str(px), "--batch", str(batch), "--precision", dtype_name]
        done = subprocess.run(
            [sys.executable, __file__, *words, "--preset", preset], capture_output=True, text=True, check=True
        )
        print(f"  memory preset {preset}, {px} px, batch of {batch}, {dtype_name}: {done.stdout.splitlines()[-1]}")


def one_step(px: int, batch: int, dtype_name: str, preset: str) -> None:
    """Draw one batch with one step and print seconds and peak memory."""
    from tests.benchmarks.real_unclip import DIM, build_parts

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parts = build_parts(device, DTYPES[dtype_name], px)
    weights = sum(p.numel() * p.element_size() for part in ("unet", "vae") for p in parts[part].parameters())
    draw = our_draw(parts, torch.randn(batch, DIM) * 10, px, compiled=False, preset=preset)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with torch.inference_mode():
        seconds = _seconds(draw, batch, 1)
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else _process_peak()
    print(f"peak {peak / 2**30:.1f} GiB of which weights {weights / 2**30:.1f}, {seconds:.0f} s")


def _process_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def real(px: int, batch: int, steps: int, n_pictures: int, precision: str, compiled: bool) -> None:
    """Compare ours with the stock pipeline on the real architecture."""
    from diffusers import StableUnCLIPImg2ImgPipeline

    from tests.benchmarks.real_unclip import DIM, build_parts, count_flops, text_states

    on_cuda = torch.cuda.is_available()
    device = torch.device("cuda" if on_cuda else "cpu")
    dtype = DTYPES[precision]
    name = torch.cuda.get_device_name() if on_cuda else f"CPU, {torch.get_num_threads()} threads"
    parts = build_parts(device, dtype, px)
    pipeline = StableUnCLIPImg2ImgPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    product = product_rate(device, dtype)
    unet_flops, vae_flops = count_flops(parts, px)
    print(f"Stable Diffusion 2.1 unCLIP, random weights, {px} px, {precision}, {name}, "
          f"matrix products {product / 1e12:.2f} TFLOP/s")  # fmt: skip

    embeddings = torch.randn(batch, DIM) * 10

    def stock(n: int, n_steps: int) -> None:
        text = text_states(n, device, dtype)
        pipeline(
            image_embeds=embeddings[:n].to(device, dtype), prompt_embeds=text, negative_prompt_embeds=text,
            generator=[torch.Generator().manual_seed(i) for i in range(n)], num_inference_steps=n_steps,
            guidance_scale=5.0, output_type="np",
        )  # fmt: skip

    def tell(label: str, n: int, n_steps: int, draw: Callable[[int, int], None]) -> float:
        seconds, peak, how = time_batch(draw, n, n_steps, max(1, n_pictures // n), device)
        flops = n * (2 * n_steps * unet_flops + vae_flops)
        print(f"  {label:<44} {n / seconds:9.4f} pictures/s, {peak} peak, "
              f"{flops / seconds / product:4.0%} of the product rate{how}")  # fmt: skip
        return n / seconds

    pipeline.enable_attention_slicing()
    seed = tell("pipeline, 50 steps, slicing, one by one", 1, 50, stock)
    pipeline.disable_attention_slicing()
    single = tell(f"pipeline, {steps} steps, one by one", 1, steps, stock)
    same = tell(f"pipeline, {steps} steps, batches of {batch}", batch, steps, stock) if batch > 1 else single
    ours = tell(f"ours, {steps} steps, batches of {batch}", batch, steps, our_draw(parts, embeddings, px, compiled))
    print(f"  ours: {ours / single:.2f} times the pipeline one by one, {ours / same:.2f} times it in the same batches, "
          f"{ours / seed:.2f} times the first design's settings")  # fmt: skip


def our_draw(
    parts: dict[str, Any], embeddings: torch.Tensor, px: int, compiled: bool, preset: Any = "default"
) -> Callable[[int, int], None]:
    """Wrap the parts as the decoder does; its normaliser stays in float32."""
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

    from fmri_lightning.generation.families.repository import space_by_name
    from fmri_lightning.generation.families.unclip import UnclipDecoder
    from fmri_lightning.generation.sampler import SamplingOptions
    from tests.benchmarks.real_unclip import DIM, text_states

    class Given:
        """The attributes of a pipeline that the decoder takes its parts from."""

        unet, vae, image_normalizer = parts["unet"], parts["vae"], StableUnCLIPImageNormalizer(DIM)
        image_noising_scheduler, scheduler = parts["image_noising_scheduler"], parts["scheduler"]
        vae_scale_factor, text_encoder, tokenizer = 8, True, True

        @staticmethod
        def encode_prompt(**options: Any) -> tuple[torch.Tensor]:
            return (text_states(1, torch.device("cpu"), torch.float32),)

    decoder = UnclipDecoder(Given, space_by_name("vit-h-14", DIM), px)
    decoder.to(next(parts["unet"].parameters()).device)
    decoder.prepare(preset, compiled)

    def draw(n: int, n_steps: int) -> None:
        options = SamplingOptions(num_inference_steps=n_steps, scheduler="ddim")
        decoder.draw(embeddings[:n], list(range(n)), options)

    return draw


def time_batch(
    draw: Callable[[int, int], None], n: int, steps: int, repeats: int, device: torch.device
) -> tuple[float, str, str]:
    """Time batches; on a CPU all but two steps are extrapolated.

    Returns:
        Seconds a batch, peak memory and a remark.
    """
    with torch.inference_mode():
        if device.type == "cpu":
            draw(n, 1)
            one_s, two_s = (min(_seconds(draw, n, k) for _ in range(2)) for k in (1, 2))
            return one_s + (steps - 1) * (two_s - one_s), "not measured", ", EXTRAPOLATED from 2 steps"
        draw(n, steps)
        torch.cuda.reset_peak_memory_stats()
        times = [_seconds(draw, n, steps) for _ in range(repeats)]
        return statistics.median(times), f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB", ""


def _seconds(draw: Callable[[int, int], None], n: int, steps: int) -> float:
    begin_s = time.perf_counter()
    draw(n, steps)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin_s


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the device's rate of square matrix products in operations a second."""
    n, repeats = (8192, 20) if device.type == "cuda" else (4096, 1)
    # On a CPU NumPy's BLAS: torch's is the slower one on some makes of processor, and convolutions use neither.
    a: Any = torch.randn(n, n, device=device, dtype=dtype) if device.type == "cuda" else np.ones((n, n), np.float32)

    def draw(repeats: int, _: int) -> None:
        for _ in range(repeats):
            a @ a

    _seconds(draw, repeats, 0)
    return max(repeats * 2 * n**3 / _seconds(draw, repeats, 0) for _ in range(5))


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["overhead", "real", "precision", "memory", "one-step"])
    parser.add_argument("--runs", type=int, default=3, help="runs of the overhead; medians are told")
    parser.add_argument("--px", type=int, nargs="+", help="768 and 512 on a GPU, 512 on a CPU")
    parser.add_argument("--batch", type=int, help="8 on a GPU, 1 on a CPU")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--pictures", type=int, default=24, help="pictures per row on a GPU")
    parser.add_argument("--precision", choices=["16-true", "bf16-true", "32-true"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--preset", choices=["default", "low"], default="default", help="of one-step")
    given = parser.parse_args()
    on_cuda = torch.cuda.is_available()
    sizes = given.px or ([768, 512] if on_cuda else [512])
    dtype_name = given.precision or ("16-true" if on_cuda else "32-true")
    if given.only == "one-step":
        one_step(sizes[0], given.batch, dtype_name, given.preset)
        return
    if given.only in (None, "overhead"):
        overhead(given.runs)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if given.only in (None, "precision"):
        precision()
    if given.only in (None, "real"):
        for px in sizes:
            real(px, given.batch or (8 if on_cuda else 1), given.steps, given.pictures, dtype_name, given.compile)
    if given.only in (None, "memory"):
        memory(sizes[0], given.batch or (8 if on_cuda else 2), dtype_name)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
