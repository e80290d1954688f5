"""Nothing that is fitted on the first sessions changes by a bit, whatever later sessions hold."""

import numpy as np
import pytest
import torch

from fmri_lightning.betas.preprocess import Preprocess
from fmri_lightning.cli import main
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.encoder.load import load_encoder
from fmri_lightning.index.table import read_index
from tests.studies.small_study import SESSIONS, SUBJECT, write_tree


def change_nothing(betas, rows):
    return betas


def permute_train(betas, rows):
    """Other pictures on later train trials: mean and deviation stay, what is shown does not."""
    train = rows["train"]
    betas[train] = betas[np.roll(train, 7)]
    return betas


def scale_train(betas, rows):
    """Later train trials in another unit: the test betas of that session move with them, and nothing else may."""
    betas[rows["train"]] = betas[rows["train"]] * 3 + 5
    return betas


def ruin(betas, rows):
    """Later sessions hold noise, their test and val trials too."""
    return np.random.default_rng(9).normal(0, 50, betas.shape)


def run(folder, change):
    tree = write_tree(folder)
    for session in range(2, SESSIONS + 1):
        path = tree.root / SUBJECT / f"s{session}.npy"
        rows = {split: tree.rows(session, split) for split in ("train", "val", "test")}
        np.save(path, change(np.load(path), rows))
    assert main([*tree.words(folder / "out"), "--sessions", "1,all", "--tier", "T2"]) == 0
    return folder / "out" / SUBJECT


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    return run(tmp_path_factory.mktemp("untouched"), change_nothing)


def fitted(study, n_sessions):
    """Everything that was fitted on an amount: bytes of files, and what the encoder's hash covers."""
    folder = study / f"sessions{n_sessions:02d}"
    encoder = load_encoder(folder / "checkpoints" / "ridge" / "seed42" / "ridge" / SUBJECT / "ridge.ckpt")
    return {
        "betas": (folder / "betas" / SUBJECT / "betas.npy").read_bytes(),
        "scaling, mask, components": (folder / "preproc" / SUBJECT / "preproc.safetensors").read_bytes(),
        "weights, alpha, target statistics": encoder.content_hash,
        "target mean": encoder.space.mean,
        "fitted": encoder.fitted,
    }


def predictions(study, n_sessions):
    return EmbeddingCache.open(study / f"sessions{n_sessions:02d}" / "predictions" / "ridge_seed42.parquet").embeddings


@pytest.mark.parametrize("change", [permute_train, scale_train, ruin])
def test_what_is_fitted_on_the_first_session_never_saw_a_later_one(untouched, tmp_path, change):
    changed = run(tmp_path, change)
    before, after = fitted(untouched, 1), fitted(changed, 1)
    assert [name for name in before if before[name] != after[name]] == []
    # The same comparison sees the change where it was to be learned from.
    whole_before, whole_after = fitted(untouched, SESSIONS), fitted(changed, SESSIONS)
    for name in ("betas", "scaling, mask, components", "weights, alpha, target statistics"):
        assert whole_before[name] != whole_after[name]
    same = np.abs(predictions(untouched, 1) - predictions(changed, 1)).max()
    # T0 takes mean and deviation of later train trials, which their order does not change.
    assert same < 1e-4 if change is permute_train else same > 1e-2
    assert np.abs(predictions(untouched, SESSIONS) - predictions(changed, SESSIONS)).max() > 1e-2


def test_test_items_pass_through_the_components_of_the_point_and_not_of_the_whole(untouched):
    table = read_index(untouched / "sessions04" / "nsd_index", SUBJECT)
    betas = np.load(untouched / "sessions04" / "betas" / SUBJECT / "betas.npy")
    test = table.split == "test"
    means = np.stack(
        [betas[test & (table.nsd_id == picture)].mean(axis=0) for picture in np.unique(table.nsd_id[test])]
    )
    for n_sessions, other in ((1, SESSIONS), (SESSIONS, 1)):
        folder = untouched / f"sessions{n_sessions:02d}"
        encoder = load_encoder(folder / "checkpoints" / "ridge" / "seed42" / "ridge" / SUBJECT / "ridge.ckpt")
        found = {
            n: encoder(Preprocess.load(untouched / f"sessions{n:02d}" / "preproc" / SUBJECT)(torch.from_numpy(means)))
            for n in (n_sessions, other)
        }
        assert np.allclose(predictions(untouched, n_sessions), found[n_sessions], atol=1e-3)
        assert not np.allclose(predictions(untouched, n_sessions), found[other], atol=1e-1)
