"""Every shipped YAML is accepted whole by the command it is for; an unknown key is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fmri_lightning.cli import main

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SWEEPS = {"sweep_mlp.yaml"}
"""For ``wandb sweep``; tests/tracking/test_sweep.py reads them."""
NAMES = sorted({path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml")} - SWEEPS)
ON_TOP_OF = {
    "mini/gpu/encoder.yaml": "mini/target_encoder.yaml",
    "mini/gpu/autoencoder.yaml": "mini/autoencoder.yaml",
    "mini/gpu/generator.yaml": "mini/generator.yaml",
    "mini/gpu/generator_pixels.yaml": "mini/generator.yaml",
    "adapter/vit-l-14.yaml": "adapter.yaml",
    "adapter/vit-h-14.yaml": "adapter.yaml",
    "adapter/vit-bigg-14.yaml": "adapter.yaml",
    "logger/wandb.yaml": "encoder/mlp.yaml",
    "logger/tensorboard.yaml": "encoder/mlp.yaml",
    "logger/panels_adapter.yaml": "adapter.yaml",
    "logger/panels_adapter_mini.yaml": "adapter.yaml",
    "logger/panels_generator.yaml": "generator.yaml",
}
PREDICT = {"predict.yaml", "predict_seed.yaml"}
ON_TOP_OF_PREDICT = {"low_level_mini.yaml"}


def arguments(name: str, file: Path | None = None) -> list[str]:
    """Return the command line that reads a configuration and prints what came of it."""
    path = str(file or CONFIGS / name)
    if name == "base.yaml":
        return ["fit", "--config", str(CONFIGS / "adapter.yaml"), "--config", path, "--print_config"]
    if name in PREDICT:
        return ["predict", "--config", path, "--print_config"]
    if name.startswith("decoder/") or name in ON_TOP_OF_PREDICT:
        return ["predict", "--config", str(CONFIGS / "predict.yaml"), "--config", path, "--print_config"]
    if name in ON_TOP_OF:
        return ["fit", "--config", str(CONFIGS / ON_TOP_OF[name]), "--config", path, "--print_config"]
    return ["fit", "--config", path, "--print_config"]


@pytest.mark.parametrize("name", NAMES)
def test_configuration_is_accepted(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(name)) == 0
    accepted = yaml.safe_load(capsys.readouterr().out)
    for section in ("model", "data"):
        written = (yaml.safe_load((CONFIGS / name).read_text()).get(section) or {}).get("init_args", {})
        for key, value in written.items():
            if not isinstance(value, dict):
                assert accepted[section]["init_args"][key] == value, key


@pytest.mark.parametrize("below", ["adapter.yaml", "adapter_residual.yaml"])
@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("adapter/")])
def test_a_target_changes_nothing_but_the_target(name: str, below: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--config", str(CONFIGS / below)]
    found = []
    for more in ([], ["--config", str(CONFIGS / name)]):
        assert main([*words, *more, "--print_config"]) == 0
        found.append(yaml.safe_load(capsys.readouterr().out))
    assert found[1]["data"]["init_args"].pop("target_cache") == f"outputs/clip_cache/{Path(name).stem}.parquet"
    found[0]["data"]["init_args"].pop("target_cache")
    assert found[0] == found[1]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("logger/")])
def test_a_loggers_file_takes_nothing_away(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(name)) == 0
    trainer = yaml.safe_load(capsys.readouterr().out)["trainer"]
    below = yaml.safe_load((CONFIGS / ON_TOP_OF[name]).read_text())["trainer"]
    added = yaml.safe_load((CONFIGS / name).read_text())["trainer"]
    classes = [callback["class_path"] for callback in [*below["callbacks"], *added["callbacks+"]]]
    assert [callback["class_path"] for callback in trainer["callbacks"]] == classes
    if "logger" in added:
        assert trainer["logger"]["class_path"] == added["logger"]["class_path"]


@pytest.mark.parametrize("section", ["model", "data", "trainer"])
@pytest.mark.parametrize("name", ["encoder/ridge.yaml", "adapter.yaml", "predict.yaml", "mini/generator.yaml"])
def test_an_unknown_key_is_an_error(
    name: str, section: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load((CONFIGS / name).read_text())
    place = content[section] if section == "trainer" else content[section]["init_args"]
    place["subjct"] = "subj01"
    broken = tmp_path / "broken.yaml"
    broken.write_text(yaml.safe_dump(content))
    assert main(arguments(name, broken)) == 2
    assert "subjct" in capsys.readouterr().err
