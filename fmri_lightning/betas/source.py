"""What every source of betas offers to the store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BetaSource(ABC):
    """Betas of one subject, read session by session; plain data, so that other processes can read too.

    Attributes:
        unit: What the numbers are, for instance "percent signal change".
        ijk: Voxel positions (x, y, z) counted from 0, int32 (n_voxels, 3); -1 where the source has none.
        voxel_columns: Further columns of voxels.parquet: ncsnr_published, "roi.NAME" per region and, where a voxel is
            a vertex of a surface, hemisphere and vertex.
        files: File that holds each 1-based session; the first one, or their folder, where a session has several.
        facts: Settings and shapes for the manifest; they take part in its fingerprint.
    """

    unit: ClassVar[str]
    ijk: NDArray[np.int32]
    voxel_columns: dict[str, NDArray[Any]]
    files: dict[int, Path]
    facts: dict[str, Any]

    @abstractmethod
    def read(self, session: int, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Read the kept voxels in some trials of a session.

        Args:
            session: 1-based.
            rows: ``beta_index`` of the trials, (n,).

        Returns:
            float32 (n, n_voxels).

        Raises:
            BadInputError: If the file is damaged.
        """

    @abstractmethod
    def bytes_of(self, session: int) -> int:
        """Say how many bytes of its file a session costs."""

    def paths(self, session: int) -> tuple[Path, ...]:
        """Name all files that hold a session."""
        return (self.files[session],)

    @property
    def all_paths(self) -> list[Path]:
        """All files of all sessions, sorted, each once."""
        return sorted({path for session in self.files for path in self.paths(session)})

    def take(self, columns: NDArray[np.integer]) -> Self:
        """Return the source of some voxels only.

        Args:
            columns: Which voxels, (n,).

        Returns:
            A source of those voxels, in that order.
        """
        some = {name: column[columns] for name, column in self.voxel_columns.items()}
        return replace(self, ijk=self.ijk[columns], voxel_columns=some)
