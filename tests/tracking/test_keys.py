"""The guide's table of keys is the list that the code uses; its commands parse."""

from pathlib import Path

import yaml

import fmri_lightning.tracking
from fmri_lightning.cli import main
from fmri_lightning.tracking.keys import KEYS, key_table
from tests.tracking.fitting import CONFIGS

GUIDE = Path(fmri_lightning.tracking.__file__).parent / "README.md"


def test_the_guide_holds_the_table_of_the_code():
    assert key_table() in GUIDE.read_text()


def test_names_are_stage_and_metric_once_each():
    names = [key.name for key in KEYS]
    assert len(set(names)) == len(names)
    assert not [name for name in names if "subj" in name or name.count("/") > 1]


def test_the_sweeps_command_parses(monkeypatch, capsys):
    """As ``wandb agent`` makes it: one word a parameter in place of ${args}."""
    monkeypatch.chdir(CONFIGS.parent)
    sweep = yaml.safe_load((CONFIGS / "sweep_mlp.yaml").read_text())
    chosen = {
        name: space["value"] if "value" in space else space["values"][-1] if "values" in space else space["max"]
        for name, space in sweep["parameters"].items()
    }
    words = []
    for word in sweep["command"]:
        words += [f"--{name}={value}" for name, value in chosen.items()] if word == "${args}" else [word]
    assert words[:2] == ["${env}", "fmri-lightning"]
    assert main([*words[2:], "--print_config"]) == 0
    model = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]
    assert (model["hidden"], model["n_blocks"], model["root"]) == (2048, 2, "checkpoints/sweep")
    assert model["optimizer"]["init_args"]["lr"] == 3e-3
    assert sweep["metric"]["name"] in [key.name for key in KEYS if key.best == "max"]
