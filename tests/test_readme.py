"""The README's commands: every block marked `bash run` is executed, the others are parsed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from fmri_lightning.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
READMES = sorted(path for path in ROOT.rglob("README.md") if not {".venv", ".git"} & set(path.relative_to(ROOT).parts))
MINIATURE_TWINS = {"vit-b-32": "mini-source", "vit-h-14": "mini-target"}
"""Hub models are out of reach in tests; their shipped stand-ins have the same widths."""


SMALL_GENERATOR = [
    "--data.batch_size", "4", "--data.steps_per_epoch", "2", "--trainer.max_steps", "2", "--model.channels", "[32,32]",
    "--model.attention", "[false,true]", "--model.layers_per_block", "1",
]  # fmt: skip

TRAINED = ("configs/encoder/mlp.yaml", "configs/encoder/residual.yaml", "configs/adapter.yaml")


def command_lines(text: str, marker: str) -> list[list[str]]:
    """Return the argument lists of all fmri-lightning lines in blocks with an info string."""
    blocks = re.findall(rf"^```{marker}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("fmri-lightning ")]


def with_miniature(arguments: list[str], root: Path) -> list[str]:
    """Return a README command with the miniature in NSD's place and mini models in the hub's."""
    # Checkpoints of an adapter lie in a folder named after the space that it leads to.
    named = [word.replace("$NSD", str(root)).replace("/vit-h-14/", "/mini-target/") for word in arguments]
    swapped = [MINIATURE_TWINS.get(word, word) for word in named]
    if swapped[0] == "predict":
        if "--model.decoder.model_id" not in swapped:
            # Behind the first configuration and before the flags, which it must not overrule.
            place = swapped.index("--config") + 2
            swapped[place:place] = ["--config", "configs/decoder/mini.yaml"]
        swapped += ["--model.num_inference_steps", "2"]
        swapped[swapped.index("--data.limit") + 1] = "4"
    if swapped[:3] == ["fit", "--config", "configs/generator.yaml"]:
        swapped += SMALL_GENERATOR
    if swapped[:2] == ["fit", "--config"] and swapped[2] in TRAINED:
        swapped += ["--trainer.max_epochs", "2"]
    if swapped[:3] == ["fit", "--config", "configs/encoder/residual.yaml"]:
        swapped += ["--model.hidden", "64"]
    return swapped


@pytest.mark.slow
def test_readme_commands_run_on_the_miniature(miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands = command_lines((ROOT / "README.md").read_text(), "bash run")
    assert [arguments[0] for arguments in commands] == [
        "index", "betas", "clip-cache", "clip-cache", "fit", "fit", "fit", "predict", "evaluate", "report",
    ]  # fmt: skip
    for arguments in commands:
        assert main(with_miniature(arguments, miniature.root)) == 0, shlex.join(arguments)
    run = tmp_path / "outputs" / "recon" / "subj01" / "ridge_diffusion"
    assert len(list((run / "images").glob("nsd*_generated.png"))) == 4
    assert (run / "report" / "index.html").is_file()


@pytest.mark.slow
def test_a_generator_of_ones_own_draws_from_the_encoders_own_space(
    miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guide of generation/training: no adapter between the encoder's 512-D prediction and the picture."""
    monkeypatch.chdir(tmp_path)
    guide = ROOT / "fmri_lightning" / "generation" / "training" / "README.md"
    for arguments in command_lines(guide.read_text(), "bash run"):
        assert main(with_miniature(arguments, miniature.root)) == 0, shlex.join(arguments)
    run = tmp_path / "outputs" / "recon" / "subj01" / "ridge_diffusion"
    assert len(list((run / "images").glob("nsd*_generated.png"))) == 4


@pytest.mark.slow
def test_the_data_guides_commands_run_on_the_miniature(
    miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    guide = ROOT / "fmri_lightning" / "index" / "README.md"
    commands = command_lines(guide.read_text(), "bash run")
    assert [arguments[0] for arguments in commands] == ["index", "doctor", "betas", "betas", "clip-cache"]
    for arguments in commands:
        assert main(with_miniature(arguments, miniature.root)) == 0, shlex.join(arguments)
    assert "FAILED" not in capsys.readouterr().out
    assert (tmp_path / "outputs" / "betas" / "subj01" / "betas.npy").is_file()
    assert (tmp_path / "outputs" / "clip_cache" / "clip.parquet").is_file()


@pytest.mark.slow
def test_the_guides_of_encoder_and_adapter_run_on_the_miniature(
    miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    package = ROOT / "fmri_lightning"
    commands = command_lines((ROOT / "README.md").read_text(), "bash run")[:4]
    commands += command_lines((package / "encoder" / "README.md").read_text(), "bash run")
    commands += command_lines((package / "adapter" / "README.md").read_text(), "bash run")
    steps = ["fit"] * 4 + ["predict", "fit", "fit", "calibrate"]
    assert [arguments[0] for arguments in commands[4:]] == steps
    for arguments in commands:
        assert main(with_miniature(arguments, miniature.root)) == 0, shlex.join(arguments)
    for written in ("ridge/subj01/subj01_ridge.json", "residual/subj01/residual.ckpt", "calibration/ridge/subj01"):
        assert (tmp_path / "checkpoints" / written).exists()
    assert len(list((tmp_path / "outputs/recon/subj01/direct_diffusion/images").glob("nsd*_generated.png"))) == 4


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_options_in_a_readme_parse(readme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the commands that are functions; those of Lightning are executed above."""
    for arguments in command_lines(readme.read_text(), "bash(?: run)?"):
        if COMMANDS[arguments[0]].function is not None:
            assert main([*arguments, "--print_config"]) == 0, shlex.join(arguments) + capsys.readouterr().err


def test_an_option_that_does_not_exist_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "--root", "nsd", "--subjects", "subj01", "--print_config"]) == 2
    assert "subjects" in capsys.readouterr().err


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_named_in_a_readme_exists(readme: Path) -> None:
    named = set(re.findall(r"fmri-lightning ([a-z-]+)", readme.read_text()))
    assert named <= set(COMMANDS) | {"fit", "validate", "predict"}


@pytest.mark.slow
def test_the_guide_of_generation_runs_on_the_miniature(
    miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = command_lines((ROOT / "README.md").read_text(), "bash run")
    before = [arguments for arguments in commands[:7] if "configs/encoder/mlp.yaml" not in arguments]
    guide = command_lines((ROOT / "fmri_lightning" / "generation" / "README.md").read_text(), "bash run")
    assert [arguments[0] for arguments in guide] == ["predict"] * 3
    for arguments in [*before, *guide]:
        assert main(with_miniature(arguments, miniature.root)) == 0, shlex.join(arguments)
    assert "4 pictures to draw (0 done)" in capsys.readouterr().out
    runs = tmp_path / "outputs" / "recon" / "subj01"
    assert len(list((runs / "ridge_best_of_4" / "samples").glob("nsd*_k*.png"))) == 16
    assert len(list((runs / "ridge_nearest_neighbour" / "images").glob("nsd*_generated.png"))) == 4
    assert not (runs / "ridge_diffusion").exists(), "a dry run leaves nothing"


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_named_in_a_readme_exist(readme: Path) -> None:
    named = set(re.findall(r"configs/[\w/]+\.yaml", readme.read_text()))
    missing = [name for name in sorted(named) if not (ROOT / name).is_file()]
    assert not missing
