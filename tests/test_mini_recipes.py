"""The recipes of the mini generator, run small through the real command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fmri_lightning.cli import main

SMALL_DATA = ("--data.n_scenes", "8", "--data.n_heldout_scenes", "4", "--data.batch_size", "4")
SHORT = ("--trainer.max_steps", "2", "--data.steps_per_epoch", "2")


def test_autoencoder_then_generator_from_their_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fmri_lightning.generation.decoder import DecoderConfig
    from fmri_lightning.generation.sampler import SamplingOptions
    from fmri_lightning.generation.unclip import load_unclip

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FMRI_LIGHTNING_PHOTOGRAPHS", raising=False)
    generator = ["fit", "--config", "configs/mini/generator.yaml", *SMALL_DATA, *SHORT]
    assert main(generator) == 3, "without an autoencoder there is nothing to train on"
    assert "configs/mini/autoencoder.yaml" in capsys.readouterr().err
    assert main(["fit", "--config", "configs/mini/autoencoder.yaml", *SMALL_DATA, *SHORT]) == 0
    small = ("--model.channels", "[32,32]")
    assert main([*generator, *small]) == 0

    folder = tmp_path / "checkpoints" / "mini" / "generator"
    assert "training time" in (folder / "README.md").read_text()
    decoder = load_unclip(DecoderConfig(family="mini", model_id=str(folder)))
    pictures = decoder.generate(torch.zeros(1, 1024), [0], SamplingOptions(num_inference_steps=2))
    assert pictures.shape == (1, 64, 64, 3)
