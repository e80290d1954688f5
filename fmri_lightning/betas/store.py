"""The beta store: trials by voxels, memory-mapped, T0 applied, streamed session by session and resumable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import Manifest, atomic_path, content_hash, read_manifest

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BAD_SHARE = 0.01


@dataclass(frozen=True)
class BetaStore:
    """A finished store.

    Attributes:
        folder: Where it lies.
        manifest: Kind "betas"; inputs "index" and "split"; config with n_trials, n_voxels, space and more.
        betas: T0 betas, (n_trials, n_voxels) float32 or float16, memory-mapped, rows in index order.
    """

    folder: Path
    manifest: Manifest
    betas: NDArray[np.floating]

    @classmethod
    def open(cls, folder: Path | str, verify: bool = False) -> BetaStore:
        """Open a store.

        Args:
            folder: For instance ``outputs/betas/subj01``.
            verify: Hash the whole array; a second per gigabyte or two.

        Returns:
            The store.

        Raises:
            BadInputError: If it is missing, half-written, or not the one its manifest describes.
        """
        folder = Path(folder)
        manifest = read_manifest(folder, "betas")
        again = f"make it again with: fmri-lightning betas --subject {manifest.config.get('subject')} --overwrite"
        try:
            betas = np.load(folder / "betas.npy", mmap_mode="r")
        except (OSError, ValueError) as error:
            raise BadInputError(f"{folder / 'betas.npy'} cannot be read ({error}); {again}") from error
        expected = (manifest.config["n_trials"], manifest.config["n_voxels"])
        if betas.shape != expected:
            raise BadInputError(f"{folder / 'betas.npy'} is {betas.shape}, its manifest says {expected}; {again}")
        store = cls(folder, manifest, betas)
        if verify and store_hash(betas, store.ijk, store.vertex) != manifest.content_hash:
            raise BadInputError(f"{folder / 'betas.npy'} is not the array its manifest describes; {again}")
        return store

    @cached_property
    def voxels(self) -> pa.Table:
        """voxels.parquet: i, j, k, ncsnr, ncsnr_published, dropped, and a column "roi.NAME" per region.

        On a surface i, j and k are -1, and hemisphere and vertex say which vertex a column is.
        """
        return read_parquet(self.folder / "voxels.parquet")

    @property
    def ijk(self) -> NDArray[np.int32]:
        """Voxel positions (x, y, z) counted from 0, int32 (n_voxels, 3); -1 where the source has none."""
        return np.stack([self.voxels.column(axis).to_numpy() for axis in "ijk"], axis=1).astype(np.int32)

    @property
    def vertex(self) -> NDArray[np.int32] | None:
        """Vertices counted from 0 in their hemisphere, int32 (n_voxels,); None where the voxels lie in a volume."""
        if "vertex" not in self.voxels.column_names:
            return None
        return np.asarray(self.voxels.column("vertex").to_numpy(), dtype=np.int32)

    @property
    def hemisphere(self) -> NDArray[np.str_] | None:
        """Hemisphere of each vertex, lh or rh, (n_voxels,); None where the voxels lie in a volume."""
        if "hemisphere" not in self.voxels.column_names:
            return None
        return np.asarray(self.voxels.column("hemisphere").to_pylist(), dtype=np.str_)

    @property
    def dropped(self) -> NDArray[np.bool_]:
        """Voxels that are constant or not finite in some session; their columns are 0. (n_voxels,)."""
        return np.asarray(self.voxels.column("dropped").to_pylist(), dtype=bool)

    @property
    def ncsnr(self) -> NDArray[np.float32]:
        """Noise-ceiling signal-to-noise ratio estimated from training trials, (n_voxels,); NaN if never repeated."""
        return np.asarray(self.voxels.column("ncsnr").to_numpy(), dtype=np.float32)

    @property
    def ncsnr_published(self) -> NDArray[np.float32]:
        """NSD's own map, estimated from all trials, (n_voxels,); NaN where the tree has none."""
        return np.asarray(self.voxels.column("ncsnr_published").to_numpy(), dtype=np.float32)

    @property
    def roi_labels(self) -> dict[str, NDArray[np.int16]]:
        """Labels per region volume, int16 (n_voxels,): -1 outside the ribbon, 0 no label, 1 and up."""
        names = [name for name in self.voxels.column_names if name.startswith("roi.")]
        return {n.removeprefix("roi."): np.asarray(self.voxels.column(n).to_numpy(), dtype=np.int16) for n in names}

    @cached_property
    def t0(self) -> dict[str, NDArray[Any]]:
        """t0.npz: ``sessions``, ``mean`` and ``std`` (session, voxel), ``fitted_on`` (trial), ``transductive``."""
        with np.load(self.folder / "t0.npz", allow_pickle=False) as arrays:
            return dict(arrays)


def store_hash(betas: NDArray[np.floating], ijk: NDArray[np.int32], vertex: NDArray[np.integer] | None = None) -> str:
    """Hash a store's payload: voxel positions and betas; on a surface the vertices too."""
    surface = [] if vertex is None else [np.asarray(vertex, dtype=np.int32)]
    return content_hash(np.asarray(ijk, dtype=np.int32), betas, *surface)


def read_parquet(path: Path) -> pa.Table:
    """Read a Parquet file with page checksums.

    Args:
        path: The file.

    Returns:
        The table.

    Raises:
        BadInputError: If it is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, page_checksum_verification=True).read()
    except (OSError, pa.ArrowException) as error:
        raise BadInputError(f"{path} cannot be read ({str(error).splitlines()[0]}); run betas again") from error


def write_npz(path: Path, **arrays: NDArray[Any]) -> None:
    """Write arrays to one uncompressed .npz file, whole or not at all.

    Args:
        path: File to write.
        arrays: By name.
    """
    writer: Callable[..., None] = np.savez  # its stub takes a keyword for a flag
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        writer(handle, **arrays)


def require_few_bad(bad: NDArray[np.bool_], where: str) -> None:
    """Refuse a mask of which more than one voxel in a hundred carries no signal.

    Args:
        bad: Constant or not finite, (n_voxels,).
        where: What was read, for the message.

    Raises:
        BadInputError: If the share is above 1 %.
    """
    if bad.sum() > MAX_BAD_SHARE * len(bad):
        raise BadInputError(
            f"{where}: {int(bad.sum())} of {len(bad)} voxels of the mask are constant or NaN (limit "
            f"{MAX_BAD_SHARE:.0%}); is it the mask of these betas?"
        )
