"""Fits as the configurations do them, without the command line."""

from functools import partial

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from fmri_lightning.encoder.checkpoint import StageCheckpoint
from fmri_lightning.encoder.data import EncoderDataModule
from fmri_lightning.encoder.module import RidgeModule
from fmri_lightning.encoder.network_module import MLPModule

ADAM = partial(torch.optim.AdamW, lr=3e-3)


def trainer(max_epochs=1, monitor=None, callbacks=(), **kwargs) -> Trainer:
    checkpoint = StageCheckpoint(monitor=monitor, save_last=monitor is not None)
    return Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=[checkpoint, *callbacks],
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        **kwargs,
    )


def fit_ridge_module(subject, root, ckpt_path=None, **data):
    run = trainer(limit_train_batches=1)
    run.fit(RidgeModule(root=str(root)), EncoderDataModule(**subject.encoder_inputs(**data)), ckpt_path=ckpt_path)
    return run, root / "ridge" / "subj01" / "ridge.ckpt"


def fit_mlp_module(subject, root, max_epochs=6, ckpt_path=None, stop_after=None, network=None, callbacks=(), **data):
    """Fit a network; ``network`` changes arguments of MLPModule, ``data`` those of the data module."""
    killers = [] if stop_after is None else [KillAfter(stop_after)]
    run = trainer(max_epochs, "val/centred_cosine", [*callbacks, *killers])
    module = MLPModule(**{"hidden": 32, "dropout": 0.2, "optimizer": ADAM, "root": str(root), **(network or {})})
    arguments = subject.encoder_inputs(**{"batch_size": 16, **data})
    run.fit(module, EncoderDataModule(**arguments), ckpt_path=ckpt_path)
    return run, root / module.name / "subj01" / f"{module.name}.ckpt"


class Killed(Exception):
    """What stands for a kill signal."""


class KillAfter(Callback):
    """Dies in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == self.epoch and batch_idx == 2:
            raise Killed
