"""Kills and failing disks: what is there is whole, and the same command makes the rest, byte for byte."""

import errno
import json
import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fmri_lightning.errors import ResourceError
from fmri_lightning.generation.decoder import DecoderConfig
from tests.generation.conftest import Predict
from tests.generation.killed import snapshot
from tests.generation.tiny import write_brain, write_stimuli, write_tower


@pytest.fixture(scope="module")
def brain(tmp_path_factory):
    """A brain in a space whose encoder is here, so that one of K samples can be chosen."""
    from fmri_lightning.embeddings.image_encoder import ImageEncoder

    folder = tmp_path_factory.mktemp("killed")
    brain = write_brain(folder / "brain", ImageEncoder.from_space(str(write_tower(folder / "tower"))).space)
    write_stimuli(folder / "root", brain.table)
    return brain


@pytest.mark.slow
def test_twenty_kills_leave_what_an_undisturbed_run_leaves(tmp_path, brain, generator):
    data = {**brain.data, "root": str(brain.folder.parent / "root")}
    words = [word for key, value in data.items() for word in (f"--data.{key}", value)]
    words += [word for key, value in brain.model.items() for word in (f"--model.{key}", value)]
    predict = [
        "predict", "--config", "configs/predict.yaml", "--config", "configs/decoder/mini.yaml", *words,
        "--model.decoder.model_id", str(generator), "--model.num_inference_steps", "8", "--model.n_samples", "3",
        "--model.batch_size", "2", "--trainer.accelerator", "cpu", "--output_dir", str(tmp_path / "run"),
    ]  # fmt: skip
    (tmp_path / "commands.json").write_text(json.dumps([predict, ["report", "--run", str(tmp_path / "run")]]))
    done = subprocess.run(
        [sys.executable, "-m", "tests.generation.killed", str(tmp_path), "20", "0"],
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    kills, amid = map(int, done.stdout.split()[-2:])
    assert kills == 20
    assert amid >= 5, "most kills came before the first picture: nothing was tried"


class FailingDisk:
    """Counts every opening for writing, flush and rename below a folder, and lets one of them fail."""

    def __init__(self):
        self.folder, self.count, self.fails_at, self.failed = None, 0, None, ""
        sys.addaudithook(self._audit)  # for good: a hook cannot be taken back
        self._fsync = os.fsync

    def _audit(self, event, args):
        if self.folder is None:
            return
        if event == "os.rename" or (
            event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            self._point(event, str(args[0]))

    def _point(self, event, name):
        if event != "os.fsync" and not name.startswith(self.folder):
            return
        self.count += 1
        if self.count == self.fails_at:
            self.failed = f"{event} {name}"
            raise OSError(errno.ENOSPC, "No space left on device", name)

    def fsync(self, handle):
        if self.folder is not None:
            self._point("os.fsync", "")
        self._fsync(handle)

    @contextmanager
    def below(self, folder: Path, fails_at: int | None):
        self.folder, self.count, self.fails_at, self.failed = str(folder), 0, fails_at, ""
        try:
            yield
        finally:
            self.folder = None


@pytest.fixture(scope="module")
def disk():
    return FailingDisk()


@pytest.mark.slow
def test_no_write_flush_or_rename_that_fails_leaves_half_a_file(tmp_path, brain, generator, disk, monkeypatch):
    monkeypatch.setattr(os, "fsync", disk.fsync)
    run = Predict(brain, generator)

    def draw(out, fails_at=None):
        with disk.below(out, fails_at):
            run(out, data_limit=2, n_samples=2, batch_size=2, decoder=DecoderConfig("mini", str(generator)))

    def results(out):
        return {
            p.relative_to(out).as_posix(): p.read_bytes()
            for p in out.rglob("*")
            if p.is_file() and p.name not in ("run.json", "manifest.json", ".lock") and p.suffix != ".jsonl"
        }

    draw(tmp_path / "whole")
    expected, points = results(tmp_path / "whole"), disk.count
    assert points > 40
    seen = set()
    for point in range(1, points + 1):
        out = tmp_path / f"{point}"
        with suppress(OSError, ResourceError):
            draw(out, point)
        assert disk.failed, point
        seen.add(disk.failed.split()[0])
        left = results(out)
        assert left.items() <= expected.items(), (disk.failed, sorted(set(left) - set(expected)))
        draw(out)
        assert results(out) == expected, disk.failed
    assert seen == {"open", "os.fsync", "os.rename"}


def test_the_snapshot_sees_a_changed_byte(tmp_path):
    for name in ("predictions.parquet", "decode_summary.json", "predict.yaml", "images/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    before = snapshot(tmp_path)
    (tmp_path / "images/a.png").write_bytes(b"2")
    assert snapshot(tmp_path) != before
