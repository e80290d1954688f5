"""Kill predict and report at random moments: children of a process that has everything imported.

    python -m tests.generation.killed FOLDER N_KILLS SEED       # prints kills and runs that came to their end

The first child runs undisturbed; what it leaves is what every interrupted and resumed run must leave, byte for byte.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np

RESULTS = ("images", "samples", "grids", "controls")
FILES = ("predictions.parquet", "decode_summary.json", "predict.yaml")


def snapshot(run: Path) -> dict[str, bytes]:
    """Read what equal runs have in common; temporary files and shards are left out."""
    inside = [path for name in RESULTS for path in sorted((run / name).rglob("*.png"))]
    return {str(p.relative_to(run)): p.read_bytes() for p in [*inside, *(run / name for name in FILES)]}


def start(words: list[list[str]]) -> int:
    """Run commands in a child; its exit code is the first that is not 0."""
    from fmri_lightning.cli import main

    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with open(os.devnull, "w") as nothing, open(Path(words[0][-1]).with_suffix(".err"), "w") as errors:
            os.dup2(nothing.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            code = next((code for command in words if (code := main(command))), 0)
    finally:
        os._exit(code)


def ended_within(pid: int, seconds: float) -> int | None:
    """Wait for a child; None where it is still at work."""
    until_s = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until_s:
            return None
        time.sleep(0.002)


def kill_and_resume(words: list[list[str]], run: Path, n_kills: int, seed: int) -> tuple[int, int]:
    """Kill children at random moments until there were enough; every run that ends is compared and begun anew.

    Returns:
        Kills, and kills after which at least one picture was on the disk.
    """
    begin_s = time.monotonic()
    assert ended_within(start(words), 300) == 0, run.with_suffix(".err").read_text()
    whole_s = time.monotonic() - begin_s
    expected = snapshot(run)
    shutil.rmtree(run)
    moments = np.random.default_rng(seed)
    kills = amid = 0
    while kills < n_kills:
        pid = start(words)
        code = ended_within(pid, float(moments.uniform(0, whole_s)))
        if code is None:
            os.kill(pid, signal.SIGKILL)
            if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL:
                kills += 1
                amid += any((run / "samples").glob("*.png"))
                continue
        assert code in (0, None), run.with_suffix(".err").read_text()
        compare(expected, run)
        shutil.rmtree(run)
    assert ended_within(start(words), 300) == 0, run.with_suffix(".err").read_text()
    compare(expected, run)
    left = [path for inside in (run, run / "images", run / "samples") for path in inside.glob(".*.tmp")]
    assert not left, "what killed processes left is cleared away"
    return kills, amid


def compare(expected: dict[str, bytes], run: Path) -> None:
    """Refuse a run that differs from the undisturbed one."""
    found = snapshot(run)
    differing = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    assert not differing, f"after kills these differ: {differing}"


def warm_up() -> None:
    """Import what the commands import."""
    import diffusers  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import torch
    from diffusers import StableUnCLIPImg2ImgPipeline  # noqa: F401
    from transformers import CLIPVisionModelWithProjection  # noqa: F401

    import fmri_lightning.lightning_cli
    import fmri_lightning.report.page

    fmri_lightning.lightning_cli._import_stages()
    torch.set_num_threads(1)


if __name__ == "__main__":
    import json

    folder, n_kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    warm_up()
    commands = json.loads((folder / "commands.json").read_text())
    print(*kill_and_resume(commands, folder / "run", n_kills, seed))
