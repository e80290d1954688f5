"""Two processes train one part: one W&B run, of the first."""

import subprocess
import sys

import pytest

from tests.tracking.fitting import config, fit_words
from tests.tracking.read_back import only_run

pytestmark = [pytest.mark.slow, pytest.mark.distributed]


def test_two_ranks_write_one_run(wandb_offline, tmp_path, small):
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    words = fit_words(small, "mlp", *config("logger/wandb.yaml"), *two)
    done = subprocess.run(
        [sys.executable, "-m", "fmri_lightning", *words], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run = only_run(tmp_path / "work")
    assert run.exit_code == 0
    assert len([item for item in run.history if "val/centred_cosine" in item]) == 2
