"""Real processes: Lightning's own launcher and torchrun, and what is left when one of them dies."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fmri_lightning.locks import run_lock
from tests.generation.conftest import arguments, pictures, summary
from tests.generation.tiny import N_TEST

pytestmark = [pytest.mark.slow, pytest.mark.distributed]

TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def run(words, *launcher):
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "fmri_lightning", *words],
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_draw_the_same_bytes_as_one(tmp_path, predict, brain, generator):
    one = predict(tmp_path / "one")
    two = tmp_path / "two"
    run(arguments(brain, generator, two, *TWO))
    assert pictures(two) == pictures(one)
    assert (two / "predictions.parquet").read_bytes() == (one / "predictions.parquet").read_bytes()
    assert summary(two)["results"] == summary(one)["results"]
    lines = [len(path.read_text().splitlines()) for path in sorted((two / "shards").glob("rank*.jsonl"))]
    assert sorted(lines) == [N_TEST // 2, N_TEST - N_TEST // 2]
    # fewer items than ranks: the idle rank ends well
    name = next(iter(pictures(two)))
    (two / name).unlink()
    run(arguments(brain, generator, two, *TWO))
    assert pictures(two) == pictures(one)


def test_torchrun_draws_the_same_bytes(tmp_path, predict, brain, generator):
    one = predict(tmp_path / "one")
    run(arguments(brain, generator, tmp_path / "two", *TWO), *TORCHRUN)
    assert pictures(tmp_path / "two") == pictures(one)
    assert summary(tmp_path / "two")["results"] == summary(one)["results"]


def test_when_half_the_ranks_are_lost_the_other_half_draws_the_rest(tmp_path, predict, brain, generator):
    """A rank is killed in the middle of its share; the run that resumes has one process."""
    slow = {"num_inference_steps": 150, "batch_size": 1}
    one, two = predict(tmp_path / "one", **slow), tmp_path / "two"
    words = arguments(brain, generator, two, *TWO, "--model.num_inference_steps", "150", "--model.batch_size", "1")
    process = subprocess.Popen(
        [sys.executable, *TORCHRUN, "-m", "fmri_lightning", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    lines = two / "shards" / "rank0001.jsonl"
    wait_for(lambda: lines.is_file() and lines.read_text())
    os.kill(rank_of(process.pid, "1"), signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert 0 < len(pictures(two)) < N_TEST
    assert not (two / "decode_summary.json").exists()
    predict(two, **slow)
    assert pictures(two) == pictures(one)
    assert summary(two)["results"] == summary(one)["results"]


def two_ranks(words, *more):
    """Start two ranks as srun would: by the environment, each with an exit code of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {
        "TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
    }  # fmt: skip
    return [
        subprocess.Popen(
            [sys.executable, "-m", "fmri_lightning", *words, *TWO, *more], stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]  # fmt: skip


def wait_for(condition):
    until_s = time.monotonic() + 120
    while not condition() and time.monotonic() < until_s:
        time.sleep(0.02)
    assert condition()


@pytest.mark.parametrize("n_items", [1, 3])
def test_a_rank_that_waits_for_others_is_stopped_by_a_signal_too(tmp_path, brain, generator, n_items):
    """It never had a batch, or is through with its only one; inside a collective it would not hear the signal."""
    out = tmp_path / "run"
    words = arguments(brain, generator, out, "--data.limit", str(n_items), "--model.batch_size", "1")
    ranks = two_ranks(words, "--model.num_inference_steps", "900")
    lines = out / "shards" / "rank0001.jsonl"
    wait_for((out / "predict.yaml").is_file if n_items == 1 else lambda: lines.is_file() and lines.read_text())
    time.sleep(1 if n_items == 1 else 0.5)
    for process in ranks:
        process.send_signal(signal.SIGUSR1)
    said = [process.communicate(timeout=120)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [75, 75], said
    assert "after a finished batch" in said[0]
    assert "while it waited for other ranks" in said[1]
    assert 0 < len(pictures(out)) <= n_items
    assert not (out / ".lock").exists()


def test_what_stops_the_first_rank_stops_all(tmp_path, brain, generator):
    with run_lock(tmp_path / "run"):
        ranks = two_ranks(arguments(brain, generator, tmp_path / "run"))
        said = [process.communicate(timeout=120)[1] for process in ranks]
    # gloo's threads may abort the second rank on its way out, after it has said why it ends: the first is gone by then.
    assert ranks[0].returncode == 4, said
    assert ranks[1].returncode in (4, -signal.SIGABRT), said
    assert all("is in use by process" in text for text in said)


def test_a_launchers_process_finishes_its_batch_when_another_is_through(tmp_path, brain, generator):
    """The child has nothing to draw and hears the signal from its launcher."""
    out = tmp_path / "run"
    words = arguments(brain, generator, out, *TWO, "--data.limit", "1", "--model.num_inference_steps", "900")
    process = subprocess.Popen(
        [sys.executable, "-m", "fmri_lightning", *words, "--model.batch_size", "3"], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for((out / "predict.yaml").is_file)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=200)[1]
    assert process.returncode == 75, said
    assert len(pictures(out)) == 1
    assert not (out / ".lock").exists()


def rank_of(launcher: int, rank: str) -> int:
    """Find the process of a rank among the children of its launcher."""
    for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"LOCAL_RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return int(pid)
    raise AssertionError(f"no rank {rank} below {launcher}")
