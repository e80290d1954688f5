"""One job a run folder: a lock that a dead job does not leave closed for ever."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from fmri_lightning.errors import ResourceError

REFRESH_S = 30.0
"""A living job touches its lock this often."""
STALE_S = 600.0
"""A lock of another host that was not touched for so long belongs to a dead job."""
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
"""What a file system without hard links answers."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        pid: Process.
        host: Its machine.
        job: Its SLURM job, or "".
        restart: How often SLURM has requeued that job.
    """

    pid: int
    host: str
    job: str = ""
    restart: int = 0

    @classmethod
    def this_process(cls) -> Holder:
        """Describe this process."""
        restart = os.environ.get("SLURM_RESTART_COUNT", "")
        job = os.environ.get("SLURM_JOB_ID", "")
        return cls(os.getpid(), platform.node(), job, int(restart) if restart.isdigit() else 0)

    @classmethod
    def parse(cls, text: str) -> Holder | None:
        """Read what a lock says; None where it cannot be read."""
        try:
            fields = json.loads(text)
            return cls(
                int(fields["pid"]), str(fields["host"]), str(fields.get("job", "")), int(fields.get("restart", 0))
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


@contextlib.contextmanager
def run_lock(folder: Path | str) -> Iterator[None]:
    """Hold a run folder, so that a second job on it is refused rather than mixed in.

    The lock is a file naming process, host and job, readable over network file systems and touched while its holder
    lives. It is taken over from a process that died on this host, from an earlier start of the same SLURM job, and from
    a job of another host that has not touched it for ten minutes.

    Args:
        folder: The run folder; made if needed.

    Yields:
        Nothing; the lock is held inside the block.

    Raises:
        ResourceError: If another process holds it.
    """
    lock = Path(folder) / ".lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    me = Holder.this_process()
    while not _take(lock, me):
        _clear_stale_lock(lock, me)
    released = threading.Event()
    threading.Thread(target=_keep_fresh, args=(lock, me, released), name="run lock", daemon=True).start()
    try:
        yield
    finally:
        released.set()
        if _is_mine(lock, me):
            lock.unlink(missing_ok=True)


def require_unlocked(folder: Path | str) -> None:
    """Refuse a folder that another job holds, without holding it.

    Args:
        folder: The run folder, which need not exist.

    Raises:
        ResourceError: If a living process holds it.
    """
    lock = Path(folder) / ".lock"
    if lock.exists():
        _clear_stale_lock(lock, Holder.this_process())


def _take(lock: Path, me: Holder) -> bool:
    """Make the lock unless there is one, with its text in it from the first moment."""
    # The host too: containers on several hosts count their processes alike.
    written = lock.with_name(f".lock.{me.host}.{me.pid}.tmp")
    text = json.dumps(asdict(me))
    try:
        written.write_text(text, encoding="utf-8")
        try:
            os.link(written, lock)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            return _take_without_links(lock, text)
    finally:
        written.unlink(missing_ok=True)
    return True


def _take_without_links(lock: Path, text: str) -> bool:
    """Make the lock on a file system without hard links."""
    try:
        handle = open(lock, "x", encoding="utf-8")  # noqa: SIM115  # closed below; an empty lock must not stay
    except FileExistsError:
        return False
    try:
        with handle:
            handle.write(text)
    except OSError:
        lock.unlink(missing_ok=True)
        raise
    return True


def _keep_fresh(lock: Path, me: Holder, released: threading.Event) -> None:
    while not released.wait(REFRESH_S):
        with contextlib.suppress(OSError):
            if _is_mine(lock, me):
                os.utime(lock)


def _is_mine(lock: Path, me: Holder) -> bool:
    """A job that was suspended for long may have lost its lock to another."""
    try:
        return Holder.parse(lock.read_text(encoding="utf-8")) == me
    except OSError:
        return False


def _clear_stale_lock(lock: Path, me: Holder) -> None:
    """Remove the lock of a dead job, or refuse."""
    try:
        with open(lock, "r+", encoding="utf-8") as handle:
            # Two jobs may find the same dead lock: the removal itself is exclusive, and only of the file we read. Where
            # the file system locks nothing, two jobs that find a dead lock in the same instant may both get in.
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            text = handle.read()
            still_there = lock.exists() and os.fstat(handle.fileno()).st_ino == lock.stat().st_ino
            if not still_there:
                return
            holder = Holder.parse(text)
            if holder is not None and _is_dead(holder, me, lock):
                lock.unlink(missing_ok=True)
                return
    except FileNotFoundError:
        return
    who = "another job" if holder is None else f"process {holder.pid} on {holder.host}"
    raise ResourceError(f"{lock.parent} is in use by {who}; wait for it, or remove {lock} if that job is dead")


def _is_dead(holder: Holder, me: Holder, lock: Path) -> bool:
    if holder.job and holder.job == me.job and holder.restart < me.restart:
        return True
    if holder.host == me.host:
        return not _is_alive(holder.pid)
    return _untouched_s(lock) > STALE_S


def _untouched_s(lock: Path) -> float:
    """Measure by the clock of the file system: those of two hosts may differ."""
    probe = lock.with_name(f".clock.{os.getpid()}.tmp")
    try:
        probe.touch()
        return probe.stat().st_mtime - lock.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
