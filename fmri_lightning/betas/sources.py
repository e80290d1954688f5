"""Open the betas that belong to an index: one opener a source, all asked the same question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmri_lightning.betas.source import BetaSource
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.prediction_only import is_prediction_only
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
        config: What the index says of itself.
        like: Training store whose voxels are read; prediction-only sources only.
    """

    table: TrialTable
    root: Path
    subject: str
    space: str
    betas_version: str
    roi: str
    n_catalogue: int
    config: dict[str, Any]
    like: Path | None = None


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


def _side_experiment(asked: BetaRequest) -> BetaSource:
    from fmri_lightning.betas.side_experiment import open_side_experiment

    return open_side_experiment(asked.config, asked.table, asked.root, asked.subject, asked.like)


OPENERS: dict[str, Callable[[BetaRequest], BetaSource]] = {
    "nsd": _nsd,
    "mindeye2": _mindeye2,
    "arrays": _arrays,
    "mindeye1": _mindeye1,
    "brain_diffuser": _brain_diffuser,
    "algonauts": _algonauts,
    "nsd_imagery": _side_experiment,
    "nsd_synthetic": _side_experiment,
}
"""By the source that the index names."""


def open_source(
    manifest: Manifest,
    table: TrialTable,
    root: Path,
    subject: str,
    space: str,
    betas_version: str,
    roi: str,
    like: Path | None = None,
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
        like: Training store, for an index that is prediction only; its voxels, space and version are taken.

    Returns:
        The source.

    Raises:
        UsageError: If the training store is missing, or given where it has no place.
        BadInputError: If a file or region is missing, damaged, or of another shape.
    """
    source = str(manifest.config.get("source", "nsd"))
    if source not in OPENERS:
        raise BadInputError(
            f"the index of {subject} is of the source {source!r}; this version reads {', '.join(OPENERS)}"
        )
    if is_prediction_only(manifest) != (like is not None):
        raise UsageError(
            f"the index of {subject} is prediction only; name the store its encoder was trained on with --like DIR"
            if like is None
            else f"--like goes with an index that is prediction only, this one is of {source}"
        )
    n_catalogue = int(manifest.config.get("n_catalogue", 0))
    asked = BetaRequest(table, root, subject, space, betas_version, roi, n_catalogue, manifest.config, like)
    return OPENERS[source](asked)
