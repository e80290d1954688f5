import dataclasses

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from fmri_lightning.betas.artefact import FILE, read_preprocess
from fmri_lightning.betas.command import betas
from fmri_lightning.betas.fit import PreprocessConfig, fit_preprocess, principal_components
from fmri_lightning.betas.preprocess import Preprocess
from fmri_lightning.betas.reliability import noise_ceiling
from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.errors import BadInputError


def module(store, table, **settings):
    fitted = fit_preprocess(store, table, PreprocessConfig(**settings))
    return Preprocess(fitted.arrays, store.betas.shape[1], "hash"), fitted


def tensor(array):
    return torch.from_numpy(np.array(array, dtype=np.float32))


def test_t0_passes_every_voxel(larger_store):
    store, table = larger_store
    preprocess, fitted = module(store, table, tier="T0")
    assert torch.equal(preprocess(tensor(store.betas)), tensor(store.betas))
    assert (preprocess.n_voxels, preprocess.n_features) == (store.betas.shape[1],) * 2
    assert fitted.fitted_on == {}


def test_t1_is_scaled_on_exactly_what_it_is_applied_to(larger_store):
    store, table = larger_store
    preprocess, fitted = module(store, table, tier="T1")
    train = store.betas[table.split == "train"].astype(float)
    keep = fitted.arrays["columns"]
    out = preprocess(tensor(store.betas)).double().numpy()
    assert np.allclose(out[table.split == "train"].mean(axis=0), 0, atol=1e-6)
    assert np.allclose(out[table.split == "train"].std(axis=0), 1, atol=1e-6)
    expected = (store.betas[:, keep] - train.mean(axis=0)[keep]) / train.std(axis=0)[keep]
    assert np.allclose(out, expected, atol=1e-5)
    train_trials = table.global_trial[table.split == "train"]
    assert all(np.array_equal(trials, train_trials) for trials in fitted.fitted_on.values())


def test_dropped_voxels_never_enter(larger_store):
    store, table = larger_store
    assert store.dropped.any()
    for mask in ("roi", "reliability", "ncsnr", "ncsnr_published"):
        columns = module(store, table, mask=mask)[1].arrays["columns"]
        assert not store.dropped[columns].any(), mask
    assert len(module(store, table, mask="roi")[1].arrays["columns"]) == (~store.dropped).sum()


def test_the_mask_keeps_signal_and_drops_noise(larger_store):
    store, table = larger_store
    rng = np.random.default_rng(0)
    spoiled = np.array(store.betas)
    noisy = np.flatnonzero(~store.dropped)[::2]
    spoiled[:, noisy] = rng.standard_normal((len(spoiled), len(noisy)))
    mixed = dataclasses.replace(store, betas=spoiled)
    for mask in ("reliability", "ncsnr"):
        kept = np.isin(np.arange(spoiled.shape[1]), module(mixed, table, mask=mask, threshold=0.4)[1].arrays["columns"])
        assert kept[~store.dropped & ~np.isin(np.arange(len(kept)), noisy)].all(), mask
        assert kept[noisy].mean() < 0.1, mask


def test_masks_by_ncsnr_threshold_the_noise_ceiling_of_three_repeats(larger_store):
    store, table = larger_store
    for mask, ncsnr in (("ncsnr", store.ncsnr), ("ncsnr_published", np.nan_to_num(store.ncsnr_published))):
        fitted = module(store, table, mask=mask, threshold=0.45)[1]
        expected = np.flatnonzero((noise_ceiling(ncsnr, np.array([3])) >= 0.45) & ~store.dropped)
        assert fitted.arrays["columns"].tolist() == expected.tolist()
        assert fitted.report["saw_test_trials"] is (mask == "ncsnr_published")


def test_a_threshold_nothing_reaches_is_refused(larger_store):
    with pytest.raises(BadInputError, match=r"no voxel of .* reaches reliability 1\.5.*--mask roi"):
        module(*larger_store, threshold=1.5)


