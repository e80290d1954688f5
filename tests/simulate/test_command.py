"""The command: same bytes, nothing half-written, nothing of others touched."""

import hashlib
import json

import numpy as np
import pytest

from fmri_lightning.errors import BadInputError, ResourceError, UsageError
from fmri_lightning.simulate import nsd_tree
from fmri_lightning.simulate.command import simulate

TINY = {"subjects": "1", "shared": 6, "unique": 18, "sessions": 3, "nsdgeneral_voxels": 60, "size_px": 16}


def digests(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path, monkeypatch):
    import time

    simulate(tmp_path / "a", **TINY)
    later = time.time() + 86_400 * 400
    monkeypatch.setattr(time, "time", lambda: later)
    simulate(tmp_path / "b", **TINY)
    simulate(tmp_path / "c", **TINY, seed=1)
    first, second, other = (digests(tmp_path / name) for name in "abc")
    assert first == second
    assert set(first) == set(other)
    for name in first:
        if name.endswith((".hdf5", ".mat", ".csv", ".tsv", "ncsnr.nii.gz")):
            assert first[name] != other[name]


def test_rerunning_is_a_no_op(tmp_path, capsys):
    simulate(tmp_path / "a", **TINY)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}
    simulate(tmp_path / "a", **TINY)
    assert "nothing to do" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}


def test_another_simulation_is_refused_naming_the_difference_and_replaced_on_request(tmp_path):
    simulate(tmp_path / "a", **TINY)
    with pytest.raises(ResourceError, match="seed 0 there, 5 asked"):
        simulate(tmp_path / "a", **TINY, seed=5)
    simulate(tmp_path / "a", **TINY, seed=5, overwrite=True)
    assert json.loads((tmp_path / "a/SIMULATED.json").read_text())["seed"] == 5
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_simulation_is_never_touched(tmp_path, overwrite):
    (tmp_path / "nsddata").mkdir()
    with pytest.raises(ResourceError, match="no simulation"):
        simulate(tmp_path, **TINY, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["nsddata"]


def test_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(nsd_tree, "write_ncsnr", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "a", **TINY)
    assert list(tmp_path.iterdir()) == []


def test_dry_run_writes_nothing_and_its_bill_is_right(tmp_path, capsys):
    simulate(tmp_path / "a", **TINY, dry_run=True)
    assert not (tmp_path / "a").exists()
    assert "18 pictures" not in capsys.readouterr().out
    simulate(tmp_path / "a", nifti="none", subjects="2", **{k: v for k, v in TINY.items() if k != "subjects"})
    capsys.readouterr()
    simulate(tmp_path / "x", dry_run=True)
    out = capsys.readouterr().out
    assert "10 sessions, 5400 trials" in out
    assert "8 sessions, 4320 trials" in out
    assert float(out.split("together about ")[1].split(" MB")[0]) < 400


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"subjects": "0,1"}, "1 to 8"),
        ({"subjects": "one"}, "1 to 8"),
        ({"sessions": 7}, "choose one of 2, 3, 4, 6"),
        ({"repeats": 4}, "--repeats 4"),
        ({"missing_sessions": 3}, "--missing_sessions 3"),
        ({"nsdgeneral_voxels": 3}, "--nsdgeneral_voxels 3"),
        ({"size_px": 33}, "odd"),
        ({"seed": -1}, "--seed -1"),
        ({"layout": "bids"}, "--layout bids: choose nsd or mindeye2"),
        ({"nifti": "second"}, "--nifti second: choose none, first or all"),
    ],
)
def test_bad_flags_stop_in_one_line_before_work_starts(tmp_path, flags, message):
    with pytest.raises(UsageError, match=message) as error:
        simulate(tmp_path / "a", **{**TINY, **flags})
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_record_says_that_it_is_simulated_with_shares_and_edge_cases(tmp_path):
    simulate(tmp_path / "a", **TINY)
    record = json.loads((tmp_path / "a/SIMULATED.json").read_text())
    assert record["simulated"] is True
    facts = record["subjects"]["subj01"]
    assert sum(facts["noise_shares_nsdgeneral"].values()) == pytest.approx(1, abs=1e-3)
    assert facts["clipped_voxel_ijk"] != facts["constant_voxel_ijk"]


def test_photographs_that_are_missing_or_too_few_stop_it(tmp_path):
    with pytest.raises(BadInputError, match="does not exist"):
        simulate(tmp_path / "a", **TINY, images=tmp_path / "none")
    (tmp_path / "few").mkdir()
    with pytest.raises(BadInputError, match=r"holds 0 pictures, the experiment needs 27"):
        simulate(tmp_path / "a", **TINY, images=tmp_path / "few")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few"]


def test_simulating_imports_no_torch():
    import ast
    from pathlib import Path

    folder = Path(nsd_tree.__file__).parent
    for path in folder.rglob("*.py"):
        names = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert not {name for name in names if name.split(".")[0] in ("torch", "lightning")}, path


def test_repeats_of_a_picture_resemble_each_other_at_the_trials_the_design_names(tree):
    """A design shifted by one trial against the betas would leave the two-way score at chance, .5."""
    ids = tree.nsd_ids(1)
    general = tree.volume(1, "roi/nsdgeneral").T == 1
    blocks = [tree.betas(1, session)[:, general].astype(float) for session in range(1, 7)]
    scores = np.concatenate([(b - b.mean(axis=0)) / np.maximum(b.std(axis=0), 1) for b in blocks])
    first = {p: np.flatnonzero(ids == p) for p in np.unique(ids)}
    a = np.stack([scores[rows[0]] for rows in first.values()])
    b = np.stack([scores[rows[1]] for rows in first.values()])
    similarity = np.corrcoef(a, b)[: len(a), len(a) :]
    better = (similarity < np.diag(similarity)[:, None]).sum(axis=1) / (len(a) - 1)
    assert better.mean() > 0.7
