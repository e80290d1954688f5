"""Open the betas that belong to an index: one opener a source, all asked the same question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fmri_lightning.betas.source import BetaSource
from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import Manifest
from fmri_lightning.records import TrialTable


@dataclass(frozen=True)
class BetaRequest:
    """What is to be opened.

    Attributes:
        table: The index.
        root: Root of the data.
        subject: For instance "subj01".
        space: "func1pt8mm" or another space of the official tree.
        betas_version: "b1", "b2", "b3" or a folder name; official tree only.
        roi: Region whose voxels are kept.
        n_catalogue: Pictures in the catalogue.
    """

    table: TrialTable
    root: Path
    subject: str
    space: str
    betas_version: str
    roi: str
    n_catalogue: int


def _nsd(asked: BetaRequest) -> BetaSource:
    if asked.space == "fsaverage":
        from fmri_lightning.betas.nsd_surfaces import open_nsd_surfaces

        return open_nsd_surfaces(
            asked.table, asked.root, asked.subject, asked.betas_version, asked.roi, asked.n_catalogue
        )
    from fmri_lightning.betas.nsd_volumes import open_nsd_volumes

    return open_nsd_volumes(
        asked.table, asked.root, asked.subject, asked.space, asked.betas_version, asked.roi, asked.n_catalogue
    )


def _mindeye2(asked: BetaRequest) -> BetaSource:
    from fmri_lightning.betas.mindeye_betas import open_mindeye_betas

    return open_mindeye_betas(asked.table, asked.root, asked.subject, asked.roi, asked.n_catalogue)


def _arrays(asked: BetaRequest) -> BetaSource:
    from fmri_lightning.betas.array_betas import open_array_betas

    return open_array_betas(asked.table, asked.root, asked.subject, asked.roi)


def _mindeye1(asked: BetaRequest) -> BetaSource:
    from fmri_lightning.betas.mindeye1_betas import open_mindeye1_betas

    return open_mindeye1_betas(asked.table, asked.root, asked.subject, asked.roi)


def _brain_diffuser(asked: BetaRequest) -> BetaSource:
    from fmri_lightning.betas.brain_diffuser_betas import open_brain_diffuser_betas

    return open_brain_diffuser_betas(asked.table, asked.root, asked.subject, asked.roi)


def _algonauts(asked: BetaRequest) -> BetaSource:
    from fmri_lightning.betas.algonauts_betas import open_algonauts_betas

    return open_algonauts_betas(asked.table, asked.root, asked.subject, asked.roi)


OPENERS: dict[str, Callable[[BetaRequest], BetaSource]] = {
    "nsd": _nsd,
    "mindeye2": _mindeye2,
    "arrays": _arrays,
    "mindeye1": _mindeye1,
    "brain_diffuser": _brain_diffuser,
    "algonauts": _algonauts,
}
"""By the source that the index names."""


def open_source(
    manifest: Manifest, table: TrialTable, root: Path, subject: str, space: str, betas_version: str, roi: str
) -> BetaSource:
    """Open the betas that belong to an index, and check everything that needs no reading of betas.

    Args:
        manifest: Of the index; ``config["source"]`` says where the data come from.
        table: The index.
        root: Root of the data.
        subject: For instance "subj01".
        space: "func1pt8mm", "func1mm" or "fsaverage"; official tree only.
        betas_version: "b1", "b2", "b3" or a folder name; official tree only.
        roi: Region whose voxels are kept.

    Returns:
        The source.

    Raises:
        BadInputError: If a file or region is missing, damaged, or of another shape.
    """
    source = str(manifest.config.get("source", "nsd"))
    if source not in OPENERS:
        raise BadInputError(
            f"the index of {subject} is of the source {source!r}; this version reads {', '.join(OPENERS)}"
        )
    n_catalogue = int(manifest.config.get("n_catalogue", 0))
    return OPENERS[source](BetaRequest(table, root, subject, space, betas_version, roi, n_catalogue))
