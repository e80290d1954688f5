"""Provenance: what an artefact is, what it was made from, and files that are whole or absent."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fmri_lightning import __version__
from fmri_lightning.errors import BadInputError

MADE_BY = {
    "simulation": "simulate",
    "index": "index",
    "annotations": "index",
    "betas": "betas",
    "preproc": "betas",
    "clip_cache": "clip-cache",
    "encoder": "fit",
    "trunk": "fit",
    "new_subject": "fit",
    "adapter": "fit",
    "calibration": "calibrate",
    "reliability": "reliability",
    "lora": "fit",
    "reconstructions": "predict",
    "evaluation": "evaluate",
    "ratings": "ratings",
    "brain": "brain",
}
"""Which command writes which kind of artefact."""

_MIB = 1 << 20


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Write a file under a temporary name beside it, and move it into place when the block succeeds.

    Args:
        path: The final name; its folder is made if needed.

    Yields:
        The temporary name to write to, on the same file system.

    Raises:
        BadInputError: If the block left no file behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if not temporary.exists():
            raise BadInputError(f"nothing was written for {path}")
        _flush_to_disk(temporary)
        temporary.replace(path)
        _flush_to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path | str, obj: Any) -> None:
    """Write an object as indented JSON, whole or not at all.

    Args:
        path: File to write.
        obj: Plain types; paths and numpy scalars are written as text and numbers. NaN is refused.
    """
    text = json.dumps(obj, indent=2, default=_plain, allow_nan=False, ensure_ascii=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} does not go into JSON")


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Args:
        path: File to read.

    Returns:
        The decoded object.

    Raises:
        BadInputError: If the file is missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInputError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} cannot be read as JSON: {error}") from error


def content_hash(*parts: np.ndarray | bytes | str) -> str:
    """Hash payloads by value, so that it does not change with file formats and library versions.

    Args:
        parts: Arrays of numbers or text (hashed with type and shape, little-endian), bytes or text.

    Returns:
        64 hexadecimal digits of SHA-256.

    Raises:
        ValueError: If an array holds Python objects.

    Example:
        >>> import numpy as np
        >>> content_hash(np.arange(3, dtype=">i4")) == content_hash(np.arange(3, dtype="<i4"))
        True
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            _update_with_array(digest, part)
        else:
            payload = part.encode() if isinstance(part, str) else part
            digest.update(f"{type(part).__name__}:{len(payload)};".encode())
            digest.update(payload)
    return digest.hexdigest()


def _update_with_array(digest: Any, array: np.ndarray) -> None:
    if array.dtype.hasobject:
        raise ValueError("arrays of Python objects have no stable bytes; hash numbers or fixed-width text")
    if array.dtype.kind == "U":
        # The width of a text array is an accident of its longest entry.
        digest.update(f"text:{array.shape};".encode())
        digest.update(json.dumps(array.ravel().tolist()).encode())
        return
    little = array.dtype.newbyteorder("<")
    digest.update(f"{little.str}:{array.shape};".encode())
    rows = max(1, 64 * _MIB // max(1, array.nbytes // max(1, len(array)))) if array.ndim else 1
    for block in (array[i : i + rows] for i in range(0, len(array), rows)) if array.ndim else (array,):
        digest.update(np.ascontiguousarray(block, dtype=little).data.cast("B") if block.size else b"")


def file_fingerprint(path: Path | str) -> dict[str, Any]:
    """Identify a large raw input without reading it whole.

    Args:
        path: An existing file.

    Returns:
        ``size`` in bytes and ``head_tail_sha256`` of its first and last MiB.

    Raises:
        BadInputError: If the file cannot be read.
    """
    try:
        with open(path, "rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            digest = hashlib.sha256(handle.read(_MIB))
            handle.seek(max(0, size - _MIB))
            digest.update(handle.read(_MIB))
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from error
    return {"size": size, "head_tail_sha256": digest.hexdigest()}


def file_sha256(path: Path | str) -> str:
    """Hash a whole file: what head and tail cannot tell, a flipped bit in its middle.

    Args:
        path: An existing file.

    Returns:
        64 hexadecimal digits.

    Raises:
        BadInputError: If the file cannot be read.
    """
    try:
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from error


def versions() -> dict[str, str]:
    """List the versions that made an artefact: Python, ourselves, and the libraries imported so far.

    From a git checkout also its commit, with "-dirty" where files differ from it.
    """
    found = {"python": platform.python_version(), "fmri_lightning": __version__}
    if commit := _commit():
        found["commit"] = commit
    for name in ("numpy", "scipy", "torch", "lightning", "diffusers", "transformers", "pyarrow", "h5py", "PIL"):
        module = sys.modules.get(name)
        if module is not None and hasattr(module, "__version__"):
            found[name] = str(module.__version__)
    return found


@functools.cache
def _commit() -> str:
    """Ask git for the commit that this code is of; "" where it was installed from a wheel, or git is not there."""
    checkout = Path(__file__).parents[1]
    if not (checkout / ".git").exists():
        return ""
    asked = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.strip() if told.returncode == 0 else ""


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@dataclass
class Manifest:
    """What lies beside an artefact.

    Attributes:
        kind: A key of :data:`MADE_BY`.
        content_hash: Hash over the artefact's payload.
        inputs: Name of each input and the content hash it had.
        config: Settings that decide the contents.
        versions: Library versions.
        created: UTC time, ISO 8601.
    """

    kind: str
    content_hash: str
    inputs: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=versions)
    created: str = field(default_factory=_now)


def write_manifest(path: Path | str, manifest: Manifest) -> None:
    """Write a manifest; last of all, for its presence says that the artefact is whole.

    Args:
        path: The JSON file, or the folder that gets a ``manifest.json``.
        manifest: What to write.
    """
    write_json(_manifest_file(path), dataclasses.asdict(manifest))


def read_manifest(path: Path | str, kind: str) -> Manifest:
    """Read a manifest of a known kind.

    Args:
        path: The JSON file, or the folder that holds ``manifest.json``.
        kind: The kind it must be.

    Returns:
        The manifest.

    Raises:
        BadInputError: If it is missing, unreadable or of another kind; the message names the command that makes it.
    """
    file = _manifest_file(path)
    hint = f"make it with: fmri-lightning {MADE_BY.get(kind, kind)}"
    if not file.is_file():
        raise BadInputError(f"no {kind} at {file.parent} ({file.name} is missing); {hint}")
    plain = read_json(file)
    try:
        manifest = Manifest(**plain)
    except TypeError as error:
        raise BadInputError(f"{file} is not a manifest of this version; {hint}") from error
    if manifest.kind != kind:
        raise BadInputError(f"{file} describes {manifest.kind!r}, expected {kind!r}; {hint}")
    return manifest


def _manifest_file(path: Path | str) -> Path:
    path = Path(path)
    return path if path.suffix == ".json" else path / "manifest.json"


def require_input(manifest: Manifest, name: str, expected_hash: str, hint: str) -> None:
    """Refuse an artefact that was made from another input than the one at hand.

    Args:
        manifest: Manifest of the artefact.
        name: Name of the input in ``manifest.inputs``.
        expected_hash: Content hash of the input at hand.
        hint: The command to run again, for instance "fmri-lightning betas --subject subj01".

    Raises:
        BadInputError: If the hashes differ or the input is not named.
    """
    recorded = manifest.inputs.get(name)
    if recorded != expected_hash:
        was = "no recorded one" if recorded is None else recorded[:12]
        raise BadInputError(
            f"{manifest.kind} was made from another {name} ({was}, at hand is {expected_hash[:12]}); run again: {hint}"
        )
