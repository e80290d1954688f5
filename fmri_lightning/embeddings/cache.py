"""The CLIP cache: one raw image embedding per stimulus, in parquet, read through a memory map.

Parquet is the file that people exchange; reading float lists out of it costs seconds, so a `.npy` keyed
by the content hash is derived from it once and mapped into memory afterwards.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import Manifest, atomic_path, content_hash
from fmri_lightning.records import EmbeddingSpace

if TYPE_CHECKING:
    import pyarrow as pa

_METADATA_KEY = b"fmri_lightning.clip_cache"
_HINT = "fmri-lightning clip-cache"


@dataclass(frozen=True, eq=False)
class EmbeddingCache:
    """An opened cache.

    Attributes:
        path: The parquet file.
        ids: nsd_id of each row, ascending, (n,) int32.
        embeddings: Raw projections, (n, dim) float32, memory-mapped where the folder is writable.
        space: What the vectors mean; mean, std and median norm are those of the rows.
        content_hash: SHA-256 over ids and payload.
        config: Settings and identity of the pictures that were encoded.
    """

    path: Path
    ids: NDArray[np.int32]
    embeddings: NDArray[np.float32]
    space: EmbeddingSpace
    content_hash: str
    config: dict[str, Any]

    @classmethod
    def open(cls, path: Path | str) -> EmbeddingCache:
        """Open a cache.

        Args:
            path: The parquet file written by ``clip-cache``.

        Returns:
            The cache, its vectors memory-mapped.

        Raises:
            BadInputError: If the file is missing, damaged, or no embedding cache.
        """
        path = Path(path)
        manifest, space = read_cache_manifest(path)
        ids = _read_table(path, ["nsd_id"]).column("nsd_id").to_numpy().astype(np.int32, copy=False)
        embeddings = _map_sidecar(path, manifest.content_hash, (len(ids), space.dim))
        if embeddings is None:
            embeddings = _read_embeddings(path, space.dim)
            if content_hash(ids, embeddings) != manifest.content_hash:
                raise BadInputError(f"{path} does not match its own content hash; run again: {_HINT} --overwrite")
            embeddings = _write_sidecar(path, manifest.content_hash, embeddings)
        return cls(path, ids, embeddings, space, manifest.content_hash, manifest.config)

    def __len__(self) -> int:
        return len(self.ids)

    def row_numbers(self, ids: NDArray[np.integer[Any]]) -> NDArray[np.intp]:
        """Find stimuli.

        Args:
            ids: nsd_id, (m,) integers, in any order, repeats allowed.

        Returns:
            Their row numbers, (m,).

        Raises:
            BadInputError: If a stimulus is not in the cache; the first few are named.
        """
        ids = np.asarray(ids)
        rows = np.searchsorted(self.ids, ids)
        rows = np.minimum(rows, max(len(self.ids) - 1, 0))
        found = self.ids[rows] == ids if len(self.ids) else np.zeros(len(ids), dtype=bool)
        if not found.all():
            missing = np.unique(ids[~found])
            named = ", ".join(str(i) for i in missing[:5]) + (", …" if len(missing) > 5 else "")
            raise BadInputError(f"{self.path} lacks {len(missing)} stimuli (nsd_id {named}); run again: {_HINT}")
        return rows

    def rows(self, ids: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Take the embeddings of stimuli.

        Args:
            ids: nsd_id, (m,) integers.

        Returns:
            Raw projections, (m, dim) float32, a copy in memory.

        Raises:
            BadInputError: If a stimulus is not in the cache.
        """
        return np.ascontiguousarray(self.embeddings[self.row_numbers(ids)])


def write_cache(
    path: Path | str,
    ids: NDArray[np.integer[Any]],
    embeddings: NDArray[np.floating[Any]],
    space: EmbeddingSpace,
    config: dict[str, Any] | None = None,
) -> str:
    """Write a cache, whole or not at all.

    Args:
        path: The parquet file.
        ids: nsd_id, (n,) distinct integers in any order; rows are stored by ascending id.
        embeddings: Raw projections, (n, dim).
        space: What the vectors mean; its statistics are replaced by those of the rows.
        config: Settings and identity of the pictures, plain types.

    Returns:
        The content hash.

    Raises:
        BadInputError: If shapes disagree, an id comes twice, or a value is not finite.
    """
    path = Path(path)
    order = np.argsort(ids, kind="stable")
    sorted_ids = np.asarray(ids)[order].astype(np.int32)
    vectors = np.ascontiguousarray(np.asarray(embeddings, dtype=np.float32)[order])
    _check(path, sorted_ids, vectors, space.dim)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    described = dataclasses.replace(
        space,
        median_norm=float(np.median(norms)),
        mean=tuple(vectors.mean(axis=0, dtype=np.float64).tolist()),
        std=tuple(vectors.std(axis=0, dtype=np.float64).tolist()),
    )
    manifest = Manifest("clip_cache", content_hash(sorted_ids, vectors), config=dict(config or {}))
    _write_table(path, sorted_ids, vectors, manifest, described)
    for stale in path.parent.glob(f".{path.stem}.*.npy"):
        if stale != _sidecar(path, manifest.content_hash):
            stale.unlink(missing_ok=True)
    return manifest.content_hash


