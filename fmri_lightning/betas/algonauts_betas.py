"""Betas of the Algonauts 2023 challenge: arrays (pictures, vertices) of each hemisphere, z-scored and averaged before.

The challenge keeps the vertices of nsdgeneral and of a region RSC beside it, ascending; roi_masks says which they are.
The pickled dictionaries of label names are never opened.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.source import BetaSource
from fmri_lightning.betas.surface_regions import (
    FSAVERAGE,
    FSAVERAGE_VERTICES,
    HEMISPHERES,
    LABEL_NAMES,
    Labels,
    check_labels,
    no_positions,
    region_mask,
    vertex_columns,
)
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.algonauts import ARRIVED_AS, SESSION, fmri_file, load_array, open_fmri
from fmri_lightning.records import TrialTable

WHOLE = "all-vertices"
_USUAL = (19_004, 20_544)
PUBLISHED_VERTICES = dict.fromkeys((f"subj{n:02d}" for n in range(1, 9)), _USUAL) | {
    "subj06": (18_978, 20_220),
    "subj08": (18_981, 20_530),
}
"""Vertices of the challenge in the left and the right hemisphere; two subjects lack some that have no value."""

MEDIAN_SD = (0.45, 1.3)
"""Between these lies the median deviation of a vertex over pictures: 1 / sqrt(3) for means of three showings without
any signal, 1 for single showings, with some room for small samples."""
MIN_PICTURES = 20
"""With fewer pictures the deviation tells nothing."""


@dataclass(frozen=True)
class AlgonautsBetas(BetaSource):
    """Arrays of both hemispheres; session 1 is the training split, session 2 the test split.

    Attributes:
        ijk: -1, int32 (n_vertices, 3): a vertex has no place in a volume.
        voxel_columns: hemisphere, vertex, ncsnr_published (NaN) and the labels of every region.
        files: File of the left hemisphere per session.
        facts: space, roi, n_vertices of the surface's hemispheres, and what was done to the numbers before.
        right: File of the right hemisphere per session.
        columns: Column of each vertex in its hemisphere's file, (n_vertices,).
        n_pictures: Rows of each session.
        row_bytes: Bytes of a row, both hemispheres together.
    """

    unit: ClassVar[str] = "standard deviations of the session, mean over repeats"
    right: dict[int, Path]
    columns: NDArray[np.int64]
    n_pictures: dict[int, int]
    row_bytes: int

    def paths(self, session: int) -> tuple[Path, ...]:
        """Name the files of a split, left hemisphere first."""
        return self.files[session], self.right[session]

    def read(self, session: int, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Read the kept vertices of some pictures, in the unit they came in, float32 (n, n_vertices), left first."""
        found = np.empty((len(rows), len(self.columns)), dtype=np.float32)
        for path, hemisphere in zip(self.paths(session), HEMISPHERES, strict=True):
            kept = np.flatnonzero(self.voxel_columns["hemisphere"] == hemisphere)
            betas = open_fmri(path, self.n_pictures[session])
            found[:, kept] = betas[rows][:, self.columns[kept]]
            _require_standardised(found[:, kept], path)
        return found

    def take(self, columns: NDArray[np.integer]) -> Self:
        """Return the source of some vertices only."""
        return replace(super().take(columns), columns=self.columns[columns])

    def bytes_of(self, session: int) -> int:
        """Say how many bytes of its files a split costs: whole rows are read."""
        return self.row_bytes * self.n_pictures[session]


def open_algonauts_betas(table: TrialTable, root: Path, subject: str, roi: str) -> AlgonautsBetas:
    """Check arrays and masks of one subject; reads no beta.

    Args:
        table: The index.
        root: Folder that holds the subjects' folders.
        subject: For instance "subj01".
        roi: "all-vertices", a region of roi_masks such as "prf-visualrois" (label above 0), or a label as "V1v".

    Returns:
        The source.

    Raises:
        BadInputError: If a file is missing, damaged, or does not fit the others.
    """
    folder = root / subject / "roi_masks"
    counts = {s: int((table.session == s).sum()) for s in np.unique(table.session).tolist()}
    names = {number: split for split, number in SESSION.items()}
    files = {h: {s: root / fmri_file(subject, names[s], h) for s in counts} for h in HEMISPHERES}
    masks = {h: read_mask(folder / f"{h}.{WHOLE}_fsaverage_space.npy") for h in HEMISPHERES}
    widths = {h: int((mask > 0).sum()) for h, mask in masks.items()}
    _check_published(subject, masks, folder)
    for h in HEMISPHERES:
        for session, path in files[h].items():
            _check_width(path, open_fmri(path, counts[session]).shape[1], widths, h)
    regions = {WHOLE: {h: (mask > 0).astype(np.int64) for h, mask in masks.items()}}
    regions |= {name: labels for name in LABEL_NAMES if (labels := read_region(folder, name, masks)) is not None}
    wanted = region_mask(regions, roi, f"roi_masks of {subject}")
    vertices = {h: np.flatnonzero(wanted[h]) for h in HEMISPHERES}
    columns = [np.searchsorted(np.flatnonzero(masks[h] > 0), vertices[h]) for h in HEMISPHERES]
    n = sum(len(kept) for kept in vertices.values())
    return AlgonautsBetas(
        no_positions(n),
        {"ncsnr_published": np.full(n, np.nan, dtype=np.float32), **vertex_columns(vertices, regions)},
        files["lh"],
        {
            "space": FSAVERAGE,
            "roi": roi,
            "n_vertices": [len(masks[h]) for h in HEMISPHERES],
            "has_published_ncsnr": False,
            "arrived_as": ARRIVED_AS,
        },
        right=files["rh"],
        columns=np.concatenate(columns),
        n_pictures=counts,
        row_bytes=4 * sum(widths.values()),
    )


