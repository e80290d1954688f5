"""NSD's two text tables agree with the design file and with each other."""

import ast
import csv

import numpy as np
import pytest


@pytest.fixture(scope="module")
def stim_info(tree):
    path = tree.root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
    with open(path, newline="") as handle:
        rows = list(csv.reader(handle))
    return rows[0], rows[1:]


def column(stim_info, name):
    header, rows = stim_info
    return [row[header.index(name)] for row in rows]


def reps(stim_info, subject):
    return np.array([column(stim_info, f"subject{subject}_rep{k}") for k in range(3)], dtype=int).T


def test_stim_info_has_forty_columns_after_the_index(stim_info):
    header, rows = stim_info
    assert header[0] == ""
    assert header[1:9] == ["cocoId", "cocoSplit", "cropBox", "loss", "nsdId", "flagged", "BOLD5000", "shared1000"]
    assert header[9:18] == [*(f"subject{k}" for k in range(1, 9)), "subject1_rep0"]
    assert header[-1] == "subject8_rep2"
    assert len(header) == 41
    assert [row[0] for row in rows] == column(stim_info, "nsdId") == [str(k) for k in range(len(rows))]


def test_coco_ids_are_unique_of_both_splits_with_crop_boxes_as_text(stim_info):
    assert set(column(stim_info, "cocoSplit")) == {"train2017", "val2017"}
    assert len(set(column(stim_info, "cocoId"))) == len(stim_info[1])
    boxes = [ast.literal_eval(text) for text in column(stim_info, "cropBox")]
    assert all(len(box) == 4 and all(0 <= side < 1 for side in box) for box in boxes)


def test_shared_flags_are_the_shared_numbers_less_one(tree, stim_info):
    flagged = [k for k, text in enumerate(column(stim_info, "shared1000")) if text == "True"]
    assert flagged == (tree.expdesign()["sharedix"][0].astype(int) - 1).tolist()


@pytest.mark.parametrize("subject", [1, 2, 5])
def test_rep_columns_are_the_planned_trials_counted_from_one(tree, stim_info, subject):
    ids = tree.nsd_ids(subject)
    planned = reps(stim_info, subject)
    shown = np.array(column(stim_info, f"subject{subject}"), dtype=int)
    assert ((planned > 0).all(axis=1) == (shown == 1)).all()
    assert ((planned == 0).all(axis=1) == (shown == 0)).all()
    rows, repeat = np.nonzero(planned)
    assert sorted(planned[rows, repeat]) == list(range(1, 361))
    assert (ids[planned[rows, repeat] - 1] == rows).all()
    assert (np.diff(planned[shown == 1], axis=1) > 0).all()


@pytest.mark.parametrize("subject", [1, 2])
def test_responses_have_a_row_for_each_trial_run_with_one_based_ids(tree, subject):
    header, rows = tree.responses(subject)
    assert len(header) == 19
    assert (header[0], header[4], header[5], header[-1]) == ("SUBJECT", "73KID", "10KID", "MISSINGDATA")
    assert len(rows) == 60 * tree.sessions(subject)
    assert (rows[:, 4] - 1 == tree.nsd_ids(subject)[: len(rows)]).all()
    assert (rows[:, 5] == tree.expdesign()["masterordering"][0][: len(rows)]).all()
    assert (rows[:, 1] == np.arange(len(rows)) // 60 + 1).all()
    assert set(rows[:, 2]) == set(range(1, 13))
    starts = np.flatnonzero(np.diff(rows[:, 2], prepend=0) != 0)
    assert (rows[starts, 3] == 1).all()
    assert (np.diff(rows[:, 6]) > 0).all()


def test_isold_says_whether_the_picture_was_seen_before(tree):
    header, rows = tree.responses(1)
    seen: set[float] = set()
    for row in rows:
        assert row[header.index("ISOLD")] == (row[4] in seen)
        assert np.isnan(row[header.index("MEMORYRECENT")]) == (row[4] not in seen)
        seen.add(row[4])


def test_missing_answers_are_written_as_nan_text(tree):
    header, rows = tree.responses(1)
    missing = rows[:, header.index("MISSINGDATA")] == 1
    assert 0 < missing.sum() < 0.1 * len(rows)
    assert np.isnan(rows[missing][:, header.index("RT")]).all()
    assert not np.isnan(rows[~missing][:, header.index("BUTTON")]).any()
    text = (tree.root / "nsddata/ppdata/subj01/behav/responses.tsv").read_text()
    assert "\tNaN\t" in text


def test_a_short_subject_has_pictures_with_every_number_of_showings(tree, stim_info):
    assert (tree.sessions(1), tree.sessions(2)) == (6, 4)
    shown = ((reps(stim_info, 2) > 0) & (reps(stim_info, 2) <= 240)).sum(axis=1)
    planned = reps(stim_info, 2)[:, 0] > 0
    assert set(shown[planned]) == {0, 1, 2, 3}
    assert shown.sum() == 240


def test_a_shared_picture_is_first_seen_late_and_another_never(tree, stim_info):
    shared = np.array(column(stim_info, "shared1000")) == "True"
    first = np.sort(reps(stim_info, 2)[shared][:, 0])
    assert first[-1] > 300
    assert ((first > 180) & (first <= 240)).any()


def test_some_pictures_of_the_catalogue_are_never_planned(stim_info):
    never = np.all([np.array(column(stim_info, f"subject{k}")) == "0" for k in range(1, 9)], axis=0)
    assert never.sum() >= 3
