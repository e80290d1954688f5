"""Open the betas that belong to an index: the official tree, MindEye2's files, or arrays of one's own."""

from __future__ import annotations

from pathlib import Path

from fmri_lightning.betas.source import BetaSource
from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import Manifest
from fmri_lightning.records import TrialTable


def open_source(
    manifest: Manifest, table: TrialTable, root: Path, subject: str, space: str, betas_version: str, roi: str
) -> BetaSource:
    """Open the betas that belong to an index, and check everything that needs no reading of betas.

    Args:
        manifest: Of the index; ``config["source"]`` says where the data come from.
        table: The index.
        root: Root of the data.
        subject: For instance "subj01".
        space: "func1pt8mm" or "func1mm"; official tree only.
        betas_version: "b1", "b2", "b3" or a folder name; official tree only.
        roi: Region whose voxels are kept.

    Returns:
        The source.

    Raises:
        BadInputError: If a file or region is missing, damaged, or of another shape.
    """
    source = manifest.config.get("source", "nsd")
    n_catalogue = int(manifest.config.get("n_catalogue", 0))
    if source == "nsd":
        from fmri_lightning.betas.nsd_volumes import open_nsd_volumes

        return open_nsd_volumes(table, root, subject, space, betas_version, roi, n_catalogue)
    if source == "mindeye2":
        from fmri_lightning.betas.mindeye_betas import open_mindeye_betas

        return open_mindeye_betas(table, root, subject, roi, n_catalogue)
    if source == "arrays":
        from fmri_lightning.betas.array_betas import open_array_betas

        return open_array_betas(table, root, subject, roi)
    raise BadInputError(f"the index of {subject} is of the source {source!r}; this version reads nsd, mindeye2, arrays")
