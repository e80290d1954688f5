"""The recipes of the mini models, run small through the real command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fmri_lightning.cli import main
from fmri_lightning.embeddings import distillation_data

SMALL_DATA = ("--data.n_scenes", "8", "--data.n_heldout_scenes", "4", "--data.batch_size", "4")
SHORT = ("--trainer.max_steps", "2", "--data.steps_per_epoch", "2")


def test_autoencoder_then_generator_from_their_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fmri_lightning.generation.decoder import DecoderConfig
    from fmri_lightning.generation.families.unclip import load_unclip
    from fmri_lightning.generation.sampler import SamplingOptions

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FMRI_LIGHTNING_PHOTOGRAPHS", raising=False)
    generator = ["fit", "--config", "configs/mini/generator.yaml", *SMALL_DATA, *SHORT]
    assert main(generator) == 3, "without an autoencoder there is nothing to train on"
    assert "configs/mini/autoencoder.yaml" in capsys.readouterr().err
    # Without the perceptual term, whose network is installed by make teachers only.
    autoencoder = ["fit", "--config", "configs/mini/autoencoder.yaml", "--model.perceptual", "null"]
    assert main([*autoencoder, *SMALL_DATA, *SHORT]) == 0
    small = ("--model.channels", "[32,32]")
    assert main([*generator, *small]) == 0

    folder = tmp_path / "checkpoints" / "mini" / "generator"
    assert "training time" in (folder / "README.md").read_text()
    decoder = load_unclip(DecoderConfig(family="mini", model_id=str(folder)))
    pictures = decoder.generate(torch.zeros(1, 1024), [0], SamplingOptions(num_inference_steps=2))
    assert pictures.shape == (1, 64, 64, 3)


def test_the_gpu_recipes_are_the_same_runs_limited_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On top of the plain YAML, two runs of the generator, the second from the first's averaged weights; pixels."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FMRI_LIGHTNING_PHOTOGRAPHS", raising=False)
    time_limit = ("--trainer.max_time", "00:00:00:02", "--data.steps_per_epoch", "2")
    small = ("--model.channels", "[32,32]", "--model.attention", "[false,true]", "--model.layers_per_block", "1")
    pixels = ["fit", "--config", "configs/mini/generator.yaml", "--config", "configs/mini/gpu/generator_pixels.yaml"]
    assert main([*pixels, *SMALL_DATA, *time_limit, *small]) == 0
    folder = Path("checkpoints/mini/generator")
    assert (folder / "vae" / "config.json").read_text().count("PixelSpace") == 1
    again = ("--model.initial", str(folder / "unet"), "--trainer.default_root_dir", "again")
    assert main([*pixels, *SMALL_DATA, *time_limit, *small, *again]) == 0
    assert "training time" in (folder / "README.md").read_text()


class PooledColours(nn.Module):
    """A teacher small enough for a test: colours of a coarse grid, and their products."""

    def extract_features(self, x: Tensor) -> Tensor:
        coarse = nn.functional.adaptive_avg_pool2d(x, 4)
        return torch.cat([coarse, coarse.square(), coarse * coarse.roll(1, 1)], 1)


@pytest.mark.parametrize("name", ["source_encoder", "target_encoder"])
def test_encoder_from_its_yaml(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fmri_lightning.embeddings.image_encoder import ImageEncoder

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FMRI_LIGHTNING_PHOTOGRAPHS", raising=False)
    monkeypatch.setattr(distillation_data, "load_teacher", lambda *_: PooledColours())
    command = ["fit", "--config", f"configs/mini/{name}.yaml", "--config", "configs/mini/gpu/encoder.yaml"]
    small = ("--data.dim", "8", "--model.dim", "8", "--model.n_layers", "1", "--trainer.max_time", "00:00:00:02")
    assert main([*command, *SMALL_DATA, *small, "--data.steps_per_epoch", "2"]) == 0
    folder = tmp_path / "checkpoints" / "mini" / name
    assert ImageEncoder.from_space(str(folder)).dim == 8
    assert "5-NN" in (folder / "README.md").read_text()
