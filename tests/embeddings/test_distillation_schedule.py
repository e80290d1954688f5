"""A run that ends by steps or by time: the rate reaches its floor at the end, and only whole runs are exported."""

from __future__ import annotations

import time
from argparse import Namespace
from datetime import timedelta
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.utils.data import DataLoader

from fmri_lightning.embeddings.distillation_export import ExportFolder
from fmri_lightning.embeddings.distillation_schedule import late_fall, run_progress
from fmri_lightning.errors import UsageError


class Sleeper(L.LightningModule):
    """One weight; a step of a known duration."""

    def __init__(self, step_s: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.step_s = step_s
        self.rates: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        time.sleep(self.step_s)
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        return (self.weight * batch.float()).sum()

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: late_fall(run_progress(self.trainer, step), 0.0)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def export(self, folder: Path) -> dict[str, str]:
        (folder / "weights").write_text(str(self.weight.item()))
        return {}


def fit(module: Sleeper, folder: Path, **limits) -> L.Trainer:
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[ExportFolder(str(folder / "model"), "Title", "Data.")], **limits,
    )  # fmt: skip
    trainer.fit(module, DataLoader(torch.ones(1000), batch_size=1))
    return trainer


def test_by_steps(tmp_path: Path) -> None:
    module = Sleeper(0.0)
    fit(module, tmp_path, max_steps=4)
    assert module.rates == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert (tmp_path / "model" / "weights").is_file()


def test_by_time_the_rate_falls_with_the_clock(tmp_path: Path) -> None:
    module = Sleeper(0.05)
    trainer = fit(module, tmp_path, max_time=timedelta(seconds=1), max_epochs=-1)
    assert 3 <= trainer.global_step <= 21
    assert module.rates == sorted(module.rates, reverse=True)
    assert module.rates[0] - module.rates[-1] > 0.4
    assert (tmp_path / "model" / "weights").is_file(), "a run that used up its time is whole"


def test_whichever_ends_first_decides(tmp_path: Path) -> None:
    module = Sleeper(0.0)
    trainer = fit(module, tmp_path, max_time=timedelta(hours=1), max_steps=4)
    assert trainer.global_step == 4
    assert module.rates[-1] == pytest.approx(0.25, abs=0.01)


def test_epochs_count_where_they_end_before_the_steps(tmp_path: Path) -> None:
    module = Sleeper(0.0)
    fit(module, tmp_path, max_steps=2500, max_epochs=1)
    assert module.rates[500] == pytest.approx(0.5)
    assert (tmp_path / "model" / "weights").is_file()


def test_the_module_is_exported_where_it_was_trained(tmp_path: Path) -> None:
    """Lightning moves a module to the CPU before the last hook; its data stay on the device."""

    class Where(Sleeper):
        def export(self, folder: Path) -> dict[str, str]:
            assert self.device == self.trainer.strategy.root_device
            return super().export(folder)

    # A device that is not called "cpu", on any machine: Lightning leaves the module on plain "cpu".
    fit(Where(0.0), tmp_path, max_steps=2, strategy=SingleDeviceStrategy(device=torch.device("cpu", 0)))
    assert "cpu" in (tmp_path / "model" / "README.md").read_text()


def test_several_devices_are_refused(tmp_path: Path) -> None:
    trainer = Namespace(world_size=2)
    with pytest.raises(UsageError, match="one device"):
        ExportFolder(str(tmp_path / "model"), "Title", "Data.").setup(trainer, Sleeper(0.0), "fit")


def test_a_run_cut_short_or_tried_out_is_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Stop(L.Callback):
        def on_train_batch_end(self, trainer, *_: object) -> None:
            trainer.should_stop = True

    module = Sleeper(0.0)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, max_steps=50,
        enable_model_summary=False, callbacks=[Stop(), ExportFolder(str(tmp_path / "model"), "Title", "Data.")],
    )  # fmt: skip
    trainer.fit(module, DataLoader(torch.ones(1000), batch_size=1))
    assert 0 < trainer.global_step < 50
    assert "2% of the run is done" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
    fit(Sleeper(0.0), tmp_path, fast_dev_run=2)
    assert not (tmp_path / "model").exists()
