"""The whole chain on a simulated brain: what `fmri-lightning demo` runs.

The demo has no code path of its own. It calls the same commands, with the same configurations, that a
run on NSD uses, and prints each of them, so that its output doubles as a recipe. Every stage resumes
or recognises finished work, so a demo that was interrupted is simply started again.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fmri_lightning.errors import InterruptedRunError, StageError, UsageError

SUBJECT = "subj01"
ENCODERS = ("ridge", "mlp")


@dataclass(frozen=True)
class Step:
    """One command of the demo.

    Attributes:
        title: what the step does, for the reader.
        arguments: the command line after `fmri-lightning`.
    """

    title: str
    arguments: tuple[str, ...]

    def command(self) -> str:
        """Return the line one would type."""
        return shlex.join(("fmri-lightning", *self.arguments))


def demo(
    out: Path = Path("outputs/demo"),
    images: Path | None = None,
    seed: int = 0,
    limit: int = 64,
    dry_run: bool = False,
) -> None:
    """Run every stage on a simulated brain, on the CPU, and end with a page of pictures.

    Nothing is downloaded: stimuli are rendered, voxels are simulated in NSD's own file layout, and
    the mini models that come with the package stand in for CLIP and Stable Diffusion.

    Args:
        out: folder that receives everything the demo writes.
        images: folder or tar files of photographs to show to the simulated subjects; by default
            rendered scenes.
        seed: seed of the simulated experiment.
        limit: how many test stimuli to reconstruct, the first ones by NSD id.
        dry_run: print the commands and stop.

    Raises:
        UsageError: limit below 2 (identification needs two pictures).
        StageError: a stage failed; its own message says what to do.
    """
    if limit < 2:
        raise UsageError(f"--limit must be at least 2 to identify pictures, got {limit}")
    steps = list(plan(out, images, seed, limit))
    if dry_run:
        for step in steps:
            print(f"# {step.title}\n{step.command()}")
        return
    started_s = time.monotonic()
    for number, step in enumerate(steps, start=1):
        _run(step, number, len(steps))
    print(f"\ndemo finished in {time.monotonic() - started_s:.0f} s")
    print(f"open {(out / 'report' / 'index.html').resolve()}")


def _run(step: Step, number: int, total: int) -> None:
    from fmri_lightning.cli import main

    print(f"\n[{number}/{total}] {step.title}\n$ {step.command()}", flush=True)
    started_s = time.monotonic()
    code = main(list(step.arguments))
    if code == InterruptedRunError.exit_code:
        raise InterruptedRunError("demo interrupted; run the same command again to go on")
    if code != 0:
        error = StageError(f"demo stopped: step {number} ({step.title}) failed, see above")
        error.exit_code = code
        raise error
    print(f"[{number}/{total}] done in {time.monotonic() - started_s:.0f} s", flush=True)


def plan(out: Path, images: Path | None, seed: int, limit: int) -> Iterator[Step]:
    """Yield the demo's commands in order.

    Args:
        out: folder of the demo.
        images: photographs to show instead of scenes.
        seed: seed of the simulated experiment.
        limit: test stimuli to reconstruct.
    """
    yield from _prepare(out, images, seed)
    yield from _fit(out)
    yield from _predict(out, limit)
    runs = [str(_run_folder(out, encoder)) for encoder in ENCODERS]
    yield Step("score every run and its controls", ("evaluate", "--run", *runs, "--protocol", "demo"))
    yield Step("write the page", ("report", "--run", *runs, "--out", str(out / "report")))


def _prepare(out: Path, images: Path | None, seed: int) -> Iterator[Step]:
    root = str(out / "nsd")
    photographs = () if images is None else ("--images", str(images))
    yield Step(
        "simulate two subjects in NSD's file layout",
        ("simulate", "--out", root, "--subjects", "1,2", "--seed", str(seed), *photographs),
    )
    yield Step(
        "index which trial showed which picture, and split by picture",
        ("index", "--root", root, "--subject", SUBJECT, "--out", str(out / "nsd_index")),
    )
    yield Step(
        "read the voxels of nsdgeneral and fit the preprocessing on training trials",
        (
            "betas", "--index", str(out / "nsd_index"), "--root", root, "--subject", SUBJECT,
            "--out", str(out / "betas"), "--preproc_out", str(out / "preproc"),
        ),
    )  # fmt: skip
    for space in ("mini-source", "mini-target"):
        yield Step(
            f"embed every stimulus in {space}",
            ("clip-cache", "--root", root, "--space", space, "--out", str(_cache(out, space))),
        )


def _fit(out: Path) -> Iterator[Step]:
    for encoder in ENCODERS:
        yield Step(
            f"fit the {encoder} encoder: betas to image embeddings",
            (
                "fit", "--config", f"configs/encoder/{encoder}.yaml",
                "--data.index_root", str(out / "nsd_index"), "--data.betas", str(out / "betas"),
                "--data.preproc", str(out / "preproc"),
                "--data.clip_cache", str(_cache(out, "mini-source")),
                "--data.subject", SUBJECT, "--model.root", str(out / "checkpoints"),
                "--trainer.default_root_dir", str(out / "runs"),
            ),
        )  # fmt: skip
    yield Step(
        "fit the adapter: embeddings to the space of the diffusion model",
        (
            "fit", "--config", "configs/adapter.yaml", "--data.index_root", str(out / "nsd_index"),
            "--data.clip_cache", str(_cache(out, "mini-source")),
            "--data.target_cache", str(_cache(out, "mini-target")),
            "--data.subject", SUBJECT, "--model.root", str(out / "checkpoints"),
                "--trainer.default_root_dir", str(out / "runs"),
        ),
    )  # fmt: skip


def _predict(out: Path, limit: int) -> Iterator[Step]:
    for encoder, condition in (
        ("ridge", "predicted"),
        ("mlp", "predicted"),
        ("mlp", "shuffled"),
        ("mlp", "true_target"),
    ):
        yield Step(
            f"draw {limit} pictures: {encoder}, {condition}",
            (
                "predict", "--config", "configs/predict.yaml", "--config", "configs/decoder/mini.yaml",
                "--data.root", str(out / "nsd"), "--data.index_root", str(out / "nsd_index"),
                "--data.betas", str(out / "betas"), "--data.preproc", str(out / "preproc"),
                "--data.clip_cache", str(_cache(out, "mini-source")),
                "--data.target_cache", str(_cache(out, "mini-target")),
                "--data.subject", SUBJECT, "--data.limit", str(limit),
                "--model.encoder_ckpt", str(_encoder(out, encoder)),
                "--model.adapter_ckpt", str(_adapter(out)),
                "--model.condition", condition, "--output_dir", str(_run_folder(out, encoder)),
            ),
        )  # fmt: skip


def _cache(out: Path, space: str) -> Path:
    name = "clip" if space == "mini-source" else space
    return out / "clip_cache" / f"{name}.parquet"


def _encoder(out: Path, encoder: str) -> Path:
    return out / "checkpoints" / encoder / SUBJECT / f"{encoder}.ckpt"


def _adapter(out: Path) -> Path:
    return out / "checkpoints" / "clip_adapter" / SUBJECT / "mini-target" / "adapter.ckpt"


def _run_folder(out: Path, encoder: str) -> Path:
    return out / "recon" / SUBJECT / f"{encoder}_diffusion"
