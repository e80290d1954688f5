"""Room on disks, and whether a folder can be written."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

GIB = 2**30


def existing(folder: Path) -> Path:
    """Find the folder itself, or the first one above it that exists."""
    folder = folder.expanduser().absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def is_writable(folder: Path) -> bool:
    """Say whether files can be made in a folder, or the folder itself where it is not there yet."""
    place = existing(folder)
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def is_on_home(folder: Path) -> bool:
    """Say whether a folder lies below the home directory, where quotas are small."""
    return folder.expanduser().absolute().resolve().is_relative_to(Path.home().resolve())


def free_lines(folders: dict[str, Path]) -> list[str]:
    """Say how much room is left, one line a file system.

    Args:
        folders: What a folder is, and the folder; it need not exist yet.

    Returns:
        For instance "75.3 GiB free of 200.0: /data/nsd (--data)".
    """
    places: dict[int, list[str]] = {}
    usage = {}
    for what, folder in folders.items():
        there = existing(folder)
        device = there.stat().st_dev
        usage[device] = shutil.disk_usage(there)
        places.setdefault(device, []).append(f"{shown(folder)} ({what})")
    return [
        f"{usage[device].free / GIB:.1f} GiB free of {usage[device].total / GIB:.1f}: {', '.join(words)}"
        for device, words in places.items()
    ]


def shown(folder: Path) -> str:
    """Write a path from the home directory on, where it lies below it."""
    folder = folder.expanduser().absolute()
    return f"~/{folder.relative_to(Path.home())}" if folder.is_relative_to(Path.home()) else str(folder)


def size_bytes(folder: Path, seconds: float = 1.0) -> tuple[int, bool]:
    """Add up the files below a folder, links not followed.

    Args:
        folder: Where to look.
        seconds: When to stop; caches on network file systems can hold a great many files.

    Returns:
        Bytes, and whether all files were seen.
    """
    total, pending, until_s = 0, [folder], time.monotonic() + seconds
    while pending:
        if time.monotonic() > until_s:
            return total, False
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total, True


def size_text(n_bytes: int) -> str:
    """Write a size with a unit that suits it.

    Example:
        >>> size_text(2_500_000), size_text(3 * 2**30)
        ('2.4 MiB', '3.0 GiB')
    """
    return f"{n_bytes / 2**20:.1f} MiB" if n_bytes < GIB else f"{n_bytes / GIB:.1f} GiB"
