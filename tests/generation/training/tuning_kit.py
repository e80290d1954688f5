"""A tiny decoder and pictures whose colour is told by their embedding, for further training."""

from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image

from fmri_lightning.embeddings.cache import write_cache
from fmri_lightning.encoder.out_of_fold import write_out_of_fold
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.training.direct import DirectProjectionModule
from fmri_lightning.generation.training.lora import ATTENTION, CONDITION, LoraModule
from fmri_lightning.generation.training.tuning import TuningConfig
from fmri_lightning.generation.training.tuning_pairs import TuningPairDataModule
from fmri_lightning.index.stimuli import stimuli_identity
from fmri_lightning.index.table import index_manifest
from tests.generation.tiny import N_TARGET, SOURCE, TARGET, Brain

QUICK = TuningConfig(lr=0.01, warmup_steps=2, ema_decay=0.5, max_noise_level=100)


@dataclass(frozen=True)
class Kit:
    """Where everything lies."""

    brain: Brain
    generator: Path
    folder: Path

    def data(self, **changes) -> TuningPairDataModule:
        given = {
            "target_cache": str(self.folder / "target.parquet"), "root": str(self.folder / "root"),
            "index_root": self.brain.data["index_root"], "cache_dir": str(self.folder / "cache"),
            "heldout_share": 0.25, "batch_size": 8, "steps_per_epoch": 10,
        }  # fmt: skip
        return TuningPairDataModule(**{**given, **changes})

    def decoder(self) -> DecoderConfig:
        return DecoderConfig("mini", str(self.generator))

    def lora(self, root: Path, **changes) -> LoraModule:
        given = {
            "decoder": self.decoder(), "rank": 4, "alpha": 8.0, "target_modules": (*ATTENTION, *CONDITION, "conv_out"),
            "training": QUICK, "root": str(root),
        }  # fmt: skip
        return LoraModule(**{**given, **changes})

    def direct(self, **changes) -> DirectProjectionModule:
        return DirectProjectionModule(**{"decoder": self.decoder(), "training": QUICK, **changes})

    def direct_data(self, **changes) -> TuningPairDataModule:
        return self.data(clip_cache=str(self.folder / "clip.parquet"), **changes)


def make_kit(brain: Brain, generator: Path, folder: Path) -> Kit:
    """Pictures of one colour each, and caches of both spaces whose first three numbers are the colour."""
    (folder / "root" / "stimuli").mkdir(parents=True)
    ids = np.unique(brain.table.nsd_id).astype(np.int32)
    rng = np.random.default_rng(5)
    colours = rng.integers(0, 256, (len(ids), 3))
    for nsd_id, colour in zip(ids, colours, strict=True):
        picture = np.broadcast_to(colour, (20, 24, 3)).astype(np.uint8)
        Image.fromarray(picture).save(folder / "root" / "stimuli" / f"nsd{nsd_id:05d}.png")
    told = np.concatenate([colours / 64 - 2, rng.normal(size=(len(ids), SOURCE.dim - 3))], axis=1)
    to_target = rng.normal(size=(SOURCE.dim, N_TARGET))
    pictures = {"stimuli": stimuli_identity(root=folder / "root")}
    source = (told + 3).astype(np.float32)
    clip = write_cache(folder / "clip.parquet", ids, source, SOURCE, pictures)
    write_cache(folder / "target.parquet", ids, (told @ to_target).astype(np.float32), TARGET, pictures)
    train = np.isin(ids, brain.table.nsd_id[brain.table.split == "train"])
    split = index_manifest(brain.data["index_root"], "subj01").config["split_hash"]
    for name, space, vectors in (("ridge", SOURCE, source[train] * 0.5), ("target", TARGET, (told @ to_target)[train])):
        write_out_of_fold(
            folder / name / "x.ckpt", 1, 1, ids[train], vectors.astype(np.float32), space,
            {"split": split, "clip_cache": clip}, "ridge", "subj01",
        )  # fmt: skip
    return Kit(brain, generator, folder)


def trainer(folder: Path, steps: int = 30, *callbacks: L.Callback, **changes) -> L.Trainer:
    keep = ModelCheckpoint(dirpath=folder, save_last=True, every_n_epochs=1)
    given = {
        "accelerator": "cpu", "devices": 1, "max_steps": steps, "logger": False, "callbacks": [keep, *callbacks],
        "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0,
        "gradient_clip_val": 1.0,
    }  # fmt: skip
    return L.Trainer(**{**given, **changes})
