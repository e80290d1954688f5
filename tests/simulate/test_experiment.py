"""The design keeps its promises at NSD's own size and at small ones."""

import numpy as np
import pytest

from fmri_lightning.simulate.experiment import make_experiment, run_lengths


@pytest.fixture(scope="module")
def default():
    return make_experiment((1, 2), 300, 1500, 3, 10, 2, 0)


def test_run_lengths_at_full_size_are_those_of_nsd():
    assert run_lengths(750) == [63, 62] * 6


@pytest.mark.parametrize("trials", [12, 37, 60, 540, 750])
def test_run_lengths_add_up(trials):
    assert sum(run_lengths(trials)) == trials
    assert max(run_lengths(trials)) - min(run_lengths(trials)) <= 1


def test_every_picture_is_planned_for_all_repeats(default):
    assert (np.bincount(default.masterordering)[1:] == 3).all()
    assert default.n_trials == 5400


def test_no_picture_follows_itself(default):
    assert (np.diff(default.masterordering) != 0).all()


def test_repeat_numbers_count_up_in_time(default):
    repeat = default.repeat_of_trial()
    for picture in (1, 700, 1800):
        assert repeat[default.masterordering == picture].tolist() == [0, 1, 2]


def test_pictures_of_simulated_subjects_overlap_in_the_shared_ones_only(default):
    first, second = set(default.subjectim[0]), set(default.subjectim[1])
    assert first & second == set(default.sharedix)
    assert default.subjectim.max() <= default.n_catalogue


def test_another_seed_gives_another_design():
    orders = [make_experiment((1,), 8, 16, 3, 3, 1, seed).masterordering for seed in (0, 0, 1)]
    assert (orders[0] == orders[1]).all()
    assert (orders[0] != orders[2]).any()