@pytest.mark.parametrize("k", [5, 60])
def test_t2_equals_sklearn_on_t1_output(larger_store, k):
    store, table = larger_store
    preprocess, fitted = module(store, table, tier="T2", k=k)
    t1, _ = module(store, table, tier="T1")
    features = t1(tensor(store.betas)).numpy()
    # In float64: of single precision scikit-learn's own components are good to three digits only.
    pca = PCA(k, svd_solver="full").fit(features[table.split == "train"].astype(np.float64))
    assert np.allclose(preprocess(tensor(store.betas)).numpy(), pca.transform(features.astype(np.float64)), atol=1e-5)
    assert np.allclose(fitted.arrays["components"], pca.components_, atol=1e-5)
    assert fitted.report["explained_variance"] == pytest.approx(pca.explained_variance_ratio_.sum(), rel=1e-5)


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (41, 41)])
def test_principal_components_of_any_shape_equal_sklearn_signs_included(shape):
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32) * np.linspace(1, 9, shape[1])
    x = (x + 3).astype(np.float32)
    mean, components, share = principal_components(x, 1000)
    k = min(shape[0] - 1, shape[1])
    assert components.shape == (k, shape[1])
    pca = PCA(k, svd_solver="full").fit(x.astype(float))
    assert np.allclose(mean, pca.mean_, atol=1e-5)
    assert np.allclose(components, pca.components_, atol=1e-5)
    assert np.allclose(components @ components.T, np.eye(k), atol=1e-5)
    assert (components[np.arange(k), np.abs(components).argmax(axis=1)] > 0).all()
    assert share == pytest.approx(pca.explained_variance_ratio_.sum())


def test_averaging_commutes_with_every_tier(larger_store):
    store, table = larger_store
    preprocess, _ = module(store, table, tier="T2", k=10)
    ids, means = average_repeats(np.array(store.betas), table.nsd_id)
    again, after = average_repeats(preprocess(tensor(store.betas)), table.nsd_id)
    assert np.array_equal(ids, again)
    assert torch.allclose(preprocess(tensor(means)), after, atol=1e-5)


def test_autocast_and_half_inputs_do_not_lower_the_arithmetic(larger_store):
    store, table = larger_store
    preprocess, _ = module(store, table, tier="T2", k=10)
    expected = preprocess(tensor(store.betas))
    with torch.autocast("cpu", torch.bfloat16):
        found = preprocess(tensor(store.betas))
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    assert preprocess(tensor(store.betas).half()).dtype == torch.float32


def test_betas_of_another_width_are_refused(larger_store):
    preprocess, _ = module(*larger_store)
    with pytest.raises(BadInputError, match="fitted on 130 voxels, the betas have 7"):
        preprocess(torch.zeros(2, 7))


def test_command_saves_what_load_gives_back_and_says_what_it_saw(larger_store):
    store, table = larger_store
    folder = store.folder.parents[1] / "preproc" / "subj01"
    loaded = Preprocess.load(folder)
    fresh, fitted = module(store, table)
    assert torch.equal(loaded(tensor(store.betas)), fresh(tensor(store.betas)))
    assert loaded.manifest.inputs["betas"] == store.manifest.content_hash
    assert loaded.manifest.inputs["split"] == store.manifest.inputs["split"]
    assert loaded.content_hash == loaded.manifest.content_hash
    assert loaded.manifest.config["n_features"] == fresh.n_features
    recorded, _ = read_preprocess(folder)
    for name, trials in fitted.fitted_on.items():
        assert np.array_equal(recorded.fitted_on[name], trials)
        assert loaded.manifest.config["fitted_on"][name]["n_trials"] == (table.split == "train").sum()


def test_command_tiers_replace_only_when_asked_and_clamp_k_aloud(larger, larger_store, tmp_path, capsys):
    tree, index_root = larger
    flags = {"index": index_root, "out": larger_store[0].folder.parent, "preproc_out": tmp_path}
    betas(tree.root, tier="T2", k=5000, **flags)
    assert "k 5000 is more than trials and voxels allow" in capsys.readouterr().out
    first = (tmp_path / "subj01" / FILE).read_bytes()
    with pytest.raises(BadInputError, match="holds a preproc made from other inputs or settings"):
        betas(tree.root, tier="T1", **flags)
    assert (tmp_path / "subj01" / FILE).read_bytes() == first
    betas(tree.root, tier="T1", overwrite=True, **flags)
    assert Preprocess.load(tmp_path / "subj01").components is None
    betas(tree.root, tier="T2", k=5000, overwrite=True, **flags)
    assert (tmp_path / "subj01" / FILE).read_bytes() == first


def test_damage_is_found_on_loading(larger, larger_store, tmp_path):
    tree, index_root = larger
    betas(tree.root, index=index_root, out=larger_store[0].folder.parent, preproc_out=tmp_path)
    path = tmp_path / "subj01" / FILE
    data = bytearray(path.read_bytes())
    for place in range(-1, -len(data) // 2, -97):  # all numbers: the header comes first
        flipped = data.copy()
        flipped[place] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(BadInputError, match="not the file its manifest describes"):
            Preprocess.load(tmp_path / "subj01")
    path.write_bytes(data[:50])
    with pytest.raises(BadInputError, match="cannot be read"):
        Preprocess.load(tmp_path / "subj01")
    with pytest.raises(BadInputError, match=r"no preproc at .*fmri-lightning betas"):
        Preprocess.load(tmp_path)
