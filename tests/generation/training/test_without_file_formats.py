"""Training of the mini models where pyarrow, nibabel and wandb do not exist, as on a bare GPU image."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import pkgutil, sys
for name in ("pyarrow", "nibabel", "wandb", "h5py", "pandas"):
    sys.modules[name] = None  # an import of it now fails
import importlib
for package in ("embeddings", "generation.training"):
    found = importlib.import_module(f"fmri_lightning.{package}")
    for module in pkgutil.iter_modules(found.__path__, f"{found.__name__}."):
        importlib.import_module(module.name)
import lightning as L
from fmri_lightning.generation.training.autoencoder import AutoencoderModule
from fmri_lightning.generation.training.generator import GeneratorModule
from fmri_lightning.generation.training.pairs import PairDataModule
from fmri_lightning.generation.training.pictures import PictureDataModule

def fit(module, data):
    L.Trainer(accelerator="cpu", max_steps=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
              enable_model_summary=False, num_sanity_val_steps=0).fit(module, datamodule=data)

few = {"cache_dir": "cache", "n_scenes": 4, "n_heldout_scenes": 2, "batch_size": 2, "steps_per_epoch": 2}
fit(AutoencoderModule(channels=(16, 16), latent_channels=4), PictureDataModule(**few))
fit(GeneratorModule(channels=(32, 32), latent_channels=12, latent_side=32, attention=(False, False)),
    PairDataModule("pixels", **few))
print("trained")
"""


@pytest.mark.slow
def test_training_needs_no_file_formats(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PATH": "", "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert done.stdout.endswith("trained\n"), done.stderr[-2000:]
