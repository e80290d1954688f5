import numpy as np
import pytest
import torch

from fmri_lightning.betas.rows import average_repeats, repeat_table, stimulus_rows


@pytest.fixture
def trials():
    rng = np.random.default_rng(0)
    nsd_id = rng.permutation(np.r_[np.repeat([70, 5, 900], 3), [31, 31], [12]]).astype(np.int32)
    return rng.standard_normal((len(nsd_id), 7)).astype(np.float32), nsd_id


def test_groups_hold_every_row_once_in_order(trials):
    _, nsd_id = trials
    ids, groups = stimulus_rows(nsd_id)
    assert ids.tolist() == [5, 12, 31, 70, 900]
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(nsd_id)))
    for i, rows in zip(ids, groups, strict=True):
        assert rows.tolist() == np.flatnonzero(nsd_id == i).tolist()


def test_no_rows_are_no_groups():
    ids, groups = stimulus_rows(np.zeros(0, dtype=np.int32))
    assert (len(ids), groups, repeat_table(groups).shape) == (0, [], (0, 0))


def test_means_equal_a_plain_loop(trials):
    betas, nsd_id = trials
    ids, means = average_repeats(betas, nsd_id)
    assert means.dtype == np.float32
    for i, mean in zip(ids, means, strict=True):
        assert np.allclose(mean, betas[nsd_id == i].mean(axis=0), atol=1e-6)


def test_torch_and_numpy_give_the_same_bits(trials):
    betas, nsd_id = trials
    ids, means = average_repeats(betas, nsd_id)
    ids_torch, means_torch = average_repeats(torch.from_numpy(betas), nsd_id)
    assert np.array_equal(ids, ids_torch)
    assert means_torch.dtype == torch.float32
    assert means_torch.numpy().tobytes() == means.tobytes()


def test_the_order_of_pictures_does_not_change_a_mean(trials):
    betas, nsd_id = trials
    order = np.argsort(nsd_id % 7, kind="stable")
    assert np.array_equal(average_repeats(betas, nsd_id)[1], average_repeats(betas[order], nsd_id[order])[1])


def test_unequal_lengths_are_refused(trials):
    with pytest.raises(ValueError, match="12 rows of betas, 11 ids"):
        average_repeats(trials[0], trials[1][:-1])
