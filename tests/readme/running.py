"""Execute the steps of guides on the miniature, each shared beginning once."""

from __future__ import annotations

import contextlib
import io
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, takewhile
from pathlib import Path

from fmri_lightning.cli import main
from tests.readme.guides import Step

MINIATURE_TWINS = {"vit-b-32": "mini-source", "vit-h-14": "mini-target", "sd-vae": "mini-vae"}
"""Hub models are out of reach in tests; their shipped stand-ins have the same widths."""
SMALL_GENERATOR = [
    "--data.batch_size", "4", "--data.steps_per_epoch", "2", "--trainer.max_steps", "2", "--model.channels", "[32,32]",
    "--model.attention", "[false,true]", "--model.layers_per_block", "1",
]  # fmt: skip
TRAINED = ("configs/encoder/mlp.yaml", "configs/encoder/residual.yaml", "configs/adapter.yaml")


def with_miniature(words: Sequence[str], root: Path) -> list[str]:
    """Return a guide's command with the miniature in NSD's place and mini models in the hub's."""
    # Checkpoints of an adapter lie in a folder named after the space that it leads to.
    named = [word.replace("$NSD", str(root)).replace("/vit-h-14/", "/mini-target/") for word in words]
    swapped = [MINIATURE_TWINS.get(word, word) for word in named]
    if swapped[0] == "predict":
        if "--model.decoder.model_id" not in swapped:
            # Behind the first configuration and before the flags, which it must not overrule.
            place = swapped.index("--config") + 2
            swapped[place:place] = ["--config", "configs/decoder/mini.yaml"]
        # What comes last counts.
        swapped += ["--model.num_inference_steps", "2", "--data.limit", "4"]
    if swapped[:3] == ["fit", "--config", "configs/generator.yaml"]:
        swapped += SMALL_GENERATOR
    if swapped[:2] == ["fit", "--config"] and swapped[2] in TRAINED:
        swapped += ["--trainer.max_epochs", "2"]
    if swapped[:3] == ["fit", "--config", "configs/encoder/residual.yaml"]:
        swapped += ["--model.hidden", "64"]
    return swapped


@dataclass(frozen=True)
class Done:
    """A folder in which steps were executed, and what each of them printed."""

    folder: Path
    printed: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """What the last step printed."""
        return self.printed[-1]


class SharedRuns:
    """Runs of many guides; what two of them begin with is executed once and copied.

    Args:
        runs: Steps of each guide, those that it needs first.
        miniature: The tree that takes NSD's place.
        scratch: An empty folder.
    """

    def __init__(self, runs: Iterable[Sequence[Step]], miniature: Path, scratch: Path) -> None:
        wholes = [tuple(run) for run in runs]
        shared = {_shared_beginning(a, b) for a, b in combinations(wholes, 2)}
        self._kept = {*wholes, *shared} - {()}
        self._miniature, self._scratch = miniature, scratch
        self._done: dict[tuple[Step, ...], Done] = {}
        self.executed: list[tuple[Step, float]] = []

    def after(self, run: Sequence[Step]) -> Done:
        """Return what a run left, executing what was not executed yet."""
        steps = tuple(run)
        if steps not in self._done:
            before = max((kept for kept in self._kept if kept == steps[: len(kept)] != steps), key=len, default=())
            folder = Path(tempfile.mkdtemp(dir=self._scratch))
            printed: tuple[str, ...] = ()
            if before:
                beginning = self.after(before)
                # Not linked: a run appends to its lines.
                shutil.copytree(beginning.folder, folder, dirs_exist_ok=True)
                printed = beginning.printed
            printed += tuple([self._execute(step, folder) for step in steps[len(before) :]])
            self._done[steps] = Done(folder, printed)
        return self._done[steps]

    def _execute(self, step: Step, folder: Path) -> str:
        heard = io.StringIO()
        started_s = time.perf_counter()
        with contextlib.chdir(folder), contextlib.redirect_stdout(_Both(sys.stdout, heard)):
            if step.code:
                exec(compile(step.code, step.place, "exec"), {"__name__": "__main__"})
            else:
                code = main(with_miniature(step.words, self._miniature))
                assert code == 0, f"{step.place} ended with {code}: {shlex.join(step.words)}"
        self.executed.append((step, time.perf_counter() - started_s))
        return heard.getvalue()


def _shared_beginning(a: tuple[Step, ...], b: tuple[Step, ...]) -> tuple[Step, ...]:
    return tuple(one for one, other in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


class _Both(io.TextIOBase):
    """Writes to two streams: pytest shows what a failed step said, and the test reads it."""

    def __init__(self, *streams: io.TextIOBase) -> None:
        self._streams = streams

    def write(self, text: str) -> int:
        for stream in self._streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self._streams:
            stream.flush()
