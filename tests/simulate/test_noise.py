"""The noise has the stated variance, shares and correlations, and the reliability map says what was planted."""

import nibabel as nib
import numpy as np
import pytest

from fmri_lightning.simulate.geometry import make_brain
from fmri_lightning.simulate.noise import make_noise_model
from fmri_lightning.simulate.subject import NcsnrEstimate


@pytest.fixture(scope="module")
def model():
    brain = make_brain(1, 150, seed=0)
    rng = np.random.default_rng(0)
    signals = rng.normal(size=(200, 30)).astype(np.float32) @ rng.normal(size=(30, len(brain.ijk))).astype(np.float32)
    signals[:, ~brain.cortex] = 0
    ncsnr = np.where(brain.cortex, np.linspace(0.05, 1.0, len(brain.ijk)), 0.0)
    return make_noise_model(brain, signals / np.maximum(signals.std(axis=0), 1e-9), ncsnr), ncsnr


@pytest.fixture(scope="module")
def sessions(model):
    noise, _ = model
    return [noise.parts(300, np.random.default_rng([7, k])) for k in range(30)]


@pytest.mark.parametrize("part", ["independent", "smooth", "low_rank", "drift"])
def test_each_part_has_unit_variance_in_every_voxel(model, sessions, part):
    variance = np.mean([(session[part].astype(np.float64) ** 2).mean(axis=0) for session in sessions], axis=0)
    noise, _ = model
    used = noise.shares[part] > 0
    spread, error = (0.7, 0.08) if part == "drift" else (0.15, 0.03)  # 120 free numbers a voxel against 9,000
    np.testing.assert_allclose(variance[used], 1, atol=spread)
    assert variance[used].mean() == pytest.approx(1, abs=error)


def test_shares_add_up_and_the_low_rank_share_grows_with_the_signal(model):
    noise, ncsnr = model
    np.testing.assert_allclose(sum(noise.shares.values()), 1, atol=1e-6)
    assert all((share >= 0).all() for share in noise.shares.values())
    np.testing.assert_allclose(noise.shares["low_rank"], np.minimum(ncsnr**2, 0.6), atol=1e-6)


def test_the_sum_has_the_stated_shares(model):
    noise, _ = model
    totals, parts = [], []
    for k in range(10):
        totals.append(noise.draw(300, np.random.default_rng([7, k])))
        parts.append(noise.parts(300, np.random.default_rng([7, k])))
    total = np.concatenate(totals).astype(np.float64)
    assert (total**2).mean() == pytest.approx(1, abs=0.03)
    for name, share in noise.shares.items():
        part = np.concatenate([drawn[name] for drawn in parts])
        # Parts are independent, so the slope of the sum on a part is the square root of its share.
        slope = (total * part).mean(axis=0) / np.maximum((part**2).mean(axis=0), 1e-9)
        used = share > 0
        assert (slope[used] ** 2 - share[used]).mean() == pytest.approx(0, abs=0.03)


def test_smooth_noise_is_shared_with_neighbours_and_new_in_each_trial(model, sessions):
    noise, _ = model
    ijk = noise.brain.ijk
    middle = int(np.argmin(np.abs(ijk - ijk.mean(axis=0)).sum(axis=1)))
    distance = np.linalg.norm(ijk - ijk[middle], axis=1)
    field = np.concatenate([session["smooth"] for session in sessions])
    correlation = (field * field[:, [middle]]).mean(axis=0)
    assert correlation[distance == 1].mean() == pytest.approx(np.exp(-1 / 4), abs=0.05)
    assert abs(correlation[distance > 5].mean()) < 0.05
    assert abs((field[1:, middle] * field[:-1, middle]).mean()) < 0.05


def test_drift_is_slow(sessions):
    drift = sessions[0]["drift"]
    assert (drift[1:] - drift[:-1]).std() < 0.05 * drift.std()


def test_low_rank_noise_lies_in_the_space_of_the_signals(sessions):
    block = sessions[0]["low_rank"]
    values = np.linalg.svd(block, compute_uv=False)
    assert (values > 1e-3 * values[0]).sum() <= 64


def closed_form_ncsnr(betas, order):
    """The published estimator, written out picture by picture."""
    scores = np.concatenate([(block - block.mean(axis=0)) / block.std(axis=0) for block in betas])
    noise = np.mean([scores[order == p].var(axis=0, ddof=1) for p in np.unique(order)], axis=0)
    return np.sqrt(np.maximum(1 - noise, 0) / noise)


def test_estimator_equals_the_definition():
    rng = np.random.default_rng(0)
    order = rng.permutation(np.repeat(np.arange(40), 3))
    betas = (300 * (rng.normal(size=(40, 5))[order] + rng.normal(size=(120, 5)))).astype(np.int16).reshape(4, 30, 5)
    estimate = NcsnrEstimate(order, 3, 5)
    for block, shown in zip(betas, order.reshape(4, 30), strict=True):
        estimate.add(shown, block)
    np.testing.assert_allclose(estimate.result(), closed_form_ncsnr(betas.astype(float), order), rtol=1e-4)


def test_published_map_recovers_what_was_planted(tree):
    truth = tree.root / "simulated_truth/subj01"
    ijk, planted = np.load(truth / "ijk.npy"), np.load(truth / "ncsnr.npy")
    path = next((tree.root / "nsddata_betas/ppdata/subj01").rglob("ncsnr.nii.gz"))
    published = np.asarray(nib.load(path).dataobj)[tuple(ijk.T)]
    general = tree.volume(1, "roi/nsdgeneral")[tuple(ijk.T)] == 1
    # 120 pictures: the sheet of figures gives r = .89 to .955 between 100 and 300 pictures.
    assert np.corrcoef(planted[general], published[general])[0, 1] > 0.85
    assert np.median(published[general]) == pytest.approx(0.36, abs=0.05)


def test_one_voxel_of_nsdgeneral_never_changes_and_one_is_clipped(tree):
    general = tree.volume(1, "roi/nsdgeneral").T == 1
    stored = np.concatenate([tree.betas(1, session)[:, general] for session in range(1, 7)])
    assert (stored.std(axis=0) == 0).sum() == 1
    clipped = (stored == 32767).any(axis=0) & (stored == -32768).any(axis=0)
    assert clipped.sum() == 1
