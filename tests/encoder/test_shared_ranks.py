"""Two processes fit the shared network that one fits."""

import subprocess
import sys

import numpy as np
import pytest

from fmri_lightning.cli import main
from fmri_lightning.encoder.load import load_encoder
from tests.encoder.shared_fits import small_world


@pytest.mark.slow
@pytest.mark.distributed
def test_two_processes_fit_what_one_fits(tmp_path):
    world = small_world(tmp_path)
    world.write_cache()
    for number in (1, 2):
        world.write_subject(number)
    data = [word for key, value in world.inputs().items() for word in (f"--data.{key}", value)]
    words = ["fit", "--config", "configs/encoder/shared.yaml", *data, "--data.subjects", "[subj01,subj02]"]
    words += ["--data.batch_size", "7", "--model.hidden", "24", "--model.contrast_weight", "0.5"]
    words += ["--trainer.max_steps", "12", "--trainer.accelerator", "cpu"]

    def where(name):
        return ["--model.root", str(tmp_path / name), "--trainer.default_root_dir", str(tmp_path / name / "runs")]

    assert main([*words, *where("one")]) == 0
    two = [*words, *where("two"), "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    done = subprocess.run(
        [sys.executable, "-m", "fmri_lightning", *two], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for subject in ("subj01", "subj02"):
        one, other = (load_encoder(tmp_path / name / "shared" / subject / "shared.ckpt") for name in ("one", "two"))
        states = one.predictor.state_dict(), other.predictor.state_dict()
        for key, value in states[0].items():
            np.testing.assert_allclose(value.numpy(), states[1][key].numpy(), atol=2e-5, rtol=1e-3, err_msg=key)
