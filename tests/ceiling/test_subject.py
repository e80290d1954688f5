"""The written subject: the production data module takes it, and every row belongs to its picture."""

import dataclasses

import numpy as np
import pytest

from fmri_lightning.betas.store import BetaStore
from fmri_lightning.ceiling import subject as subject_file
from fmri_lightning.ceiling.brain import draw_brain
from fmri_lightning.ceiling.fits import predict, rows_to_predict
from fmri_lightning.ceiling.recipe import KnownRecipe
from fmri_lightning.ceiling.subject import SUBJECT, SubjectPlan, write_subject
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.encoder.data import EncoderDataModule
from fmri_lightning.errors import BadInputError
from fmri_lightning.metrics.cosine import centred_cosine

PLAN = SubjectPlan(
    stimuli=600, test=50, repeats=3, voxels=60, seed=1, recipe=KnownRecipe(latents=6, quadratic=8, dim=20)
)
CLEAR = KnownRecipe(latents=6, quadratic=0, dim=20, nonlinear=0.0, embedding_quadratic=0.0, residual=0.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_subject(tmp_path_factory.mktemp("known"), PLAN)


def data_of(subject, **changes):
    data = EncoderDataModule(**{**subject.inputs, **changes})
    data.setup("fit")
    return data


def test_data_module_takes_it(written):
    data = data_of(written)
    assert data.simulated is True
    assert data.space.name == "known-brain"
    assert data.train_rows().features.shape[1] == 60
    assert data.train_rows().targets.shape[1] == 20
    train, val = set(data.train_ids.tolist()), set(data.val_ids.tolist())
    assert len(train | val) == 600
    assert len(train & val) == 0
    assert 30 < len(val) < 90
    assert len(data.train_ids) == 3 * len(train)
    features = data.train_rows().features.numpy()
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-3)


def test_table_counts_repeats_and_ranks_test_pictures(written):
    table = written.table()
    assert len(table) == 650 * 3
    assert set(table.split[table.shared1000]) == {"test"}
    for picture in np.unique(table.nsd_id)[:40]:
        rows = np.flatnonzero(table.nsd_id == picture)
        np.testing.assert_array_equal(table.repeat[rows], [0, 1, 2])
    test = np.flatnonzero(table.split == "test")
    order = test[np.lexsort([table.global_trial[test], table.nsd_id[test]])]
    np.testing.assert_array_equal(table.trial_id_single[order], np.arange(150))
    np.testing.assert_array_equal(table.trial_id_average[order], np.repeat(np.arange(50), 3))
    assert np.all(table.trial_id_average[table.split != "test"] == -1)
    assert np.any(np.diff(table.nsd_id) < 0)


def test_betas_have_unit_variance_and_the_store_is_whole(written):
    store = BetaStore.open(written.folder / "betas" / SUBJECT, verify=True)
    assert store.manifest.config["simulated"] is True
    np.testing.assert_allclose(store.betas.std(axis=0), 1, atol=0.12)
    np.testing.assert_allclose(store.ncsnr, written.brain.ncsnr, rtol=1e-6)


def test_repeats_correlate_as_ncsnr_says(written):
    """Correlation of repeats is the signal's share of a trial's variance: trials carry their picture's signal."""
    table, betas = written.table(), np.asarray(written.store().betas)
    order = np.argsort(table.nsd_id, kind="stable").reshape(-1, 3)
    ncsnr = written.brain.ncsnr
    found = np.mean(
        [(betas[order[:, a]] * betas[order[:, b]]).mean(axis=0) for a, b in ((0, 1), (0, 2), (1, 2))], axis=0
    )
    expected = ncsnr**2 / (1 + ncsnr**2)
    assert np.corrcoef(found, expected)[0, 1] > 0.95
    assert found.mean() == pytest.approx(expected.mean(), abs=0.03)


def test_a_clear_brain_is_read_off_without_error(tmp_path, monkeypatch):
    """Almost no noise, all linear: least squares is perfect if and only if rows of cache and betas are paired."""

    def clear(n_voxels, seed, recipe):
        return dataclasses.replace(draw_brain(n_voxels, seed, recipe), ncsnr=np.full(n_voxels, 200.0))

    monkeypatch.setattr(subject_file, "draw_brain", clear)
    subject = write_subject(tmp_path, dataclasses.replace(PLAN, recipe=CLEAR))
    data = data_of(subject)
    rows, val = data.train_rows(), data.val_rows()
    mean = data.target_mean.numpy()
    weights = np.linalg.lstsq(rows.features.numpy(), rows.targets.numpy() - mean, rcond=None)[0]
    assert centred_cosine(mean + val.features.numpy() @ weights, val.targets.numpy(), mean).min() > 0.99

    import torch

    for mode, n in (("average", 50), ("single", 150)):
        tested = rows_to_predict(subject, mode)
        assert len(tested.ids) == n
        predicted = predict(lambda x: torch.from_numpy(mean + x.numpy() @ weights), subject, tested)
        truth = EmbeddingCache.open(subject.inputs["clip_cache"]).rows(tested.ids)
        assert centred_cosine(predicted, truth, mean).min() > 0.99
        shifted = np.roll(truth, n // 10, axis=0)
        assert centred_cosine(predicted, shifted, mean).mean() < 0.3


def test_the_same_plan_is_recognised_and_another_refused(written):
    before = (written.folder / "betas" / SUBJECT / "betas.npy").stat().st_mtime_ns
    again = write_subject(written.folder, PLAN)
    np.testing.assert_array_equal(again.brain.tuning, written.brain.tuning)
    assert (written.folder / "betas" / SUBJECT / "betas.npy").stat().st_mtime_ns == before
    with pytest.raises(BadInputError, match="choose another --out"):
        write_subject(written.folder, dataclasses.replace(PLAN, seed=2))


def test_sizes_out_of_range_are_refused():
    with pytest.raises(BadInputError, match="--stimuli 5"):
        SubjectPlan(stimuli=5)
