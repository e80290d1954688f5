"""Two processes take the optimisation steps of one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from fmri_lightning.cli import main
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.encoder.ranks import RowDropout, Share, share_rows

CONFIGS = Path(__file__).parents[2] / "configs" / "encoder"


def test_shares_hold_every_row_once_and_in_order():
    rows = torch.arange(7)
    parts = [Share(7, rank, 3).take(rows) for rank in range(3)]
    assert sorted(torch.cat(parts).tolist()) == rows.tolist()
    assert Share(7).take(rows) is rows
    assert Share(7).gather(rows) is rows


def test_dropout_of_a_row_does_not_depend_on_the_rank():
    network, x = torch.nn.Sequential(RowDropout(0.4)), torch.ones(9, 50)
    torch.manual_seed(3)
    whole = network(x)
    parts = {}
    for rank in range(2):
        share = Share(9, rank, 2)
        share_rows(network, share)
        torch.manual_seed(3)
        parts[rank] = network(share.take(x))
    assert torch.equal(parts[0], whole[0::2])
    assert torch.equal(parts[1], whole[1::2])
    assert whole.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert float((whole == 0).float().mean()) == pytest.approx(0.4, abs=0.1)
    assert network.eval()(x) is x


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_refuses_a_share_outside_its_range(p):
    with pytest.raises(ValueError, match="dropout"):
        RowDropout(p)


def words(small, config, root, *more):
    data = [word for key, value in small.encoder_inputs().items() for word in (f"--data.{key}", value)]
    where = ["--model.root", str(root), "--trainer.default_root_dir", str(root / "runs")]
    return ["fit", "--config", str(config), *data, *where, "--trainer.accelerator", "cpu", *more]


def tiny_network(folder):
    """The shipped residual network, made small, with every random part switched on."""
    config = yaml.safe_load((CONFIGS / "residual.yaml").read_text())
    config["model"]["init_args"] |= {
        "hidden": 24,
        "contrast_weight": 0.5,
        "contrast": "bimixco_softclip",
        "dropout": 0.3,
        "input_dropout": 0.2,
    }
    config["data"]["init_args"]["batch_size"] = 13
    config["trainer"]["max_epochs"] = 4
    path = folder / "residual.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("name", ["ridge", "residual"])
def test_two_processes_fit_what_one_fits(small, tmp_path, name):
    config = tiny_network(tmp_path) if name == "residual" else CONFIGS / "ridge.yaml"
    assert main(words(small, config, tmp_path / "one")) == 0
    two = words(small, config, tmp_path / "two", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    done = subprocess.run(
        [sys.executable, "-m", "fmri_lightning", *two], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = (load_encoder(tmp_path / ranks / name / "subj01" / f"{name}.ckpt") for ranks in ("one", "two"))
    for (key, a), b in zip(one.predictor.state_dict().items(), other.predictor.state_dict().values(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-5, rtol=1e-4, err_msg=key)
    logs = [sorted((tmp_path / ranks / "runs").rglob("metrics.csv"))[-1].read_text() for ranks in ("one", "two")]
    first, second = (_last_scores(text) for text in logs)
    assert set(first) == set(second)
    for key, value in first.items():
        assert second[key] == pytest.approx(value, abs=1e-4), key


def _last_scores(text):
    """The last value of every column that starts with val/."""
    header, *rows = (line.split(",") for line in text.strip().splitlines())
    columns = {name: [row[i] for row in rows if row[i]] for i, name in enumerate(header) if name.startswith("val/")}
    return {name: float(values[-1]) for name, values in columns.items()}
