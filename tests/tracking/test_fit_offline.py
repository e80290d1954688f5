"""Fits with configs/logger/wandb.yaml, written offline by the real command line and read back by ``wandb leet``."""

import json

import pytest
import torch
import yaml

from fmri_lightning.cli import main
from fmri_lightning.tracking.keys import keys_of
from tests.tracking.fitting import config, fit_words
from tests.tracking.read_back import only_run, read_run, run_folders

WANDB = config("logger/wandb.yaml")


def test_a_fit_is_on_the_dashboard_without_a_line_of_code(wandb_offline, tmp_path, small, capsys):
    words = fit_words(small, "mlp", *WANDB, "--trainer.logger.init_args.tags", "[debug]")
    assert main(words) == 0
    work = tmp_path / "work"
    place = work / "checkpoints/mlp/subj01"
    run = only_run(work)
    told = capsys.readouterr().err
    assert told.count("\n") == 1, "one line, and no advert"
    assert f"wandb sync {run.folder}" in told
    assert run.folder.parent == place / "wandb"
    assert run.exit_code == 0
    named = {name: run.about[name] for name in ("display_name", "run_group", "job_type", "project", "tags")}
    assert named == {
        "display_name": "mlp/subj01", "run_group": "subj01", "job_type": "fit-encoder", "project": "fmri-lightning",
        "tags": ["mlp", "simulated", "debug"],
    }  # fmt: skip

    settings = yaml.safe_load((place / "fit.yaml").read_text())
    assert run.config["model"]["init_args"]["hidden"] == 16
    assert run.config["data"]["init_args"]["batch_size"] == 16
    assert run.config["trainer"]["max_epochs"] == settings["trainer"]["max_epochs"] == 2
    kept = torch.load(place / "mlp.ckpt", weights_only=True)["fmri_lightning"]
    assert run.config["inputs"] == kept["inputs"]

    scores = [item["val/centred_cosine"] for item in run.history if "val/centred_cosine" in item]
    assert len(scores) == 2
    assert run.summary["val/centred_cosine"] == {"max": max(scores)}
    assert run.summary["train/loss"]["min"] == min(i["train/loss"] for i in run.history if "train/loss" in i)
    known = keys_of("fit-encoder")
    assert {key for key in run.own_keys() if not any(k.matches(key) for k in known)} == set()
    promised = [key for key in known if not key.name.startswith("ridge/")]
    assert [key.name for key in promised if not any(key.matches(name) for name in run.own_keys())] == []

    (artifact,) = run.artifacts
    assert artifact["type"] == "encoder"
    assert json.loads(artifact["metadata"]) == {"content_hash": kept["content_hash"], "inputs": kept["inputs"]}
    references = [entry["ref"] for entry in artifact["manifest"]["contents"] if "ref" in entry]
    assert references == [(place / "mlp.ckpt").resolve().as_uri()]

    logs = list((work / "outputs/runs/logs").glob("version_*/metrics.csv"))
    assert len(logs) == 1, "the CSV log is there all the same"
    assert "val/centred_cosine" in logs[0].read_text().splitlines()[0]
    home = [path for path in (wandb_offline / "home").rglob("*") if path.is_file()]
    assert [path for path in home if "matplotlib" not in path.parts] == []


@pytest.mark.slow
def test_a_second_run_in_the_same_folder_and_the_ridges_curve(wandb_offline, tmp_path, small):
    for _ in range(2):
        assert main(fit_words(small, "ridge", *WANDB)) == 0
    first, second = (read_run(file) for file in run_folders(tmp_path / "work"))
    assert first.about["run_id"] != second.about["run_id"]
    assert first.exit_code == second.exit_code == 0
    curve = [item["ridge/cv_r2"] for item in second.history if "ridge/cv_r2" in item]
    kept = torch.load(tmp_path / "work/checkpoints/ridge/subj01/ridge.ckpt", weights_only=True)["fmri_lightning"]
    assert curve == pytest.approx(kept["fitted"]["loo_r2"])


@pytest.mark.slow
def test_a_watched_fit_gives_the_same_weights(wandb_offline, tmp_path, small):
    weights = []
    for number, more in enumerate(([], WANDB)):
        root = tmp_path / str(number)
        assert main(fit_words(small, "mlp", *more, "--model.root", str(root))) == 0
        weights.append(torch.load(root / "mlp/subj01/mlp.ckpt", weights_only=True)["state_dict"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
def test_a_named_folder_holds_the_runs(wandb_offline, tmp_path, small, monkeypatch):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "scratch"))
    assert main(fit_words(small, "ridge", *WANDB)) == 0
    assert run_folders(tmp_path / "work") == []
    assert only_run(tmp_path / "scratch").folder.parent == tmp_path / "scratch/wandb"


@pytest.mark.slow
def test_a_refused_run_leaves_nothing_and_a_broken_one_its_exit_code(wandb_offline, tmp_path, small, monkeypatch):
    assert main(fit_words(small, "mlp", *WANDB, "--data.betas", "nowhere")) == 3
    assert run_folders(tmp_path) == []

    def stop(*_):
        raise MemoryError("planted")

    monkeypatch.setattr("fmri_lightning.encoder.network_module.MLPModule.training_step", stop)
    assert main(fit_words(small, "mlp", *WANDB)) == 4
    assert only_run(tmp_path / "work").exit_code == 1
