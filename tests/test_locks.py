"""One job a folder; a dead one does not close it for ever."""

import errno
import json
import os
import platform
import subprocess
import sys
import threading
import time

import pytest

from fmri_lightning import locks
from fmri_lightning.errors import ResourceError
from fmri_lightning.locks import require_unlocked, run_lock


def test_a_second_job_is_refused_and_the_lock_is_released(tmp_path):
    with run_lock(tmp_path):
        with pytest.raises(ResourceError, match=f"process {os.getpid()} on {platform.node()}"), run_lock(tmp_path):
            pass
        assert (tmp_path / ".lock").exists(), "a refused job must not free the holder's lock"
    with pytest.raises(RuntimeError, match="failed"), run_lock(tmp_path):
        raise RuntimeError("failed")
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lock = tmp_path / ".lock"
    lock.write_text(json.dumps({"pid": dead.pid, "host": platform.node()}))
    with run_lock(tmp_path):
        assert json.loads(lock.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("text", ['{"pid": 1, "host": "elsewhere"}', "", "not json"])
def test_a_lock_that_cannot_be_judged_is_respected(tmp_path, text):
    (tmp_path / ".lock").write_text(text)
    with pytest.raises(ResourceError, match="if that job is dead"), run_lock(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() == text


def write_lock(folder, age_s=0.0, **fields):
    lock = folder / ".lock"
    lock.write_text(json.dumps({"pid": os.getpid(), "host": "elsewhere", **fields}))
    then_s = time.time() - age_s
    os.utime(lock, (then_s, then_s))
    return lock


def test_a_lock_of_another_host_that_nobody_touches_is_taken_over(tmp_path):
    write_lock(tmp_path, age_s=locks.STALE_S - 60)
    with pytest.raises(ResourceError, match="on elsewhere"), run_lock(tmp_path):
        pass
    write_lock(tmp_path, age_s=locks.STALE_S + 60)
    with run_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("holder", "me", "taken"),
    [
        ({"job": "7", "restart": 0}, ("7", "1"), True),
        ({"job": "7", "restart": 1}, ("7", "1"), False),
        ({"job": "7"}, ("7", None), False),
        ({"job": "6", "restart": 0}, ("7", "1"), False),
        ({}, ("7", "1"), False),
    ],
)
def test_a_requeued_slurm_job_takes_over_from_its_earlier_start(tmp_path, monkeypatch, holder, me, taken):
    for name, value in zip(("SLURM_JOB_ID", "SLURM_RESTART_COUNT"), me, strict=True):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    lock = write_lock(tmp_path, **holder)
    if not taken:
        with pytest.raises(ResourceError, match="on elsewhere"), run_lock(tmp_path):
            pass
        return
    with run_lock(tmp_path):
        assert json.loads(lock.read_text())["restart"] == 1


def test_a_file_system_without_hard_links_will_do(tmp_path, monkeypatch):
    def refuses(*args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuses)
    with run_lock(tmp_path), pytest.raises(ResourceError, match="in use"), run_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_living_job_touches_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "REFRESH_S", 0.01)
    with run_lock(tmp_path):
        old_s = time.time() - 1000
        os.utime(tmp_path / ".lock", (old_s, old_s))
        until_s = time.monotonic() + 10
        while (tmp_path / ".lock").stat().st_mtime < old_s + 500 and time.monotonic() < until_s:
            time.sleep(0.01)
        assert (tmp_path / ".lock").stat().st_mtime > old_s + 500
    for thread in threading.enumerate():
        if thread.name == "run lock":
            thread.join(10)
            assert not thread.is_alive()


def test_a_full_disk_leaves_no_empty_lock(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space"), run_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_lost_its_lock_leaves_the_new_holders_alone(tmp_path):
    with run_lock(tmp_path):
        lock = write_lock(tmp_path, pid=1)
    assert json.loads(lock.read_text())["pid"] == 1


def test_a_folder_may_be_looked_at_without_being_held(tmp_path):
    require_unlocked(tmp_path / "nowhere")
    write_lock(tmp_path)
    with pytest.raises(ResourceError, match="on elsewhere"):
        require_unlocked(tmp_path)
    write_lock(tmp_path, age_s=locks.STALE_S + 60)
    require_unlocked(tmp_path)
    assert list(tmp_path.iterdir()) == []
