"""Direct projections: one matrix in the place of adapter and old layer, and a folder that predict loads."""

import lightning as L
import numpy as np
import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch.nn import functional

from fmri_lightning.adapter.baselines import least_squares
from fmri_lightning.adapter.data import EmbeddingPairs
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.errors import UsageError
from fmri_lightning.generation.decoder import DecoderConfig, load_decoder
from fmri_lightning.generation.training.direct import composed
from fmri_lightning.generation.training.tuning import TuningConfig
from tests.generation.conftest import pictures
from tests.generation.tiny import N_SOURCE, SOURCE
from tests.generation.training.tuning_kit import trainer


def test_the_start_is_the_product_of_adapter_and_old_layer():
    """Of the embedding exactly; of the level as far as fewer sinusoids can follow."""
    torch.manual_seed(0)
    n, n_source, n_target, top = 600, 128, 256, 350
    source = functional.normalize(torch.randn(n, n_source), dim=1) * 7
    pairs = EmbeddingPairs(source, source @ torch.randn(n_source, n_target) + 1, torch.arange(n).numpy())
    old = torch.nn.Linear(2 * n_target, 10)
    new = composed(old, pairs, top)
    mapped = torch.from_numpy(least_squares(pairs)(source)).float()

    def levels_told(x):
        levels = torch.arange(0, top + 1, 7)
        return torch.cat([x.expand(len(levels), -1), get_timestep_embedding(levels, x.shape[1], True, 0)], dim=1)

    row = slice(0, 1)
    ours, theirs = new(levels_told(source[row])), old(levels_told(mapped[row]))
    other, others = new(levels_told(source[1:2])), old(levels_told(mapped[1:2]))
    torch.testing.assert_close(ours - other, theirs - others, atol=2e-3, rtol=1e-3)
    assert (theirs - others).abs().max() > 0.5
    off, spread = (ours - theirs).square().mean().sqrt(), (theirs - theirs.mean(0)).square().mean().sqrt()
    assert off < 0.5 * spread


def same_value(one, other):
    return one.shape == other.shape and torch.equal(one.half(), other.cpu().half())


def export_of(kit, folder, steps, *callbacks, data=None, **changes):
    from fmri_lightning.embeddings.distillation_export import ExportFolder

    module = kit.direct(**changes)
    written = ExportFolder(str(folder / "pipeline"), "Direct", "Test.")
    trainer(folder, steps, written, *callbacks).fit(module, datamodule=data or kit.direct_data())
    return module, folder / "pipeline"


def test_it_is_trained_exported_and_drawn_from_without_an_adapter(kit, predict, brain, tmp_path):
    module, folder = export_of(kit, tmp_path, 30)
    base = load_decoder(kit.decoder()).unet.state_dict()
    state = module.decoder.unet.state_dict()
    # What was read in float32 was written in half precision.
    same = {name for name, value in base.items() if same_value(value, state[name])}
    assert set(base) - same <= {"class_embedding.linear_1.bias", "class_embedding.linear_1.weight"}
    assert "class_embedding.linear_1.bias" not in same
    decoder = load_decoder(DecoderConfig("mini", str(folder)))
    assert (decoder.space.name, decoder.space.dim) == (SOURCE.name, N_SOURCE)
    told = module.data.train_embeddings()
    torch.testing.assert_close(decoder.normalizer.mean[0], told.mean(0))
    torch.testing.assert_close(decoder.normalizer.std[0], told.std(0))
    pairs, target = module.data.start_pairs(), EmbeddingCache.open(kit.folder / "target.parquet")
    source = EmbeddingCache.open(kit.folder / "clip.parquet")
    np.testing.assert_allclose(pairs.source.numpy(), source.rows(pairs.nsd_ids), atol=5e-3, rtol=1e-3)
    np.testing.assert_array_equal(pairs.target.numpy(), target.rows(pairs.nsd_ids))
    config = DecoderConfig("mini", str(folder))
    run = predict(tmp_path / "run", decoder=config, adapter_ckpt=None, data_target_cache=None, data_limit=2)
    assert len(pictures(run)) == 2
    assert "held-out error" in (folder / "README.md").read_text()


@pytest.mark.parametrize("start", ["least_squares", "random"])
def test_the_held_out_error_falls(kit, tmp_path, start):
    module, _ = export_of(kit, tmp_path, 30, start=start, rank=2)
    after = module.heldout_errors()["true"]
    still, _ = export_of(kit, tmp_path / "still", 10, start=start, training=TuningConfig(lr=0.0))
    assert still.heldout_errors()["true"] == pytest.approx(still.before["true"], rel=0.02)  # exported in half
    assert after < 0.98 * module.before["true"]


def test_a_merged_lora_is_what_is_exported(kit, tmp_path):
    class Remember(L.Callback):
        def on_train_end(self, trainer, pl_module):
            torch.manual_seed(1)
            latents, told = torch.randn(2, 4, 8, 8), torch.randn(2, 2 * N_SOURCE)
            with pl_module.averaged(), torch.no_grad():
                self.asked = latents, told
                self.output = pl_module.decoder.unet(
                    latents, torch.tensor([5, 5]), None, class_labels=told, return_dict=False
                )[0]

    remember = Remember()
    _, folder = export_of(kit, tmp_path, 20, remember, rank=2)
    unet, (latents, told) = load_decoder(DecoderConfig("mini", str(folder))).unet, remember.asked
    assert not any("lora" in name for name in unet.state_dict())
    with torch.no_grad():
        again = unet(latents, torch.tensor([5, 5]), None, class_labels=told, return_dict=False)[0]
    torch.testing.assert_close(again, remember.output, atol=5e-3, rtol=5e-3)  # written in half precision


def test_what_is_missing_is_said(kit, tmp_path):
    with pytest.raises(UsageError, match=r"name its cache with --data\.clip_cache"):
        trainer(tmp_path, 2).fit(kit.direct(), datamodule=kit.data())
    with pytest.raises(UsageError, match=r"least_squares needs --data\.target_cache"):
        trainer(tmp_path, 2).fit(kit.direct(), datamodule=kit.direct_data(target_cache=None))
    with pytest.raises(UsageError, match="name what the U-Net is told"):
        kit.data(target_cache=None)
