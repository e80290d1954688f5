"""Betas of an NSD tree on fsaverage, the average surface: two MGH files a session, masked by a region."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.mgh import read_mgh_shape, read_surface_map, read_vertices
from fmri_lightning.betas.source import BetaSource
from fmri_lightning.betas.surface_regions import (
    FSAVERAGE,
    FSAVERAGE_VERTICES,
    HEMISPHERES,
    Labels,
    check_labels,
    no_positions,
    region_mask,
    vertex_columns,
)
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.nsd import beta_folder, find_subject
from fmri_lightning.index.published import NSD_CATALOGUE
from fmri_lightning.records import TrialTable

LABELS = "nsddata/freesurfer/fsaverage/label"
NSDGENERAL_VERTICES = 37_984
"""Vertices of nsdgeneral on fsaverage, both hemispheres; one file for all subjects."""
MEDIAN_SD_PSC = (0.05, 20.0)
"""Between these the median standard deviation of a session's betas lies, in percent signal change.

NSD's is one or two; times 300 or divided by 300 it is far outside. The bounds are the middles, on a logarithmic scale,
between what is and what would be wrong, for a deviation of about one."""
_PAGE_BYTES = 4096


@dataclass(frozen=True)
class NSDSurfaces(BetaSource):
    """Session files of both hemispheres.

    Attributes:
        ijk: -1, int32 (n_vertices, 3): a vertex has no place in a volume.
        voxel_columns: hemisphere, vertex, published ncsnr and the labels of every region.
        files: File of the left hemisphere per 1-based session.
        facts: space, betas_version, roi, n_vertices of the surface's hemispheres and has_published_ncsnr.
        right: File of the right hemisphere per 1-based session.
        n_trials: Trials in each session's files.
    """

    unit: ClassVar[str] = "percent signal change"
    right: dict[int, Path]
    n_trials: dict[int, int]

    def paths(self, session: int) -> tuple[Path, ...]:
        """Name the files of a session, left hemisphere first."""
        return self.files[session], self.right[session]

    def read(self, session: int, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Read the mask's vertices in some trials, percent signal change, float32 (n, n_vertices), left first."""
        betas = np.empty((self.n_trials[session], len(self.ijk)), dtype=np.float32)
        for path, hemisphere in zip(self.paths(session), HEMISPHERES, strict=True):
            columns = np.flatnonzero(self.voxel_columns["hemisphere"] == hemisphere)
            part = np.empty((len(betas), len(columns)), dtype=np.float32)
            read_vertices(path, self.voxel_columns["vertex"][columns], part)
            _require_psc(part, path)
            betas[:, columns] = part
        return betas if np.array_equal(rows, np.arange(len(betas))) else betas[rows]

    def bytes_of(self, session: int) -> int:
        """Say how many bytes of its files a session costs: in each trial, the pages that hold vertices of the mask."""
        pages = 0
        for hemisphere in HEMISPHERES:
            vertices = self.voxel_columns["vertex"][self.voxel_columns["hemisphere"] == hemisphere]
            pages += len(np.unique(4 * vertices.astype(np.int64) // _PAGE_BYTES))
        touched = pages * _PAGE_BYTES * self.n_trials[session]
        return min(touched, sum(path.stat().st_size for path in self.paths(session)))


def _require_psc(betas: NDArray[np.float32], path: Path) -> None:
    """Refuse betas that were multiplied or divided by 300."""
    with np.errstate(invalid="ignore"):
        deviations = betas.std(axis=0)
    moving = deviations[np.isfinite(deviations) & (deviations > 0)]
    if not len(moving):
        return
    median, (lowest, highest) = float(np.median(moving)), MEDIAN_SD_PSC
    if median > highest:
        raise BadInputError(
            f"{path}: the betas of a vertex deviate by {median:.3g} (median), percent signal change by about 1; were "
            "they multiplied by 300, as NSD's volumes are? NSD's betas on fsaverage are not: download the file again"
        )
    if median < lowest:
        raise BadInputError(
            f"{path}: the betas of a vertex deviate by {median:.3g} (median), percent signal change by about 1; were "
            "they divided by 300? NSD's betas on fsaverage need no scaling: download the file again"
        )


def open_nsd_surfaces(
    table: TrialTable, root: Path, subject: str, betas_version: str, roi: str, n_catalogue: int
) -> NSDSurfaces:
    """Check labels, maps and the size of every session file of both hemispheres; reads no beta.

    Args:
        table: The index.
        root: Folder that contains ``nsddata/`` and ``nsddata_betas/``.
        subject: For instance "subj01".
        betas_version: "b1", "b2", "b3" or a folder name.
        roi: Region whose vertices are kept: a label file such as "nsdgeneral" (label above 0), or a label as "V1v".
        n_catalogue: Pictures of the catalogue; NSD's 73,000 bind the size of the surface and of nsdgeneral.

    Returns:
        The source.

    Raises:
        BadInputError: If a file or region is missing, damaged, or of another size.
    """
    find_subject(root, subject)
    regions = read_regions(root / LABELS)
    sizes = {len(labels[h]) for labels in regions.values() for h in HEMISPHERES}
    if len(sizes) > 1:
        raise BadInputError(f"the label files in {root / LABELS} have {sorted(sizes)} vertices; download them again")
    masks = region_mask(regions, roi, f"{root / LABELS}")
    vertices = {h: np.flatnonzero(masks[h]) for h in HEMISPHERES}
    n_surface, n_kept = next(iter(sizes)), sum(len(kept) for kept in vertices.values())
    if n_catalogue == NSD_CATALOGUE:
        _check_published(n_surface, n_kept if roi == "nsdgeneral" else NSDGENERAL_VERTICES, root / LABELS)
    folder = root / beta_folder(subject, FSAVERAGE, betas_version)
    if not folder.is_dir():
        present = sorted(path.name for path in folder.parent.glob("*") if path.is_dir())
        raise BadInputError(f"no betas in {folder}; versions present: {', '.join(present) or 'none'}")
    sessions = np.unique(table.session).tolist()
    files = {h: {s: folder / f"{h}.betas_session{s:02d}.mgh" for s in sessions} for h in HEMISPHERES}
    n_trials = {s: _check_session(s, files, n_surface, table) for s in sessions}
    ncsnr = _published_ncsnr(folder, vertices, n_surface)
    columns = {"ncsnr_published": np.full(n_kept, np.nan, dtype=np.float32) if ncsnr is None else ncsnr}
    facts = {
        "space": FSAVERAGE,
        "betas_version": betas_version,
        "roi": roi,
        "n_vertices": [n_surface, n_surface],
        "has_published_ncsnr": ncsnr is not None,
    }
    return NSDSurfaces(
        no_positions(n_kept),
        columns | vertex_columns(vertices, regions),
        files["lh"],
        facts,
        right=files["rh"],
        n_trials=n_trials,
    )


def read_regions(folder: Path) -> dict[str, Labels]:
    """Read every label file that is there for both hemispheres; maps of other numbers than labels are left out.

    Args:
        folder: ``nsddata/freesurfer/fsaverage/label``.

    Returns:
        Labels of each hemisphere by name, sorted.

    Raises:
        BadInputError: If there are none, or one is damaged or another region's.
    """
    found = {h: {p.name.split(".", 1)[1].removesuffix(".mgz") for p in folder.glob(f"{h}.*.mgz")} for h in HEMISPHERES}
    regions: dict[str, Labels] = {}
    for name in sorted(found["lh"] & found["rh"]):
        maps = {h: read_surface_map(folder / f"{h}.{name}.mgz") for h in HEMISPHERES}
        if not all(np.isfinite(values).all() and (values == np.round(values)).all() for values in maps.values()):
            continue
        regions[name] = {h: values.astype(np.int64) for h, values in maps.items()}
        for h in HEMISPHERES:
            check_labels(name, regions[name][h], folder / f"{h}.{name}.mgz")
    if not regions:
        raise BadInputError(f"no label files (lh.NAME.mgz and rh.NAME.mgz) in {folder}; download them")
    return regions


def _check_published(n_surface: int, n_nsdgeneral: int, folder: Path) -> None:
    if n_surface != FSAVERAGE_VERTICES or n_nsdgeneral != NSDGENERAL_VERTICES:
        raise BadInputError(
            f"{folder}: a hemisphere has {n_surface} vertices and nsdgeneral {n_nsdgeneral}, NSD's have "
            f"{FSAVERAGE_VERTICES} and {NSDGENERAL_VERTICES}; download the label files again (labels above 0 count)"
        )


def _check_session(session: int, files: dict[str, dict[int, Path]], n_surface: int, table: TrialTable) -> int:
    """Return the trials of a session; refuse files of another surface, of unequal length, or too short."""
    shapes = {h: read_mgh_shape(files[h][session]) for h in HEMISPHERES}
    for h, (_, n_vertices) in shapes.items():
        if n_vertices != n_surface:
            raise BadInputError(
                f"{files[h][session]} has {n_vertices} vertices, the labels {n_surface}; they are not of one surface"
            )
    (left, _), (right, _) = shapes["lh"], shapes["rh"]
    if left != right:
        raise BadInputError(
            f"{files['lh'][session]} has {left} trials, the right hemisphere {right}; they are not of one session"
        )
    listed = int(table.beta_index[table.session == session].max()) + 1
    if left < listed:
        raise BadInputError(f"{files['lh'][session]} has {left} trials, the index lists {listed}; download it again")
    return left


def _published_ncsnr(
    folder: Path, vertices: dict[str, NDArray[np.int64]], n_surface: int
) -> NDArray[np.float32] | None:
    paths = {h: folder / f"{h}.ncsnr.mgh" for h in HEMISPHERES}
    if not all(path.is_file() for path in paths.values()):
        return None
    maps: dict[str, NDArray[Any]] = {h: read_surface_map(path) for h, path in paths.items()}
    for h, values in maps.items():
        if len(values) != n_surface:
            raise BadInputError(
                f"{paths[h]} has {len(values)} vertices, the labels {n_surface}; they are not of one surface"
            )
    return np.concatenate([maps[h][vertices[h]] for h in HEMISPHERES]).astype(np.float32)
