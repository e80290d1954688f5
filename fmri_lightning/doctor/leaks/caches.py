"""Embedding files: the payload is what was hashed, it covers the test set, and its own statistics are as it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.doctor.leaks.parts import RunParts
from fmri_lightning.doctor.leaks.statistics import agrees
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import content_hash

AGAIN = "run again: fmri-lightning clip-cache --overwrite"
BLOCK = 4096
"""Rows that are turned into float64 at a time."""


def check_cache(name: str, cache: EmbeddingCache, parts: RunParts) -> str:
    """Check one embedding file of a run.

    Args:
        name: "clip_cache", "target_cache" or "embeddings".
        cache: The opened file.
        parts: The run.

    Returns:
        A line for the report.

    Raises:
        BadInputError: Payload, hash, ids or statistics do not agree; the message names stimuli.
    """
    _require_payload(cache, parts)
    if name != "embeddings":
        cache.row_numbers(parts.stimuli("test"))
    _require_own_statistics(cache)
    n_test = int(np.isin(cache.ids, parts.stimuli("test")).sum())
    return (
        f"{name}: {len(cache)} pictures as hashed, {n_test} test stimuli of {parts.subject} among them; its own mean "
        "and deviation are over all of them and no fitted part may carry them"
    )


def _require_payload(cache: EmbeddingCache, parts: RunParts) -> None:
    """Hash both copies: opening a cache trusts the mapped one by its name."""
    ids, vectors = read_payload(cache.path)
    in_file, mapped = content_hash(ids, vectors), content_hash(cache.ids, cache.embeddings)
    if in_file == mapped == cache.content_hash:
        return
    copy = getattr(cache.embeddings, "filename", None)
    wrong, found = (cache.path, in_file) if in_file != cache.content_hash else (Path(str(copy)), mapped)
    todo = AGAIN if wrong == cache.path else "remove this copy, it is derived again"
    same_shape = vectors.shape == cache.embeddings.shape and np.array_equal(ids, cache.ids)
    differ = ids[(vectors != cache.embeddings).any(axis=1)] if same_shape else ids[:0]
    where = f"; it differs in {parts.name_stimuli(differ)}" if len(differ) else ""
    raise BadInputError(
        f"{wrong} does not hold what was hashed (found {found[:12]}, expected {cache.content_hash[:12]}){where}; {todo}"
    )


def read_payload(path: Path) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Read ids (n,) and vectors (n, dim) from the parquet file itself, not from its mapped copy.

    Raises:
        BadInputError: The file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
        ids = table.column("nsd_id").to_numpy().astype(np.int32)
        vectors = table.column("embedding").combine_chunks().flatten().to_numpy().astype(np.float32, copy=False)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise BadInputError(f"{path} is damaged ({str(error).splitlines()[0]}); {AGAIN}") from error
    return ids, vectors.reshape(len(ids), -1)


def _require_own_statistics(cache: EmbeddingCache) -> None:
    space = cache.space
    if space.mean is None or space.std is None:
        return
    mean, std = _moments(cache.embeddings)
    for word, found, expected in (("mean", space.mean, mean), ("std", space.std, std)):
        if not agrees(np.asarray(found), expected, np.maximum(std, 1e-6 * std.max())):
            raise BadInputError(f"{cache.path}: the {word} in its description is not that of its pictures; {AGAIN}")


def _moments(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    blocks = range(0, len(vectors), BLOCK)
    mean = sum(vectors[i : i + BLOCK].sum(axis=0, dtype=np.float64) for i in blocks) / len(vectors)
    squares = sum(np.square(vectors[i : i + BLOCK] - mean).sum(axis=0) for i in blocks)
    return np.asarray(mean), np.sqrt(np.asarray(squares) / len(vectors))
