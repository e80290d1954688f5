import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.io import loadmat

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index import nsd_checks, published
from fmri_lightning.index.command import index
from fmri_lightning.index.nsd import EXPDESIGN, STIM_INFO, read_responses, responses_file, to_nsd_id
from fmri_lightning.index.split import assign_split, is_validation, split_hash
from fmri_lightning.index.table import arrow_schema, index_manifest, read_index, subject_folder
from fmri_lightning.manifest import content_hash
from fmri_lightning.records import TRIAL_DTYPES
from tests.index.tiny_nsd import write_tiny_nsd


def tsv(tiny, subject="subj01"):
    with open(tiny.root / responses_file(subject), newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def edit_column(path: Path, column: str, change, delimiter="\t"):
    with open(path, newline="") as handle:
        header, *rows = list(csv.reader(handle, delimiter=delimiter))
    place = header.index(column)
    for number, row in enumerate(rows):
        row[place] = change(number, row[place])
    with open(path, "w", newline="") as handle:
        csv.writer(handle, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])


@pytest.mark.parametrize("subject", ["subj01", "subj02"])
def test_rows_agree_with_a_plain_read_of_the_files(tiny, tmp_path, subject):
    index(tiny.root, subject=subject, out=tmp_path)
    table, rows = read_index(tmp_path, subject), tsv(tiny, subject)
    assert len(table) == len(rows) == len(tiny.nsd_ids[subject])
    assert table.nsd_id.tolist() == [int(row["73KID"]) - 1 for row in rows] == tiny.nsd_ids[subject].tolist()
    assert table.session.tolist() == [int(row["SESSION"]) for row in rows]
    assert table.run.tolist() == [int(row["RUN"]) for row in rows]
    assert table.trial_in_run.tolist() == [int(row["TRIAL"]) for row in rows]
    assert table.global_trial.tolist() == list(range(len(rows)))
    assert table.beta_index.tolist() == table.trial_in_session.tolist() == [t % 24 for t in range(len(rows))]
    with open(tiny.root / STIM_INFO, newline="") as handle:
        catalogue = list(csv.DictReader(handle))
    for t in range(len(table)):
        picture = catalogue[table.nsd_id[t]]
        assert (str(table.coco_id[t]), table.coco_split[t]) == (picture["cocoId"], picture["cocoSplit"])
        assert str(table.shared1000[t]) == picture["shared1000"]
        number = int(subject[4:])
        assert int(picture[f"subject{number}_rep{table.repeat[t]}"]) == table.global_trial[t] + 1
    assert table.n_repeats.tolist() == [int((table.nsd_id == i).sum()) for i in table.nsd_id]
    assert all((tiny.root / path).is_file() for path in table.beta_path)


def test_parquet_has_the_explicit_schema_and_a_verifiable_manifest(tiny, tmp_path):
    index(tiny.root, out=tmp_path)
    file = pq.ParquetFile(subject_folder(tmp_path, "subj01") / "index.parquet")
    assert file.schema_arrow.equals(arrow_schema())
    assert file.schema_arrow.names == list(TRIAL_DTYPES)
    manifest = index_manifest(tmp_path, "subj01")
    table = read_index(tmp_path, "subj01")
    assert manifest.config["split_hash"] == split_hash(table.nsd_id, table.split)
    assert manifest.config["n_sessions"] == 2
    assert set(manifest.inputs) == {responses_file("subj01"), EXPDESIGN, STIM_INFO}
    assert manifest.config["simulated"] is False


def test_split_is_by_picture_shared_are_test_and_a_hashed_tenth_is_val(tiny, tmp_path):
    index(tiny.root, out=tmp_path)
    table = read_index(tmp_path, "subj01")
    assert np.array_equal(table.split == "test", table.shared1000)
    others = ~table.shared1000
    assert np.array_equal(table.split[others] == "val", [is_validation(i) for i in table.nsd_id[others]])
    groups = [set(table.of_split(name).nsd_id.tolist()) for name in ("train", "val", "test")]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert 0.09 < np.mean([is_validation(i) for i in range(20_000)]) < 0.11


def test_a_picture_in_two_splits_is_refused():
    ids, split = np.array([4, 5, 4]), np.array(["train", "val", "test"])
    with pytest.raises(BadInputError, match=r"1 pictures are in two splits, first \[4\]"):
        split_hash(ids, split)


