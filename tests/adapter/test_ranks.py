"""Two processes fit the adapter that one fits."""

import os
import subprocess
import sys

import pytest
import torch

from fmri_lightning.adapter.load import load_adapter
from tests.adapter.fitting import write_shrunken


def command(small, root, out_of_fold, devices):
    model = {"form": "residual", "hidden": 12, "n_blocks": 1, "dropout": 0.2, "root": root}
    data = small.adapter_inputs(batch_size=15, out_of_fold=out_of_fold)  # 54 pictures: the last batch is odd
    words = [sys.executable, "-m", "fmri_lightning", "fit", "--config", "configs/adapter.yaml"]
    words += [word for name, value in model.items() for word in (f"--model.{name}", str(value))]
    words += [word for name, value in data.items() for word in (f"--data.{name}", str(value))]
    trainer = {"max_epochs": 3, "accelerator": "cpu", "devices": devices, "default_root_dir": root}
    if devices > 1:
        trainer["strategy"] = "ddp"
    return words + [word for name, value in trainer.items() for word in (f"--trainer.{name}", str(value))]


@pytest.mark.slow
@pytest.mark.distributed
def test_two_ranks_fit_what_one_fits(small, tmp_path):
    out_of_fold = write_shrunken(small, tmp_path)
    networks = []
    for devices in (1, 2):
        root = tmp_path / str(devices)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        words = command(small, root, out_of_fold, devices)
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("subj01_clip_adapter.json: test cosine") == 1
        networks.append(load_adapter(root / "clip_adapter" / "subj01" / "target" / "adapter.ckpt").network)
    one, two = (network.state_dict() for network in networks)
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-5)
