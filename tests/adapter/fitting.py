"""Fits of the adapter as the configuration does them, and out-of-fold predictions of a constructed encoder."""

from functools import partial

import numpy as np
import torch

from fmri_lightning.adapter.data import AdapterDataModule
from fmri_lightning.adapter.module import AdapterModule
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.encoder.out_of_fold import write_out_of_fold
from fmri_lightning.index.table import index_manifest
from tests.encoder.fitting import KillAfter, trainer

ADAM = partial(torch.optim.AdamW, lr=1e-2)


def fit(small, root, max_epochs=12, ckpt_path=None, stop_after=None, model=None, **data):
    run = trainer(max_epochs, "val/centred_cosine", [] if stop_after is None else [KillAfter(stop_after)])
    module = AdapterModule(optimizer=ADAM, root=str(root), **(model or {}))
    run.fit(module, AdapterDataModule(**small.adapter_inputs(**{"batch_size": 16, **data})), ckpt_path=ckpt_path)
    return run, root / "clip_adapter" / "subj01" / "target" / "adapter.ckpt"


def ids_of(small, split):
    return np.unique(small.table.nsd_id[small.table.split == split])


def pairs(small, split):
    """True source and target embeddings of the pictures of a split."""
    return [EmbeddingCache.open(small.folder / f"{name}.parquet").rows(ids_of(small, split)) for name in NAMES]


NAMES = ("clip", "target")


def shrunken(small, split):
    """Source embeddings as a regression predicts them: dimensions shrink unlike one another, and there is noise."""
    source, mean = pairs(small, split)[0], pairs(small, "train")[0].mean(axis=0)
    rng = np.random.default_rng(len(source))
    shrinkage = np.linspace(0.1, 0.9, source.shape[1])[np.random.default_rng(7).permutation(source.shape[1])]
    noise = 0.05 * source.std(axis=0) * rng.standard_normal(source.shape)
    return (mean + shrinkage * (source - mean) + noise).astype(np.float32)


def write_shrunken(small, folder, predictions=None, **changes):
    """Write the constructed predictions of the training pictures in two parts; returns their folder."""
    cache = EmbeddingCache.open(small.folder / "clip.parquet")
    ids = ids_of(small, "train")
    values = shrunken(small, "train") if predictions is None else predictions
    about = {
        "space": cache.space,
        "inputs": {
            "split": index_manifest(small.folder / "index", "subj01").config["split_hash"],
            "clip_cache": cache.content_hash,
        },
        "name": "ridge",
        "subject": "subj01",
        **changes,
    }
    for part in (1, 2):
        rows = slice(part - 1, None, 2)
        path = write_out_of_fold(folder / "ridge.ckpt", part, 2, ids[rows], values[rows], **about)
    return path.parent