def test_an_empty_split_is_refused():
    ids = np.array([i for i in range(40) if not is_validation(i)])
    with pytest.raises(BadInputError, match="the val split is empty"):
        assign_split(ids, ids < 5)
    with pytest.raises(BadInputError, match="the test split is empty"):
        assign_split(np.arange(40), np.zeros(40, dtype=bool))


def test_trial_ids_are_ranks_of_the_planned_design_and_never_move(tmp_path):
    tiny = write_tiny_nsd(tmp_path / "nsd", n_shared=12, nifti=False)
    absent = set()
    design = loadmat(tiny.root / EXPDESIGN, squeeze_me=True)
    shared = design["sharedix"].astype(int) - 1
    ordering = design["masterordering"].astype(int)
    planned = sorted((shared[o - 1], t) for t, o in enumerate(ordering) if o <= len(shared))
    for subject, sessions in (("subj01", "all"), ("subj01", "1"), ("subj02", "first37")):
        out = tmp_path / subject / sessions
        index(tiny.root, subject=subject, sessions=sessions, out=out)
        table = read_index(out, subject)
        absent |= set(shared.tolist()) - set(table.nsd_id.tolist())
        for row in range(len(table)):
            if table.split[row] == "test":
                assert table.trial_id_average[row] == sorted(shared).index(table.nsd_id[row])
                assert table.trial_id_single[row] == planned.index((table.nsd_id[row], table.global_trial[row]))
            else:
                assert table.trial_id_average[row] == table.trial_id_single[row] == -1
    assert absent  # a rank among the pictures present would have moved


def test_sessions_keep_the_first_ones_and_never_move_a_picture(tiny, tmp_path):
    index(tiny.root, out=tmp_path / "all")
    index(tiny.root, sessions="1", out=tmp_path / "one")
    whole, first = read_index(tmp_path / "all", "subj01"), read_index(tmp_path / "one", "subj01")
    assert len(first) == 24
    for name in set(TRIAL_DTYPES) - {"n_repeats"}:
        assert np.array_equal(getattr(first, name), getattr(whole, name)[:24]), name


def test_one_is_taken_off_without_wrapping():
    assert to_nsd_id(np.array([1, 73000], dtype=np.uint32)).tolist() == [0, 72999]
    with pytest.raises(BadInputError, match="count from 1"):
        to_nsd_id(np.array([0, 5], dtype=np.uint16))


def test_responses_in_another_order_are_sorted(own):
    path = own.root / responses_file("subj01")
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *rows[::-1]]) + "\n")
    assert (read_responses(own.root, "subj01").id_73k - 1).tolist() == own.nsd_ids["subj01"].tolist()


# The breaks of rule 1: each of the three files moved by one.
def test_73kid_moved_by_one_is_caught(own, tmp_path):
    edit_column(own.root / responses_file("subj01"), "73KID", lambda _, text: str(int(text) + 1))
    refused(own, tmp_path, "48 trials show another picture in responses.tsv")


def test_rep_columns_moved_by_one_are_caught(own, tmp_path):
    for k in range(3):
        move = lambda _, text: str(int(text) - 1) if int(text) > 0 else text  # noqa: E731
        edit_column(own.root / STIM_INFO, f"subject1_rep{k}", move, delimiter=",")
    refused(own, tmp_path, "the rep columns of subject1")


def test_a_trial_missing_from_the_middle_is_caught(own, tmp_path):
    path = own.root / responses_file("subj01")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:10], *lines[11:]]) + "\n")
    refused(own, tmp_path, "session 1 has 23 trials, others 24")


def test_a_shared_flag_that_the_design_does_not_know_is_caught(own, tmp_path):
    first = int(loadmat(own.root / EXPDESIGN)["sharedix"].min()) - 1
    edit_column(own.root / STIM_INFO, "shared1000", lambda row, text: "False" if row == first else text, ",")
    refused(own, tmp_path, "flags 5 shared pictures, sharedix of .* lists 6")


def refused(own, tmp_path, match, **flags):
    out = tmp_path / "out"
    with pytest.raises(BadInputError, match=match) as caught:
        index(own.root, out=out, **flags)
    assert "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ({"subject": "subj07"}, r"no subject 'subj07' .*present: subj01, subj02"),
        ({"subject": "../subj01"}, "no subject"),
        ({"sessions": "3"}, "subj01 has 2 sessions"),
    ],
)
def test_what_the_tree_does_not_hold_is_refused(own, tmp_path, flags, match):
    refused(own, tmp_path, match, **flags)


