"""Training of the mini generator: conditions as at inference, folders the real pipeline loads, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from diffusers import StableUnCLIPImg2ImgPipeline
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from fmri_lightning.embeddings.image_encoder import ImageEncoder
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.families.unclip import load_unclip
from fmri_lightning.generation.sampler import SamplingOptions
from fmri_lightning.generation.training.autoencoder import AutoencoderModule
from fmri_lightning.generation.training.export import write_pipeline
from fmri_lightning.generation.training.generator import GeneratorModule, schedule_config
from fmri_lightning.generation.training.latents import load_autoencoder
from fmri_lightning.generation.training.pairs import PairDataModule
from fmri_lightning.generation.training.pictures import PictureDataModule, RandomRows, from_unit, to_unit
from fmri_lightning.records import EmbeddingSpace

DIM = 32


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs/, an untrained encoder/ and an untrained vae/."""
    folder = tmp_path_factory.mktemp("parts")
    rng = np.random.default_rng(0)
    for split, n in (("train", 6), ("test", 3)):
        for i in range(n):
            path = folder / "photographs" / split / f"class{i % 2}" / f"image_{i:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, image_size=32,
        patch_size=8, projection_dim=DIM,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(folder / "encoder")
    vae = AutoencoderModule(channels=(16, 16, 16), latent_channels=4, picture_px=32).vae
    vae.save_pretrained(folder / "vae")
    return folder


def space_of(parts: Path) -> EmbeddingSpace:
    return ImageEncoder.from_space(str(parts / "encoder")).space


def small_generator(**changes: Any) -> GeneratorModule:
    torch.manual_seed(1)
    shape = {"dim": DIM, "channels": (32, 32), "latent_channels": 4, "latent_side": 8, "warmup_steps": 2}
    return GeneratorModule(**{**shape, **changes})


def pair_data(parts: Path, cache: Path, autoencoder: str = "") -> PairDataModule:
    return PairDataModule(
        autoencoder=autoencoder or str(parts / "vae"), encoder=str(parts / "encoder"), cache_dir=str(cache),
        photographs=str(parts / "photographs"), n_scenes=4, n_heldout_scenes=2, picture_px=32,
        batch_size=4, steps_per_epoch=3,
    )  # fmt: skip


def quiet_trainer(folder: Path, max_steps: int) -> L.Trainer:
    keep = ModelCheckpoint(dirpath=folder, save_last=True, every_n_train_steps=3)
    return L.Trainer(
        accelerator="cpu", devices=1, max_steps=max_steps, logger=False, callbacks=[keep],
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip


def test_condition_is_the_pipelines_own(parts: Path, tmp_path: Path) -> None:
    """Same embedding, level and noise: training and inference see the same class input."""
    module = small_generator()
    module.embedding_mean.copy_(torch.linspace(-1, 1, DIM))
    module.embedding_std.copy_(torch.linspace(0.5, 2, DIM))
    write_pipeline(
        tmp_path, module.unet, load_autoencoder(parts / "vae"), space_of(parts), module.embedding_mean,
        module.embedding_std, schedule_config(),
    )  # fmt: skip
    pipeline = StableUnCLIPImg2ImgPipeline.from_pretrained(
        tmp_path, use_safetensors=True, local_files_only=True, image_encoder=None, feature_extractor=None,
        text_encoder=None, tokenizer=None,
    )  # fmt: skip
    embeddings = torch.randn(3, DIM, generator=torch.Generator().manual_seed(5))
    noise = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(6))
    theirs = pipeline.noise_image_embeddings(embeddings.clone(), noise_level=200, noise=noise)
    ours = module.condition(embeddings, torch.full((3,), 200), torch.Generator().manual_seed(6))
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-3)  # the normaliser ships in float32, the rest is exact


def test_exported_folder_draws_through_the_real_loader(parts: Path, tmp_path: Path) -> None:
    module = small_generator()
    write_pipeline(
        tmp_path, module.unet, load_autoencoder(parts / "vae"), space_of(parts), torch.zeros(DIM), torch.ones(DIM),
        schedule_config(),
    )  # fmt: skip
    decoder = load_unclip(DecoderConfig(family="mini", model_id=str(tmp_path)))
    options = SamplingOptions(num_inference_steps=2)
    pictures = decoder.generate(torch.randn(2, DIM), [1, 2], options)
    assert pictures.shape == (2, 32, 32, 3)
    assert decoder.space.dim == DIM
    assert all(path.stat().st_size <= 15 * 2**20 for path in tmp_path.rglob("*.safetensors"))


def test_resumed_training_equals_uninterrupted_in_data_and_steps(parts: Path, tmp_path: Path) -> None:
    whole = small_generator()
    quiet_trainer(tmp_path / "whole", 6).fit(whole, datamodule=pair_data(parts, tmp_path / "cache"))
    first = small_generator()
    quiet_trainer(tmp_path / "cut", 3).fit(first, datamodule=pair_data(parts, tmp_path / "cache"))
    again = small_generator()
    trainer = quiet_trainer(tmp_path / "cut", 6)
    trainer.fit(again, datamodule=pair_data(parts, tmp_path / "cache"), ckpt_path=str(tmp_path / "cut" / "last.ckpt"))
    assert trainer.global_step == 6
    assert int(again.ema.n_averaged) == int(whole.ema.n_averaged) == 6
    torch.testing.assert_close(again.embedding_mean, whole.embedding_mean)


