"""One simulated brain in several layouts, read by the commands, and what joins a column of one to a column of another.

``columns_of`` gives the columns of any two readings that are the same piece of brain; whatever an encoder makes of the
betas (predictions, embeddings) can be compared for the same pictures with ``rows_of``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri_lightning.betas.command import betas
from fmri_lightning.betas.source import BetaSource
from fmri_lightning.betas.sources import open_source
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.index.command import index
from fmri_lightning.index.table import index_manifest, read_index
from fmri_lightning.records import TrialTable
from fmri_lightning.simulate.command import simulate

# Layout → simulate's flags, index's source, the space and the region of betas.
LAYOUTS = {
    "volume": ("nsd", "nsd", "func1pt8mm", "nsdgeneral"),
    "fsaverage": ("nsd", "nsd", "fsaverage", "nsdgeneral"),
    "algonauts": ("algonauts", "algonauts", "func1pt8mm", "all-vertices"),
}


@dataclass(frozen=True)
class Reading:
    """A subject as a layout gives it: the index, the source as opened, the store as written."""

    root: Path
    subject: str
    table: TrialTable
    source: BetaSource
    store: BetaStore

    def raw(self) -> np.ndarray:
        """Betas in the unit of the source, float32 (rows of the index, columns)."""
        found = np.empty((len(self.table), len(self.source.ijk)), dtype=np.float32)
        for session in np.unique(self.table.session).tolist():
            rows = np.flatnonzero(self.table.session == session)
            found[rows] = self.source.read(session, self.table.beta_index[rows])
        return found

    def voxels(self, truth: Path) -> np.ndarray:
        """Row of the simulated brain's voxel list behind each column, (columns,)."""
        if self.store.vertex is None:
            known = {tuple(place): row for row, place in enumerate(np.load(truth / "ijk.npy").tolist())}
            return np.array([known[tuple(place)] for place in self.store.ijk.tolist()])
        maps = {h: np.load(truth / f"{h}.voxel_of_vertex.npy") for h in ("lh", "rh")}
        pairs = zip(self.store.hemisphere.tolist(), self.store.vertex.tolist(), strict=True)
        return np.array([maps[h][v] for h, v in pairs])


def read_layouts(folder: Path, subject: str, **sizes) -> dict[str, Reading]:
    """Simulate one brain in every layout and read it in every way."""
    simulate(folder / "nsd", **sizes, also="fsaverage")
    simulate(folder / "algonauts", **sizes, layout="algonauts")
    found = {}
    for name, (tree, source, space, roi) in LAYOUTS.items():
        root, out = folder / tree, folder / f"out_{name}"
        index(root, source=source, subject=subject, out=out / "index")
        flags = {"index": out / "index", "subject": subject, "space": space, "roi": roi}
        betas(root, **flags, out=out / "betas", preproc_out=out / "preproc", mask="roi")
        manifest, table = index_manifest(out / "index", subject), read_index(out / "index", subject)
        opened = open_source(manifest, table, root, subject, space, "b3", roi)
        found[name] = Reading(root, subject, table, opened, BetaStore.open(out / "betas" / subject))
    return found


def columns_of(a: Reading, b: Reading, truth: Path) -> tuple[np.ndarray, np.ndarray]:
    """Columns of two readings that come from the same voxel: for each such column of ``a`` the first one of ``b``."""
    if a.store.vertex is not None and b.store.vertex is not None:
        keys = [list(zip(r.store.hemisphere.tolist(), r.store.vertex.tolist(), strict=True)) for r in (a, b)]
    else:
        keys = [r.voxels(truth).tolist() for r in (a, b)]
    first = {key: column for column, key in reversed(list(enumerate(keys[1])))}
    pairs = [(column, first[key]) for column, key in enumerate(keys[0]) if key in first]
    left, right = np.array(pairs).T
    return left, right


def rows_of(reading: Reading, nsd_ids) -> list[np.ndarray]:
    """Rows of each picture, in the order of time."""
    return [np.flatnonzero(reading.table.nsd_id == nsd_id) for nsd_id in nsd_ids]