@pytest.mark.parametrize(
    ("flags", "match"), [({"source": "mindeye3"}, "choose nsd"), ({"sessions": "some"}, "first37")]
)
def test_unknown_flags_are_usage_errors(own, tmp_path, flags, match):
    with pytest.raises(UsageError, match=match):
        index(own.root, out=tmp_path / "out", **flags)
    assert not (tmp_path / "out").exists()


def test_a_root_that_is_no_nsd_tree_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="give --root the folder above nsddata"):
        index(tmp_path / "nowhere", out=tmp_path / "out")


@pytest.mark.parametrize("name", [responses_file("subj01"), EXPDESIGN, STIM_INFO])
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "noise"])
def test_a_damaged_file_is_named(own, tmp_path, name, damage):
    path = own.root / name
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        cut = {"truncated": data[: len(data) // 2 + 3], "empty": b"", "noise": b"\xff\x00" * 500}
        path.write_bytes(cut[damage])
    # A table cut off between two lines contradicts the other files instead of being unreadable.
    refused(own, tmp_path, "nsd_expdesign.mat|nsd_stim_info_merged.csv|responses.tsv")


def test_another_index_in_the_way_is_refused_until_overwrite(tiny, tmp_path, capsys):
    index(tiny.root, out=tmp_path)
    before = (subject_folder(tmp_path, "subj01") / "index.parquet").read_bytes()
    index(tiny.root, out=tmp_path)
    with pytest.raises(BadInputError, match=r"holds another index .*sessions all.*--overwrite"):
        index(tiny.root, sessions="1", out=tmp_path)
    assert (subject_folder(tmp_path, "subj01") / "index.parquet").read_bytes() == before
    index(tiny.root, sessions="1", out=tmp_path, overwrite=True)
    assert len(read_index(tmp_path, "subj01")) == 24
    assert capsys.readouterr().out.splitlines()[0].endswith("index.parquet")


def test_reading_refuses_what_is_missing_damaged_or_swapped(tiny, tmp_path):
    with pytest.raises(BadInputError, match=r"present: none.*fmri-lightning index --subject subj01"):
        read_index(tmp_path, "subj01")
    for name in ("a", "b"):
        index(tiny.root, out=tmp_path / name, sessions="all" if name == "a" else "1")
    path = subject_folder(tmp_path / "a", "subj01") / "index.parquet"
    whole = path.read_bytes()
    path.write_bytes((subject_folder(tmp_path / "b", "subj01") / "index.parquet").read_bytes())
    with pytest.raises(BadInputError, match="not the index its manifest describes"):
        read_index(tmp_path / "a", "subj01")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match="cannot be read"):
        read_index(tmp_path / "a", "subj01")
    flipped = bytearray(whole)
    flipped[300] ^= 4
    path.write_bytes(flipped)
    with pytest.raises(BadInputError):
        read_index(tmp_path / "a", "subj01")


def test_split_hash_names_ids_and_splits():
    ids, split = np.array([3, 1, 3]), np.array(["train", "test", "train"])
    assert split_hash(ids, split) == content_hash(np.array([1, 3], dtype=np.int32), np.array(["test", "train"]))
    assert split_hash(ids, split) != split_hash(ids, np.array(["val", "test", "val"]))


def test_a_download_without_the_three_late_sessions_is_whole(own, tmp_path, monkeypatch):
    monkeypatch.setattr(published, "NSD_CATALOGUE", own.catalogue)
    monkeypatch.setattr(nsd_checks, "NSD_TRIALS_PER_SESSION", own.trials_per_session)
    facts = vars(published.SUBJECTS["subj01"])
    for sessions, whole in ((5, True), (2, True), (4, False)):
        subject = published.PublishedSubject(**{**facts, "sessions": sessions})
        monkeypatch.setitem(published.SUBJECTS, "subj01", subject)
        if whole:
            index(own.root, out=tmp_path / str(sessions))
            continue
        with pytest.raises(BadInputError, match=f"has 2 sessions of 24 trials, NSD has {sessions} of"):
            index(own.root, out=tmp_path / str(sessions))
