"""Rule 2: statistics never see test trials. Each test breaks it on purpose and names the trial that got in."""

import dataclasses
import re
import shutil

import numpy as np
import pytest

from fmri_lightning.betas import sessions
from fmri_lightning.betas.command import betas
from fmri_lightning.betas.fit import PreprocessConfig, fit_preprocess
from fmri_lightning.betas.leaks import check_leaks, check_preprocess, check_split, check_t0
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.betas.t0 import session_statistics
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.table import index_manifest, read_index


def test_an_honest_run_passes(larger, larger_store):
    store, _ = larger_store
    lines = check_leaks(store.folder, store.folder.parents[1] / "preproc" / "subj01", larger[1], "subj01")
    assert len(lines) == 3


def test_a_picture_in_two_splits_is_named_with_its_trials(larger):
    table = read_index(larger[1], "subj01")
    row = int(np.flatnonzero(table.split == "test")[2])
    trials = np.flatnonzero(table.nsd_id == table.nsd_id[row]).tolist()
    named = ", ".join(rf"{trial} \({'train' if trial == row else 'test'}\)" for trial in trials)
    with pytest.raises(BadInputError, match=rf"in two splits, first nsd_id {table.nsd_id[row]}, global_trial {named}"):
        check_split(relabelled(table, row), index_manifest(larger[1], "subj01"))


def test_a_split_that_its_manifest_does_not_name_is_refused(larger):
    table = read_index(larger[1], "subj01")
    one = np.flatnonzero(table.nsd_id == table.nsd_id[table.split == "test"][0])
    with pytest.raises(BadInputError, match=r"the index has split \w{12}, its manifest names \w{12}"):
        check_split(relabelled(table, one), index_manifest(larger[1], "subj01"))


def test_a_store_with_another_value_than_was_hashed_is_refused(larger, larger_store, tmp_path):
    store, _ = larger_store
    folder = shutil.copytree(store.folder, tmp_path / "store")
    betas = np.load(folder / "betas.npy")
    betas[5, 3] += 1e-3
    np.save(folder / "betas.npy", betas)
    with pytest.raises(BadInputError, match=r"betas.npy is not the array its manifest describes"):
        check_leaks(folder, store.folder.parents[1] / "preproc" / "subj01", larger[1], "subj01")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("split", ["test", "val"])
def test_one_foreign_trial_in_t0_is_named_though_no_record_knows_it(larger, tmp_path, monkeypatch, split, dtype):
    tree, index_root = larger
    table = read_index(index_root, "subj01")
    leaked = int(table.global_trial[(table.split == split) & (table.session == 2)][1])

    def leaky(raw, is_train):
        if calls.append(1) or len(calls) != 2:
            return session_statistics(raw, is_train)
        foreign = is_train.copy()
        foreign[table.trial_in_session[leaked]] = True
        return dataclasses.replace(session_statistics(raw, foreign), fitted_on=is_train)

    calls = []
    monkeypatch.setattr(sessions, "session_statistics", leaky)
    betas(tree.root, index=index_root, out=tmp_path / "b", preproc_out=tmp_path / "p", dtype=dtype)
    store = BetaStore.open(tmp_path / "b" / "subj01")
    named = re.escape(f"the mean of session 2 is not that of its train trials; it saw 1 trials outside train: {leaked}")
    with pytest.raises(BadInputError, match=f"{named} .{split}"):
        check_t0(store, table)
    with pytest.raises(BadInputError, match=named):
        check_leaks(store.folder, tmp_path / "p" / "subj01", index_root, "subj01")


def test_a_recorded_foreign_trial_in_t0_is_named(larger_store):
    store, table = larger_store
    leaked = int(np.flatnonzero(table.split == "test")[3])
    store = dataclasses.replace(store)
    fitted_on = store.t0["fitted_on"].copy()
    fitted_on[leaked] = True
    store.t0["fitted_on"] = fitted_on
    with pytest.raises(BadInputError, match=rf"was fitted on 1 trials outside train: {leaked} \(test\)"):
        check_t0(store, table)


def relabelled(table, row):
    """The table of someone who takes one foreign trial for training."""
    split = table.split.copy()
    split[row] = "train"
    return dataclasses.replace(table, split=split)


@pytest.mark.parametrize("tier", ["T1", "T2"])
def test_a_foreign_trial_in_the_fit_is_named_by_its_record(larger_store, tier):
    store, table = larger_store
    row = int(np.flatnonzero(table.split == "test")[5])
    config = PreprocessConfig(tier=tier, k=10)
    fitted = fit_preprocess(store, relabelled(table, row), config)
    with pytest.raises(BadInputError, match=rf"scale was fitted on 1 trials outside train: {row} \(test\)"):
        check_preprocess(store, table, fitted, config)


@pytest.mark.parametrize("tier", ["T1", "T2"])
def test_a_foreign_trial_in_the_fit_is_named_by_the_numbers_when_the_record_lies(larger_store, tier):
    store, table = larger_store
    row = int(np.flatnonzero(table.split == "test")[5])
    config = PreprocessConfig(tier=tier, k=10, mask="roi")
    leaky, honest = (fit_preprocess(store, t, config) for t in (relabelled(table, row), table))
    lying = dataclasses.replace(leaky, fitted_on=honest.fitted_on)
    with pytest.raises(BadInputError, match=rf"mean differs by .* it saw 1 trials outside train: {row} \(test\)"):
        check_preprocess(store, table, lying, config)
    check_preprocess(store, table, honest, config)


def test_components_that_saw_test_trials_are_caught(larger_store):
    store, table = larger_store
    config = PreprocessConfig(tier="T2", k=10, mask="roi")
    leaky, honest = (
        fit_preprocess(store, t, config)
        for t in (dataclasses.replace(table, split=np.where(table.split == "test", "train", table.split)), table)
    )
    only_pca = dataclasses.replace(honest, arrays={**honest.arrays, "components": leaky.arrays["components"]})
    with pytest.raises(BadInputError, match="T2: components differs"):
        check_preprocess(store, table, only_pca, config)


def test_a_mask_chosen_with_test_trials_is_caught(larger_store):
    store, table = larger_store
    config = PreprocessConfig(threshold=0.75)
    everything = dataclasses.replace(table, split=np.full(len(table), "train"))
    leaky, honest = (fit_preprocess(store, t, config) for t in (everything, table))
    assert len(leaky.arrays["columns"]) != len(honest.arrays["columns"])
    lying = dataclasses.replace(leaky, fitted_on=honest.fitted_on)
    with pytest.raises(BadInputError, match="voxels of the mask differ from the mask of the train trials"):
        check_preprocess(store, table, lying, config)


def test_published_ncsnr_is_reported_as_what_it_is(larger_store):
    store, table = larger_store
    config = PreprocessConfig(mask="ncsnr_published")
    lines = check_preprocess(store, table, fit_preprocess(store, table, config), config)
    assert lines[-1] == "T1: the published ncsnr saw test trials, and is stamped so"


def test_a_store_of_another_index_is_refused(larger, larger_store, tmp_path):
    from fmri_lightning.index.command import index

    tree, _ = larger
    index(tree.root, sessions="2", out=tmp_path)
    store, _ = larger_store
    with pytest.raises(BadInputError, match=r"made from another index.*fmri-lightning betas --subject subj01"):
        check_leaks(store.folder, store.folder.parents[1] / "preproc" / "subj01", tmp_path, "subj01")
