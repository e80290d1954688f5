"""Sessions are read one by one: by any number of jobs, damaged ones apart from whole ones, verified on request."""

import h5py
import numpy as np
import pytest

from fmri_lightning.betas import nsd_volumes
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.manifest import read_json
from tests.betas.made_stores import bytes_of, make, refused
from tests.index.tiny_nsd import B3

reader_read = nsd_volumes.read_voxels


def test_a_damaged_session_never_poisons_finished_ones(own_tree, tmp_path, monkeypatch):
    tree, index_root = own_tree
    whole = make(tree, index_root, tmp_path / "whole")
    path = tree.root / f"nsddata_betas/ppdata/subj01/func1pt8mm/{B3}/betas_session01.hdf5"
    original = path.read_bytes()
    path.unlink()
    with h5py.File(path, "w") as handle:
        handle["betas"] = np.ones((24, 5, 8, 6), dtype=np.int16)
    message = r"betas_session01\.hdf5: 1\d\d of 1\d\d voxels .* constant or NaN.*; 1 finished sessions are kept"
    with pytest.raises(BadInputError, match=message):
        make(tree, index_root, tmp_path / "cut")
    folder = tmp_path / "cut" / "betas" / "subj01"
    assert [p.name for p in folder.iterdir()] == [".building"]
    path.write_bytes(original)
    read = []
    monkeypatch.setattr(nsd_volumes, "read_voxels", lambda path, ijk: read.append(path.name) or reader_read(path, ijk))
    make(tree, index_root, tmp_path / "cut")
    assert read == ["betas_session01.hdf5"]
    assert bytes_of(folder) == bytes_of(whole.folder)
    kept = {s["session"]: s["kept_from_an_earlier_run"] for s in read_json(folder / "run.json")["sessions"]}
    assert kept == {1: False, 2: True}


def test_a_bit_flipped_in_the_middle_of_a_session_is_found_by_its_hash(own_tree, tmp_path, monkeypatch, capsys):
    tree, index_root = own_tree
    # Head and tail of a session of NSD leave out its middle; of a tiny one they do so only when they are small.
    monkeypatch.setattr("fmri_lightning.manifest._MIB", 1024)
    made = make(tree, index_root, tmp_path, verify_files=True)
    make(tree, index_root, tmp_path, verify_files=True)
    assert "2 session files are those the store was made from" in capsys.readouterr().out
    path = tree.root / f"nsddata_betas/ppdata/subj01/func1pt8mm/{B3}/betas_session02.hdf5"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    make(tree, index_root, tmp_path)
    with pytest.raises(BadInputError, match=r"betas_session02\.hdf5 is not the file that .* \(1 of 2 files changed"):
        make(tree, index_root, tmp_path, verify_files=True)
    assert made.manifest.content_hash == BetaStore.open(made.folder).manifest.content_hash


def test_files_that_nobody_hashed_cannot_be_verified(tiny, tiny_index, tmp_path):
    make(tiny, tiny_index, tmp_path)
    with pytest.raises(BadInputError, match="was made without --verify_files"):
        make(tiny, tiny_index, tmp_path, verify_files=True)


def test_when_every_session_is_damaged_nothing_is_left(own_tree, tmp_path):
    tree, index_root = own_tree
    for session in (1, 2):
        path = tree.root / f"nsddata_betas/ppdata/subj01/func1pt8mm/{B3}/betas_session{session:02d}.hdf5"
        path.unlink()
        with h5py.File(path, "w") as handle:
            handle["betas"] = np.ones((24, 5, 8, 6), dtype=np.int16)
    refused(tree, index_root, tmp_path, "voxels of the mask are constant or NaN")


def test_any_number_of_jobs_gives_the_same_bytes(tiny, tiny_index, tmp_path, capsys):
    one = make(tiny, tiny_index, tmp_path / "one")
    two = make(tiny, tiny_index, tmp_path / "two", jobs=2)
    assert bytes_of(one.folder) == bytes_of(two.folder)
    assert one.manifest.config == two.manifest.config
    assert read_json(two.folder / "run.json")["jobs"] == 2
    lines = capsys.readouterr().out
    assert lines.count("session 01: 0.0 MB of betas_session01.hdf5 in ") == 2
    with pytest.raises(UsageError, match="--jobs is at least 1, not 0"):
        make(tiny, tiny_index, tmp_path / "none", jobs=0)


def test_a_damaged_session_in_another_process_is_named(own_tree, tmp_path):
    tree, index_root = own_tree
    path = tree.root / f"nsddata_betas/ppdata/subj01/func1pt8mm/{B3}/betas_session02.hdf5"
    path.unlink()
    with h5py.File(path, "w") as handle:
        handle["betas"] = np.ones((24, 5, 8, 6), dtype=np.int16)
    with pytest.raises(BadInputError, match=r"betas_session02.*1 finished sessions are kept"):
        make(tree, index_root, tmp_path, jobs=2)


def test_bytes_and_seconds_of_every_session_are_kept(tiny, tiny_index, tmp_path):
    made = make(tiny, tiny_index, tmp_path)
    sessions = read_json(made.folder / "run.json")["sessions"]
    assert [s["session"] for s in sessions] == [1, 2]
    assert {s["bytes_read"] for s in sessions} == {made.betas.shape[1] * (24 * 2 + 65)}
    assert all(s["read_s"] > 0 for s in sessions)