def test_a_run_starts_from_the_averaged_weights_of_another(parts: Path, tmp_path: Path) -> None:
    first = small_generator()
    quiet_trainer(tmp_path / "first", 3).fit(first, datamodule=pair_data(parts, tmp_path / "cache"))
    (tmp_path / "export").mkdir()
    first.export(tmp_path / "export")
    second = small_generator(initial=str(tmp_path / "export" / "unet"))
    for ours, theirs, start in zip(
        second.unet.parameters(), first.ema.module.parameters(), small_generator().unet.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)  # handed over in float16
        assert start.numel() < 64 or not torch.equal(ours, start)
    assert all(torch.equal(a, b) for a, b in zip(second.unet.parameters(), second.ema.module.parameters(), strict=True))
    with pytest.raises(BadInputError, match="initial"):
        small_generator(initial=str(tmp_path / "export" / "unet"), channels=(32, 64))
    with pytest.raises(BadInputError, match="initial"):
        small_generator(initial=str(tmp_path / "nowhere"))


def test_pixels_in_the_place_of_an_autoencoder(parts: Path, tmp_path: Path) -> None:
    """Trained, exported and drawn by the production loader; attention at the lowest resolution only."""
    module = small_generator(latent_channels=12, latent_side=16, channels=(32, 64), attention=(False, True))
    quiet_trainer(tmp_path / "run", 3).fit(module, datamodule=pair_data(parts, tmp_path / "cache", "pixels"))
    (tmp_path / "export").mkdir()
    module.export(tmp_path / "export")
    decoder = load_unclip(DecoderConfig(family="mini", model_id=str(tmp_path / "export")))
    assert decoder.unet.config.down_block_types == ["DownBlock2D", "AttnDownBlock2D"]
    pictures = decoder.generate(torch.randn(2, DIM), [1, 2], SamplingOptions(num_inference_steps=2))
    assert pictures.shape == (2, 32, 32, 3)


def test_every_latent_stands_beside_the_embedding_of_its_own_picture(parts: Path, tmp_path: Path) -> None:
    """Pixels can be turned back into the picture, and the picture embedded again; mirror images included."""
    data = pair_data(parts, tmp_path / "cache", "pixels")
    data.setup("fit")
    encoder = ImageEncoder.from_space(str(parts / "encoder"))
    for part in ("train", "heldout"):
        latents, embeddings = data.pairs[f"{part}_latents"].float(), data.pairs[f"{part}_embeddings"].float()
        pictures = from_unit(data.vae.decode(latents / data.vae.config.scaling_factor).sample)
        again = encoder(pictures)
        torch.testing.assert_close(again, embeddings, atol=2e-3, rtol=2e-3)
        assert (again - embeddings.roll(1, 0)).abs().amax(1).min() > 1e-2, "pictures too alike to tell rows apart"
    train = data.pairs["train_latents"]
    assert torch.equal(
        from_unit(data.vae.decode(train[:10].float() / 2).sample).flip(2),
        from_unit(data.vae.decode(train[10:].float() / 2).sample),
    )


def test_latents_of_another_shape_are_refused_with_the_flags_to_set(parts: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--model\.latent_channels 12 --model\.latent_side 16"):
        quiet_trainer(tmp_path / "run", 3).fit(
            small_generator(), datamodule=pair_data(parts, tmp_path / "cache", "pixels")
        )
    with pytest.raises(UsageError, match="attention names 1"):
        small_generator(attention=(True,))


def test_rows_of_a_step_do_not_depend_on_where_a_run_began() -> None:
    whole = [rows.tolist() for done in (0, 2, 4) for rows in RandomRows(10, 3, 2, lambda done=done: done, seed=4)]
    assert whole[3:5] == [rows.tolist() for rows in RandomRows(10, 3, 2, lambda: 3, seed=4)], "cut in mid-epoch"
    assert len({tuple(rows) for rows in whole}) > 1


def test_a_learnt_condition_lowers_the_velocity_error(parts: Path, tmp_path: Path) -> None:
    """A few dozen steps on one picture: the loss falls, so gradients reach the network."""
    module = small_generator()
    latents = torch.randn(1, 4, 8, 8).repeat(16, 1, 1, 1)
    condition = module.condition(torch.zeros(16, DIM), torch.zeros(16, dtype=torch.long))
    optimizer = torch.optim.AdamW(module.unet.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = module._velocity_error(module.unet, latents, condition)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_autoencoder_fits_and_measures_held_out_pictures(parts: Path, tmp_path: Path) -> None:
    module = AutoencoderModule(channels=(16, 16, 16), latent_channels=4, picture_px=32, warmup_steps=1)
    data = PictureDataModule(
        cache_dir=str(tmp_path), photographs=str(parts / "photographs"), n_scenes=4, n_heldout_scenes=2,
        picture_px=32, batch_size=4, steps_per_epoch=2,
    )  # fmt: skip
    trainer = quiet_trainer(tmp_path / "vae", 2)
    trainer.fit(module, datamodule=data)
    lines = module.export(tmp_path)
    assert (tmp_path / "diffusion_pytorch_model.safetensors").is_file()
    assert "PSNR" in lines["held-out error"]


def test_unit_scale_round_trip_keeps_every_grey_level() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(1, 1, 1, 3)
    assert torch.equal(from_unit(to_unit(levels)), levels)


def test_every_epoch_of_a_fit_takes_new_rows(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One loader serves a whole fit; it must ask for the epoch anew, or a run repeats its first steps."""
    seen: list[torch.Tensor] = []
    step = GeneratorModule.training_step

    def recording(self: GeneratorModule, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        seen.append(batch[1].clone())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(GeneratorModule, "training_step", recording)
    quiet_trainer(tmp_path / "run", 6).fit(small_generator(), datamodule=pair_data(parts, tmp_path / "cache"))
    assert len(seen) == 6
    assert not any(torch.equal(first, second) for first, second in zip(seen[:3], seen[3:], strict=True))
