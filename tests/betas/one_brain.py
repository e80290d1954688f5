"""One simulated subject in several layouts, each read by its own reader: what must be the same, side by side.

``read_layouts`` gives table and store of every layout; ``picture_rows`` and ``picture_means`` line up any numbers that
have a row for each row of an index (betas, predictions, decoded embeddings) by the picture they belong to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel
import numpy as np

from fmri_lightning.betas.command import betas
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.index.command import index
from fmri_lightning.index.table import read_index
from fmri_lightning.records import TrialTable
from fmri_lightning.simulate.command import simulate

LAYOUTS = ("nsd", "mindeye1", "brain_diffuser")
HALF_EPSILON = 2.0**-11
"""Largest relative error of rounding to half precision, in its normal range."""
HALF_TINY = 2.0**-25
"""Largest absolute error below that range."""
SINGLE_EPSILON = 2.0**-24


@dataclass(frozen=True)
class Read:
    """What one reader made of one layout."""

    root: Path
    table: TrialTable
    store: BetaStore


def write_layouts(place: Path, layouts=LAYOUTS, **sizes) -> dict[str, Path]:
    """Simulate the same arguments once for each layout."""
    for layout in layouts:
        simulate(place / layout, layout=layout, **sizes)
    return {layout: place / layout for layout in layouts}


def read_layouts(roots: dict[str, Path], work: Path, subject: str) -> dict[str, Read]:
    """Index and read one subject of each; the layout's name is its source's."""
    found = {}
    for layout, root in roots.items():
        index(root, source=layout, subject=subject, out=work / layout / "index")
        places = {
            "index": work / layout / "index",
            "out": work / layout / "betas",
            "preproc_out": work / layout / "preproc",
        }
        betas(root, **places, subject=subject, mask="roi")
        store = BetaStore.open(work / layout / "betas" / subject, verify=True)
        found[layout] = Read(root, read_index(work / layout / "index", subject), store)
    return found


def stored_int16(root: Path, subject: str) -> np.ndarray:
    """int16 (trials, nsdgeneral voxels) of an NSD tree, z fastest, read by h5py and nibabel alone."""
    mask = np.asarray(nibabel.load(root / f"nsddata/ppdata/{subject}/func1pt8mm/roi/nsdgeneral.nii.gz").dataobj) > 0
    folder = root / f"nsddata_betas/ppdata/{subject}/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    sessions = []
    for file in sorted(folder.glob("betas_session*.hdf5")):
        with h5py.File(file) as handle:
            sessions.append(handle["betas"][:].transpose(0, 3, 2, 1)[:, mask])
    return np.stack(sessions)


def picture_rows(table: TrialTable) -> dict[int, np.ndarray]:
    """nsd_id → rows of the index in their order."""
    return {int(i): np.flatnonzero(table.nsd_id == i) for i in np.unique(table.nsd_id)}


def picture_means(table: TrialTable, values: np.ndarray) -> dict[int, np.ndarray]:
    """nsd_id → mean of its rows, float64."""
    return {i: values[rows].astype(np.float64).mean(axis=0) for i, rows in picture_rows(table).items()}