def _require_standardised(betas: NDArray[np.float32], path: Path) -> None:
    """Refuse betas in percent signal change or times 300: T0, which would bring them to one scale, is skipped."""
    with np.errstate(invalid="ignore"):
        deviations = betas.std(axis=0)
    moving = deviations[np.isfinite(deviations) & (deviations > 0)]
    lowest, highest = MEDIAN_SD
    if len(betas) >= MIN_PICTURES and len(moving) and not lowest <= (median := float(np.median(moving))) <= highest:
        raise BadInputError(
            f"{path}: a vertex deviates by {median:.3g} over pictures (median), means of up to three z-scores by "
            "0.6 to 1; these betas are not the challenge's: unpack it again"
        )


def read_mask(path: Path) -> NDArray[np.int64]:
    """Read a mask or label map of one hemisphere.

    Args:
        path: An .npy file of whole numbers.

    Returns:
        int64 (n,).

    Raises:
        BadInputError: If it is missing, damaged, or no list of whole numbers.
    """
    found: NDArray[Any] = load_array(path)
    if found.ndim != 1 or found.dtype.kind not in "iub":
        raise BadInputError(f"{path} is {found.dtype} {found.shape}, expected whole numbers (vertices,)")
    return found.astype(np.int64)


def read_region(folder: Path, name: str, masks: dict[str, NDArray[np.int64]]) -> Labels | None:
    """Read a region on the whole surface, and check that it is the one of the challenge's vertices.

    Args:
        folder: roi_masks of a subject.
        name: Of the region.
        masks: The challenge's vertices of each hemisphere, (n_surface,), above 0.

    Returns:
        Labels of all vertices of each hemisphere, 0 outside the challenge's; None where no such file is there.

    Raises:
        BadInputError: If the files are damaged or do not fit the mask.
    """
    labels: Labels = {}
    if not any((folder / f"{h}.{name}_challenge_space.npy").exists() for h in HEMISPHERES):
        return None
    for h in HEMISPHERES:
        path, inside = folder / f"{h}.{name}_challenge_space.npy", masks[h] > 0
        challenge = read_mask(path)
        if len(challenge) != inside.sum():
            raise BadInputError(
                f"{path} has {len(challenge)} vertices, {h}.{WHOLE} keeps {inside.sum()}; it is of the other "
                "hemisphere or another subject"
            )
        check_labels(name, challenge, path)
        labels[h] = np.zeros(len(inside), dtype=np.int64)
        labels[h][inside] = challenge
        whole = folder / f"{h}.{name}_fsaverage_space.npy"
        if whole.exists() and not np.array_equal(read_mask(whole), labels[h]):
            raise BadInputError(
                f"{whole} and {path.name} differ at the vertices that {h}.{WHOLE} keeps; the mask is not that of these "
                "betas: unpack roi_masks again"
            )
    return labels


def _check_width(path: Path, n_columns: int, widths: dict[str, int], hemisphere: str) -> None:
    if n_columns == widths[hemisphere]:
        return
    other = "rh" if hemisphere == "lh" else "lh"
    reason = f"{other} keeps as many: the hemispheres are swapped" if n_columns == widths[other] else "another subject?"
    raise BadInputError(
        f"{path} has {n_columns} vertices, the mask {hemisphere}.{WHOLE} keeps {widths[hemisphere]}; {reason}"
    )


def _check_published(subject: str, masks: dict[str, NDArray[np.int64]], folder: Path) -> None:
    """On the true average surface, the challenge's numbers of vertices bind."""
    if any(len(mask) != FSAVERAGE_VERTICES for mask in masks.values()) or subject not in PUBLISHED_VERTICES:
        return
    found = tuple(int((masks[h] > 0).sum()) for h in HEMISPHERES)
    if found != PUBLISHED_VERTICES[subject]:
        raise BadInputError(
            f"{folder}: the masks keep {found} vertices in lh and rh, the challenge's {subject} has "
            f"{PUBLISHED_VERTICES[subject]}; they are swapped, or of another subject"
        )
