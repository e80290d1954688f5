"""Only the frozen generator is cast; what decodes the brain, buffers too, stays float32."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader, TensorDataset

from fmri_lightning.precision import FrozenHalfPrecision, select_precision


class Chain(LightningModule):
    """A linear encoder (weights as buffers, as the ridge has them) in front of a frozen generator."""

    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.BatchNorm1d(4)
        self.register_buffer("ridge_weights", torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
        self.generator = torch.nn.Linear(3, 2)
        self.seen = {}

    def frozen_half_modules(self):
        return [self.generator]

    def predict_step(self, batch):
        (betas,) = batch
        embedding = self.encoder(betas) @ self.ridge_weights
        picture = self.generator(embedding.to(self.generator.weight.dtype))
        self.seen = {"betas": betas.dtype, "embedding": embedding.dtype, "picture": picture.dtype}
        self.seen["default"] = torch.get_default_dtype()
        self.seen["new"] = torch.linspace(0, 1, 3).dtype
        return embedding.clone()

    def training_step(self, batch):
        return self.predict_step(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def quiet_trainer(plugin, tmp_path, **kwargs):
    return Trainer(
        accelerator="cpu",
        plugins=[plugin] if plugin else None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        **kwargs,
    )


def loader():
    return DataLoader(TensorDataset(torch.randn(6, 4, generator=torch.Generator().manual_seed(1))), batch_size=3)


@pytest.mark.parametrize(("precision", "half"), [("16-true", torch.float16), ("bf16-true", torch.bfloat16)])
def test_only_listed_modules_are_half(precision, half, tmp_path):
    chain = Chain()
    trainer = quiet_trainer(FrozenHalfPrecision(precision), tmp_path)
    embeddings = torch.cat(trainer.predict(chain, loader()))

    assert chain.seen == {
        "betas": torch.float32,
        "embedding": torch.float32,
        "picture": half,
        "default": torch.float32,
        "new": torch.float32,
    }
    assert {p.dtype for p in chain.encoder.parameters()} == {torch.float32}
    assert chain.encoder.running_mean.dtype == chain.ridge_weights.dtype == torch.float32
    assert {p.dtype for p in chain.generator.parameters()} == {half}
    assert trainer.precision == precision

    reference = torch.cat(quiet_trainer(None, tmp_path).predict(Chain(), loader()))
    assert torch.equal(embeddings, reference), "predicted embeddings are the same bits under every precision"


def test_a_trained_part_is_never_held_in_half(tmp_path):
    trainer = quiet_trainer(FrozenHalfPrecision("16-true"), tmp_path, max_steps=1)
    with pytest.raises(MisconfigurationException, match="Linear is trained"):
        trainer.fit(Chain(), loader())


def test_a_module_without_frozen_parts_stays_whole():
    module = torch.nn.Linear(2, 2)
    assert FrozenHalfPrecision("16-true").convert_module(module) is module
    assert module.weight.dtype == torch.float32


def test_requested_values():
    assert isinstance(select_precision("bf16-true", on_cuda=False), FrozenHalfPrecision)
    assert select_precision("auto", on_cuda=True).dtype == torch.float16
    assert select_precision("auto", on_cuda=False) == "32-true"
    assert select_precision("16-mixed", on_cuda=True) == "16-mixed"
    assert select_precision(None, on_cuda=True) is None
    with pytest.raises(MisconfigurationException, match="not '8-true'"):
        FrozenHalfPrecision("8-true")
