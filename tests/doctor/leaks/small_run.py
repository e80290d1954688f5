"""One small run of the real commands, and hands that plant faults into copies of it."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from fmri_lightning.adapter.calibration import EmbeddingStatistics, fit_calibration, save_calibration
from fmri_lightning.adapter.load import load_adapter
from fmri_lightning.betas.command import betas
from fmri_lightning.betas.preprocess import Preprocess
from fmri_lightning.cli import main
from fmri_lightning.doctor.runs import leaks
from fmri_lightning.embeddings.cache import EmbeddingCache, write_cache
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.encoder.stored import describe_state, part_of_state
from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.predictions import read_predictions, write_predictions
from fmri_lightning.index.command import index
from fmri_lightning.index.table import read_index
from fmri_lightning.manifest import content_hash
from tests.adapter.test_adapter import fit
from tests.encoder.fitting import fit_mlp_module, fit_ridge_module
from tests.generation.tiny import SOURCE, TARGET, write_generator
from tests.index.tiny_nsd import write_tiny_nsd

EXTRA = 30
"""Pictures in the caches that the subject never saw."""


def write_parts(folder: Path) -> SimpleNamespace:
    """Three sessions of 160 trials, caches, a ridge, a network and an adapter, fitted by the classes of ``fit``."""
    tree = write_tiny_nsd(
        folder / "nsd", sessions_run=(3,), trials_per_session=160, n_shared=20, catalogue=1200, nifti=False
    )
    index(tree.root, out=folder / "index")
    betas(tree.root, index=folder / "index", out=folder / "betas", preproc_out=folder / "preproc")
    table = read_index(folder / "index", "subj01")
    shown = np.unique(table.nsd_id)
    unseen = np.setdiff1d(np.arange(1200), shown)[:EXTRA]
    rng = np.random.default_rng(0)
    z = np.load(folder / "betas" / "subj01" / "betas.npy")
    means = np.stack([z[table.nsd_id == i].mean(axis=0) for i in shown])
    source = means @ rng.normal(size=(z.shape[1], SOURCE.dim)) + rng.normal(size=SOURCE.dim)
    source = np.r_[source, rng.normal(size=(EXTRA, SOURCE.dim))] + rng.normal(size=(len(shown) + EXTRA, SOURCE.dim))
    target = np.tanh(source @ rng.normal(size=(SOURCE.dim, TARGET.dim)) / 6) + 0.3
    for name, vectors, space in (("clip", source, SOURCE), ("target", target, TARGET)):
        write_cache(folder / f"{name}.parquet", np.r_[shown, unseen], vectors.astype(np.float32), space)
    brain = {name: str(folder / place) for name, place in PLACES.items()}
    names = ("index_root", "clip_cache", "target_cache")
    subject = SimpleNamespace(
        encoder_inputs=lambda **more: {k: v for k, v in brain.items() if k != "target_cache"} | more,
        adapter_inputs=lambda **more: {k: brain[k] for k in names} | more,
    )
    return SimpleNamespace(
        folder=folder,
        table=table,
        brain=brain,
        ridge=fit_ridge_module(subject, folder)[1],
        mlp=fit_mlp_module(subject, folder, max_epochs=1)[1],
        adapter=_fit_adapter(subject, folder),
        generator=write_generator(folder / "generator"),
    )


PLACES = {
    "index_root": "index", "betas": "betas", "preproc": "preproc", "clip_cache": "clip.parquet",
    "target_cache": "target.parquet",
}  # fmt: skip


def _fit_adapter(subject: SimpleNamespace, folder: Path) -> Path:
    fit(subject, folder, max_epochs=1)
    return next((folder / "clip_adapter").rglob("adapter.ckpt"))


def predict(parts: SimpleNamespace, out: Path, *more: str, **options) -> Path:
    """Run the command; ``data_x`` and ``model_x`` are its options, None names nothing; ``more`` are whole words."""
    given = {
        **{f"data_{name}": value for name, value in parts.brain.items()},
        "data_limit": 6,
        "data_gallery_limit": 100,
        "model_encoder_ckpt": parts.ridge,
        "model_adapter_ckpt": parts.adapter,
        "model_decoder.family": "mini",
        "model_decoder.model_id": parts.generator,
        "model_num_inference_steps": 1,
        **options,
    }
    words = ["predict", "--config", "configs/predict.yaml", "--trainer.accelerator", "cpu", "--output_dir", str(out)]
    for name, value in given.items():
        words += [f"--{name.replace('_', '.', 1)}", "null" if value is None else str(value)]
    assert main([*words, *more]) == 0
    return out


def copy_of(run: Path, folder: Path, **named: Path) -> Path:
    """Copy a run; ``data_x`` and ``model_x`` change what its predict.yaml names."""
    copied = folder / "copy"
    shutil.copytree(run, copied)
    settings = yaml.safe_load((copied / "predict.yaml").read_text())
    for name, value in named.items():
        part, key = name.split("_", 1)
        settings[part]["init_args"][key] = str(value)
    (copied / "predict.yaml").write_text(yaml.safe_dump(settings))
    return copied


def edit_json(path: Path, edit) -> None:
    """Change a JSON file in place by a function of its contents."""
    contents = json.loads(path.read_text())
    edit(contents)
    path.write_text(json.dumps(contents))


def edit_predictions(run: Path, edit) -> None:
    """Write the predictions of a run anew, with their hash, by a function of table and metadata."""
    predictions, about = read_predictions(run / "predictions.parquet")
    predictions = predictions.__class__(**{k: None if v is None else v.copy() for k, v in vars(predictions).items()})
    edit(predictions, about)
    about.pop("content_hash")
    write_predictions(run / "predictions.parquet", predictions, about)


def edit_checkpoint(path: Path, to: Path, edit, rehash: bool = True) -> Path:
    """Write a checkpoint anew by a function of weights and description; its content hash fits unless told not to."""
    checkpoint = torch.load(path, weights_only=True)
    edit(checkpoint["state_dict"], checkpoint["fmri_lightning"])
    if rehash:
        state = part_of_state(checkpoint, "predictor")
        checkpoint["fmri_lightning"] = describe_state(checkpoint["fmri_lightning"], state)
    torch.save(checkpoint, to)
    return to


def rewrite_cache(path: Path, to: Path, edit) -> Path:
    """Write the rows of a cache anew by a function of ids and vectors that returns both."""
    cache = EmbeddingCache.open(path)
    write_cache(to, *edit(cache.ids.copy(), np.array(cache.embeddings)), cache.space)
    return to


def ids_of(parts, *splits):
    return np.unique(parts.table.nsd_id[np.isin(parts.table.split, splits)])


def trials_of(parts, nsd_id):
    return ", ".join(map(str, parts.table.global_trial[parts.table.nsd_id == nsd_id]))


def features_of(parts, rows):
    betas = np.load(parts.folder / "betas" / "subj01" / "betas.npy")[rows]
    with torch.no_grad():
        return Preprocess.load(parts.folder / "preproc" / "subj01").eval()(torch.from_numpy(betas))


def predicted(parts, ids):
    """Target embeddings of pictures by the network and the adapter, from mean betas."""
    betas = np.load(parts.folder / "betas" / "subj01" / "betas.npy")
    means = np.stack([betas[parts.table.nsd_id == i].mean(axis=0) for i in ids])
    with torch.no_grad():
        features = Preprocess.load(parts.folder / "preproc" / "subj01").eval()(torch.from_numpy(means))
        return load_adapter(parts.adapter)(load_encoder(parts.mlp)(features))


def calibrated(parts, folder, split, recorded="same", true_of=("train",), std_of=("train",)):
    cache = EmbeddingCache.open(parts.brain["target_cache"])
    mean, std = (torch.from_numpy(cache.rows(ids_of(parts, *splits))) for splits in (true_of, std_of))
    statistics = EmbeddingStatistics(mean.mean(dim=0), std.std(dim=0, correction=0))
    made_from = {
        "encoder": load_encoder(parts.mlp).content_hash,
        "adapter": load_adapter(parts.adapter).content_hash,
    }
    ids = ids_of(parts, split)
    nsd_ids = {"same": ids, "val": ids_of(parts, "val"), "none": None}[recorded]
    return save_calibration(folder, fit_calibration(predicted(parts, ids), statistics, made_from, nsd_ids))


def refused(run, *words):
    with pytest.raises(BadInputError) as caught:
        list(leaks(run))
    message = str(caught.value)
    for word in words:
        assert re.search(word, message), f"{word!r} is not in {message!r}"
    assert "\n" not in message


def content_of_run(run, **hashes):
    """Make the records of a run agree with changed inputs."""

    def edit(manifest):
        manifest["inputs"].update(hashes)
        manifest["content_hash"] = content_hash(json.dumps([manifest["config"], manifest["inputs"]], sort_keys=True))

    edit_json(run / "manifest.json", edit)
    edit_json(run / "decode_summary.json", lambda summary: summary["provenance"]["inputs"].update(hashes))
    edit_predictions(run, lambda _, about: about["inputs"].update(hashes))
    return run
