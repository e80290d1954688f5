"""A new subject with few sessions, with and without a trunk that four others have trained: the table of the guide.

    python tests/benchmarks/shared_trunk.py --folder DIR [--sessions 1 10] [--seed 1]

Simulated subjects with one mind and five brains (tests/encoder/several_subjects.py), five sessions of 750 trials for
each of the four. Everything is scored on 300 test pictures of the fifth, means over three repeats. Settings were chosen
on seeds 7 and 0; the table is of seed 1. Networks are made small: 256 hidden units, one block.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from numpy.typing import NDArray

from fmri_lightning.betas.preprocess import Preprocess
from fmri_lightning.encoder.checkpoint import StageCheckpoint
from fmri_lightning.encoder.data import EncoderDataModule
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.encoder.module import RidgeModule
from fmri_lightning.encoder.network_module import MLPModule
from fmri_lightning.encoder.shared.data import NewSubjectDataModule, SharedDataModule
from fmri_lightning.encoder.shared.module import SharedModule
from fmri_lightning.encoder.shared.new_subject import NewSubjectModule
from fmri_lightning.metrics.bootstrap import bootstrap_interval
from fmri_lightning.metrics.cosine import centred_cosine
from fmri_lightning.progress import quiet_lightning
from tests.encoder.several_subjects import World

OTHERS = ["subj01", "subj02", "subj03", "subj04"]
SMALL: dict[str, Any] = {"hidden": 256, "n_blocks": 1}
Scores = NDArray[np.float64]


def adam(rate: float) -> Callable[[Any], torch.optim.Optimizer]:
    """AdamW with the weight decay of the configurations."""
    return partial(torch.optim.AdamW, lr=rate, weight_decay=1e-2)


def fit(module: LightningModule, data: LightningDataModule, steps: int | None, decay: float = 0.9) -> None:
    """Fit as the configurations do; None solves."""
    callbacks: list[Any] = [StageCheckpoint(None if steps is None else "val/centred_cosine")]
    length: dict[str, Any] = {"max_epochs": 1, "limit_train_batches": 1}
    if steps is not None:
        callbacks.append(EMAWeightAveraging(decay=decay))
        length = {"max_epochs": -1, "max_steps": steps, "gradient_clip_val": 1.0}
    run = Trainer(
        accelerator="cpu", devices=1, logger=False, callbacks=callbacks, num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False, **length,
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        run.fit(module, data)


class Comparison:
    """One new subject with a number of sessions.

    Args:
        world: Pictures and brains.
        trunk: Checkpoint of the trunk.
        sessions: How many sessions the new subject has.
        steps: Optimisation steps of each network.
    """

    def __init__(self, world: World, trunk: Path, sessions: int, steps: int) -> None:
        self.world, self.trunk, self.steps = world, trunk, steps
        self.root = world.folder / f"checkpoints{sessions}"
        self.inputs = world.write_subject(5, sessions=sessions, tree=f"first{sessions}")
        self.rows = world.test_rows(5)

    def scores(self) -> dict[str, Scores]:
        """Fit everything and return the centred cosine of every test picture."""
        one: dict[str, Any] = {"root": str(self.root), "schedule": "one_cycle"}
        rows = partial(EncoderDataModule, **self.inputs, train_mode="sampled", batch_size=64)
        readings = NewSubjectDataModule(**self.inputs, batch_size=64)
        alone = SharedDataModule(**{k: v for k, v in self.inputs.items() if k != "subject"}, subjects=["subj05"])
        ridge = self.root / "ridge" / "subj05" / "ridge.ckpt"
        residual = {**SMALL, "linear_path": True, "initial": str(ridge), "dropout": 0.3}
        jobs: dict[str, tuple[LightningModule, LightningDataModule, int | None]] = {
            "ridge": (RidgeModule(root=str(self.root)), EncoderDataModule(**self.inputs), None),
            "mlp": (MLPModule(optimizer=adam(1e-3), hidden=256, **one), rows(), self.steps),
            "residual": (MLPModule(name="residual", optimizer=adam(3e-4), **residual, **one), rows(), self.steps),
            "nothing": (SharedModule(name="nothing", optimizer=adam(1e-3), **SMALL, **one), alone, self.steps),
            "new_subject": (
                NewSubjectModule(str(self.trunk), optimizer=adam(1e-4), **one),
                readings,
                60,
            ),
        }
        found = {}
        for name, (module, data, steps) in jobs.items():
            started = time.monotonic()
            fit(module, data, steps)
            found[name] = self._score(self.root / name / "subj05" / f"{name}.ckpt")
            print(f"  {name}: {found[name].mean():.4f}, {time.monotonic() - started:.0f} s", flush=True)
        return found

    def _score(self, checkpoint: Path) -> Scores:
        _, betas, true = self.rows
        transform = Preprocess.load(Path(self.inputs["preproc"]) / "subj05").eval()
        with torch.inference_mode():
            predicted = load_encoder(checkpoint)(transform(torch.from_numpy(betas))).numpy()
        mean = self.world.pictures()[2][self.world.test :].mean(axis=0)
        return np.nan_to_num(centred_cosine(predicted, true, mean))


def fit_trunk(world: World, steps: int) -> Path:
    """Fit the trunk of four subjects with five sessions each."""
    for number in range(1, 5):
        world.write_subject(number, sessions=5)
    data = SharedDataModule(**world.inputs(), subjects=OTHERS, batch_size=64)
    root = world.folder / "checkpoints"
    fit(SharedModule(root=str(root), optimizer=adam(1e-3), schedule="one_cycle", **SMALL), data, steps, 0.99)
    return root / "shared" / "trunk" / "shared.ckpt"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder for everything")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trunk_steps", type=int, default=400)
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    torch.set_num_threads(1)
    world = World(given.folder, own=2200, test=300, seed=given.seed)
    with quiet_lightning():
        world.write_cache()
        trunk = fit_trunk(world, given.trunk_steps)
        for sessions in given.sessions:
            print(f"{sessions} sessions", flush=True)
            found = Comparison(world, trunk, sessions, given.steps).scores()
            for other in ("ridge", "mlp", "residual", "nothing"):
                gain = bootstrap_interval(found["new_subject"] - found[other])
                print(f"  new subject minus {other}: {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]", flush=True)


if __name__ == "__main__":
    main()
