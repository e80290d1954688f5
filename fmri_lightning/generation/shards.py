"""shards/*.jsonl: one line per finished picture, appended by each rank for itself; the memory of a resumed run."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class PictureRecord:
    """One line.

    Attributes:
        trial_id: From the index.
        nsd_id: Picture that was shown.
        sample: Which of the K pictures, 0-based.
        seed: Seed of its noise.
        image: Path relative to the run folder; "" for a failure.
        sha256: Of the PNG file; "" for a failure.
        batch_shape: Padded batch it was drawn in; another shape may round differently.
        reason: Why there is no picture, or "".
        retried_in: "float32" where half precision gave no finite picture and this one was drawn again, else "".
    """

    trial_id: int
    nsd_id: int
    sample: int
    seed: int
    image: str
    sha256: str
    batch_shape: int
    reason: str = ""
    retried_in: str = ""

    @property
    def unit(self) -> tuple[int, int]:
        """Which picture of the run this is: (trial_id, sample)."""
        return self.trial_id, self.sample


def shard_path(folder: Path, rank: int, shard: tuple[int, int]) -> Path:
    """Name a rank's file; jobs of an array add their share, so that no two processes append to one file."""
    part = "" if shard == (1, 1) else f"part{shard[0]:04d}of{shard[1]:04d}_"
    return folder / "shards" / f"{part}rank{rank:04d}.jsonl"


def open_shard(path: Path) -> IO[bytes]:
    """Open a shard for appending, after closing a line that a killed process left torn.

    Args:
        path: As :func:`shard_path` names it.

    Returns:
        A binary file at its end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = open(path, "ab+")  # noqa: SIM115  # closed by the writer
    if handle.tell() > 0:
        handle.seek(-1, os.SEEK_END)
        if handle.read(1) != b"\n":
            handle.write(b"\n")
    return handle


def append_record(handle: IO[bytes], record: PictureRecord) -> None:
    """Append one line and push it to the disk.

    Args:
        handle: As :func:`open_shard` gave it.
        record: The picture.
    """
    handle.write((json.dumps(asdict(record)) + "\n").encode())
    handle.flush()
    os.fsync(handle.fileno())


def read_records(folder: Path) -> list[PictureRecord]:
    """Read all shards of a run; torn lines are skipped.

    Args:
        folder: The run folder.

    Returns:
        Every record, in order of file and line.
    """
    records = []
    for path in sorted((folder / "shards").glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                records.append(PictureRecord(**json.loads(line)))
            except (ValueError, TypeError):
                continue
    return records


def is_whole(folder: Path, record: PictureRecord) -> bool:
    """Check a recorded picture on the disk byte for byte.

    Args:
        folder: The run folder.
        record: Its line.

    Returns:
        Whether the file is there and is what was written.
    """
    if record.reason or not record.image:
        return False
    try:
        payload = (folder / record.image).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(payload).hexdigest() == record.sha256


def finished_units(folder: Path, wanted: set[tuple[int, int]] | None = None) -> dict[tuple[int, int], PictureRecord]:
    """Find the pictures of a run that exist and are whole.

    Args:
        folder: The run folder.
        wanted: Look at these units only; None looks at all.

    Returns:
        One record per unit, the latest that holds.
    """
    found: dict[tuple[int, int], PictureRecord] = {}
    for record in reversed(read_records(folder)):
        if record.unit not in found and (wanted is None or record.unit in wanted) and is_whole(folder, record):
            found[record.unit] = record
    return found


def failures(folder: Path, finished: set[tuple[int, int]]) -> dict[tuple[int, int], PictureRecord]:
    """Find the pictures that were tried and failed, and have not succeeded since.

    Args:
        folder: The run folder.
        finished: Units that are whole.

    Returns:
        The latest failure of each.
    """
    return {record.unit: record for record in read_records(folder) if record.reason and record.unit not in finished}
