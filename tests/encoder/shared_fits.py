"""Fits of shared networks and new subjects as the configurations do them, without the command line."""

from functools import partial

import torch

from fmri_lightning.encoder.shared.data import NewSubjectDataModule, SharedDataModule
from fmri_lightning.encoder.shared.module import SharedModule
from fmri_lightning.encoder.shared.new_subject import NewSubjectModule
from tests.ceiling.small_brain import SMALL
from tests.encoder.fitting import KillAfter, trainer
from tests.encoder.several_subjects import World

ADAM = partial(torch.optim.AdamW, lr=3e-3)
TINY = {"hidden": 24, "n_blocks": 1, "dropout": 0.2, "optimizer": ADAM}


def small_world(folder, **changes) -> World:
    """Three subjects of some 30 voxels and 60 pictures of their own."""
    sizes = {"recipe": SMALL, "trials_per_session": 60, "own": 60, "test": 20, "subjects": 3, "voxels": 30}
    return World(folder, **(sizes | changes))


def fit_shared(world, root, subjects=("subj01", "subj02"), max_epochs=3, ckpt_path=None, stop_after=None, **network):
    """Fit a shared network; return trainer and the folder of its checkpoints."""
    killers = [] if stop_after is None else [KillAfter(stop_after)]
    run = trainer(max_epochs, "val/centred_cosine", killers)
    data = SharedDataModule(**world.inputs(), subjects=list(subjects), batch_size=8)
    module = SharedModule(**{**TINY, "root": str(root), **network})
    run.fit(module, data, ckpt_path=ckpt_path)
    return run, root / module.name


def fit_new(inputs, trunk, root, max_epochs=3, ckpt_path=None, stop_after=None, **network):
    """Fit a new subject; return trainer and its encoder."""
    killers = [] if stop_after is None else [KillAfter(stop_after)]
    run = trainer(max_epochs, "val/centred_cosine", killers)
    module = NewSubjectModule(str(trunk), **{"dropout": 0.2, "optimizer": ADAM, "root": str(root), **network})
    run.fit(module, NewSubjectDataModule(**inputs, batch_size=8), ckpt_path=ckpt_path)
    return run, root / module.name / inputs["subject"] / f"{module.name}.ckpt"