def read_cache_manifest(path: Path) -> tuple[Manifest, EmbeddingSpace]:
    """Read what a cache says about itself, without its vectors.

    Args:
        path: The parquet file.

    Returns:
        The manifest and the embedding space.

    Raises:
        BadInputError: If the file is missing, damaged, or no embedding cache.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise BadInputError(f"{path} does not exist; make it: {_HINT} --out {path}")
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise BadInputError(f"{path} is not a readable parquet file; run again: {_HINT} --overwrite") from error
    if _METADATA_KEY not in metadata:
        raise BadInputError(f"{path} is parquet but not an embedding cache; make one: {_HINT}")
    stored = json.loads(metadata[_METADATA_KEY])
    return Manifest(**stored["manifest"]), EmbeddingSpace.from_json(stored["space"])


def _check(path: Path, ids: NDArray[np.int32], vectors: NDArray[np.float32], dim: int) -> None:
    if vectors.ndim != 2 or len(vectors) != len(ids) or vectors.shape[1] != dim:
        raise BadInputError(
            f"{path}: {len(ids)} ids and embeddings of shape {vectors.shape} do not make a cache of {dim}-D rows"
        )
    if len(ids) == 0:
        raise BadInputError(f"{path}: no stimulus to store")
    repeated = ids[1:][ids[1:] == ids[:-1]]
    if len(repeated):
        raise BadInputError(f"{path}: nsd_id {repeated[0]} comes twice")
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise BadInputError(
            f"{path}: the embeddings of {int((~finite).sum())} stimuli are not finite, first nsd_id {ids[~finite][0]}"
        )


def _write_table(
    path: Path, ids: NDArray[np.int32], vectors: NDArray[np.float32], manifest: Manifest, space: EmbeddingSpace
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    described = {"count": len(ids), "manifest": dataclasses.asdict(manifest), "space": space.to_dict()}
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), space.dim)
    schema = pa.schema(
        [pa.field("nsd_id", pa.int32(), nullable=False), pa.field("embedding", lists.type)],
        metadata={_METADATA_KEY: json.dumps(described)},
    )
    with atomic_path(path) as temporary:
        pq.write_table(
            pa.table([pa.array(ids), lists], schema=schema),
            temporary,
            use_dictionary=False,
            compression="NONE",
            write_page_checksum=True,
        )


def _read_table(path: Path, columns: list[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise BadInputError(f"{path} is damaged ({error}); run again: {_HINT} --overwrite") from error


def _read_embeddings(path: Path, dim: int) -> NDArray[np.float32]:
    column = _read_table(path, ["embedding"]).column("embedding").combine_chunks()
    values: NDArray[np.float32] = column.flatten().to_numpy().astype(np.float32, copy=False)
    return values.reshape(-1, dim)


def _sidecar(path: Path, digest: str) -> Path:
    return path.with_name(f".{path.stem}.{digest[:16]}.npy")


def _map_sidecar(path: Path, digest: str, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    sidecar = _sidecar(path, digest)
    try:
        mapped: NDArray[np.float32] = np.load(sidecar, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    return mapped if mapped.shape == shape and mapped.dtype == np.float32 else None


def _write_sidecar(path: Path, digest: str, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Derive the mapped copy; in a folder that is read-only the vectors stay in memory."""
    sidecar = _sidecar(path, digest)
    try:
        with atomic_path(sidecar) as temporary, open(temporary, "wb") as handle:
            np.lib.format.write_array(handle, embeddings, allow_pickle=False)
    except OSError:
        return embeddings
    mapped = _map_sidecar(path, digest, (embeddings.shape[0], embeddings.shape[1]))
    return embeddings if mapped is None else mapped
