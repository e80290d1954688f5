"""Files are whole or absent, hashes are by value, and one job holds a run folder."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import (
    Manifest,
    atomic_path,
    content_hash,
    file_fingerprint,
    read_json,
    read_manifest,
    require_input,
    write_json,
    write_manifest,
)

PACKAGE = Path(__file__).resolve().parents[1] / "fmri_lightning"


def _write_half(path):
    path.write_bytes(b"ne")
    raise ZeroDivisionError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "deep" / "a.bin"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        temporary.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        _write_half(temporary)
    assert target.read_bytes() == b"old"
    assert [p.name for p in target.parent.iterdir()] == ["a.bin"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(BadInputError, match="nothing was written"), atomic_path(tmp_path / "a"):
        pass


def test_json_takes_numpy_and_paths_but_no_nan(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"n": np.int32(3), "x": np.arange(2), "p": tmp_path})
    assert read_json(file) == {"n": 3, "x": [0, 1], "p": tmp_path.as_posix()}
    with pytest.raises(ValueError, match="JSON"):
        write_json(file, {"x": float("nan")})
    assert read_json(file)["n"] == 3


@pytest.mark.parametrize("text", [None, "{", "\x00"])
def test_unreadable_json_names_the_file(tmp_path, text):
    file = tmp_path / "a.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(BadInputError, match=r"a\.json"):
        read_json(file)


def test_content_hash_is_by_value():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert content_hash(x) == content_hash(np.asfortranarray(x)) == content_hash(x.astype(">f4"))
    assert content_hash(x[:, ::2]) == content_hash(x[:, ::2].copy())
    assert content_hash(np.array(["a", "bb"])) == content_hash(np.array(["a", "bb"], dtype="U9"))


def test_content_hash_tells_apart_what_differs():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    changed = x.copy()
    changed[2, 3] += 1
    payloads = [(x,), (changed,), (x.T,), (x.ravel(),), (x.astype(np.float64),), (x, x), (np.float32(0),), ("ab",)]
    payloads += [("a", "b"), (b"ab",), (np.empty((0, 4), np.float32),), (np.array(["ab"]),)]
    hashes = [content_hash(*(np.asarray(p) if isinstance(p, np.generic) else p for p in parts)) for parts in payloads]
    assert len(set(hashes)) == len(hashes)


def test_content_hash_of_blocks_equals_that_of_the_whole(monkeypatch):
    x = np.random.default_rng(0).normal(size=(1000, 7))
    whole = content_hash(x)
    monkeypatch.setattr("fmri_lightning.manifest._MIB", 4)
    assert content_hash(x) == whole


def test_objects_have_no_stable_bytes():
    with pytest.raises(ValueError, match="stable bytes"):
        content_hash(np.array([{}], dtype=object))


def test_fingerprint_sees_head_tail_and_size(tmp_path):
    file = tmp_path / "raw"
    file.write_bytes(bytes(3 << 20))
    first = file_fingerprint(file)
    assert first["size"] == 3 << 20
    file.write_bytes(bytes((3 << 20) - 1) + b"\x01")
    assert file_fingerprint(file)["head_tail_sha256"] != first["head_tail_sha256"]
    with pytest.raises(BadInputError, match="absent"):
        file_fingerprint(tmp_path / "absent")


def test_manifest_round_trip_and_refusals(tmp_path):
    written = Manifest("betas", "a" * 64, inputs={"index": "b" * 64}, config={"roi": "nsdgeneral"})
    write_manifest(tmp_path, written)
    assert read_manifest(tmp_path, "betas") == written
    assert read_manifest(tmp_path / "manifest.json", "betas").versions["numpy"] == np.__version__
    with pytest.raises(BadInputError, match="describes 'betas', expected 'index'"):
        read_manifest(tmp_path, "index")
    with pytest.raises(BadInputError, match="make it with: fmri-lightning clip-cache"):
        read_manifest(tmp_path / "absent", "clip_cache")
    (tmp_path / "manifest.json").write_text(json.dumps({"kind": "betas"}))
    with pytest.raises(BadInputError, match="not a manifest of this version"):
        read_manifest(tmp_path, "betas")


def test_an_artefact_of_another_input_is_refused():
    manifest = Manifest("betas", "a" * 64, inputs={"index": "b" * 64})
    require_input(manifest, "index", "b" * 64, "fmri-lightning betas")
    with pytest.raises(BadInputError, match=r"made from another index .* run again: fmri-lightning betas"):
        require_input(manifest, "index", "c" * 64, "fmri-lightning betas")
    with pytest.raises(BadInputError, match="no recorded one"):
        require_input(manifest, "split", "c" * 64, "fmri-lightning betas")


def test_versions_name_the_commit_of_a_checkout_and_whether_it_was_changed(tmp_path):
    package = tmp_path / "checkout" / "fmri_lightning"
    package.mkdir(parents=True)
    for name in ("__init__", "errors", "manifest"):
        shutil.copy(PACKAGE / f"{name}.py", package)
    code = "from fmri_lightning.manifest import versions; print(versions().get('commit'))"

    def told():
        ran = [sys.executable, "-B", "-c", code]
        return subprocess.run(ran, cwd=package.parent, capture_output=True, text=True, check=True).stdout.strip()

    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=package.parent, check=True)

    assert told() == "None", "a wheel knows no commit"
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "all")
    commit = told()
    assert re.fullmatch("[0-9a-f]{12}", commit)
    (package / "errors.py").write_text((package / "errors.py").read_text() + "\n")
    assert told() == f"{commit}-dirty"
