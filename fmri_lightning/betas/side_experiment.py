"""Betas of NSD-Imagery and NSD-synthetic at exactly the voxels of a training store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.like import LIKE, describe_like, open_training_store
from fmri_lightning.betas.nsd_volumes import NSDVolumes
from fmri_lightning.betas.reader import read_shape
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.prediction_only import SIDE_EXPERIMENTS, find_betas
from fmri_lightning.records import TrialTable

DROPPED = "dropped_in_training"


@dataclass(frozen=True)
class SideVolumes(NSDVolumes):
    """The one file of a side experiment; a voxel that training dropped is silent here too."""

    def read(self, session: int, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Read the training store's voxels in some trials, percent signal change, float32 (n, n_voxels)."""
        betas = super().read(session, rows)
        betas[:, self.voxel_columns[DROPPED]] = 0.0
        return betas


def open_side_experiment(
    config: dict[str, Any], table: TrialTable, root: Path, subject: str, like: Path | None
) -> SideVolumes:
    """Check the file of a side experiment against index and training store; reads no beta.

    Args:
        config: What the index says of itself.
        table: The index.
        root: Folder that contains ``nsddata_betas/``.
        subject: For instance "subj01".
        like: Training store, or the folder of all subjects' stores.

    Returns:
        The source; space, betas version, region and voxels are the training store's.

    Raises:
        BadInputError: If a file is missing, of other trials than the index knows, or of another volume.
    """
    assert like is not None
    experiment = SIDE_EXPERIMENTS[str(config["source"])]
    store = open_training_store(like, subject)
    trained = store.manifest.config
    path = find_betas(root, experiment, subject, trained["space"], trained["betas_version"])
    n_trials, *box = read_shape(path)
    if n_trials != config["file_trials"]:
        raise BadInputError(
            f"{path} has {n_trials} trials, {experiment.name} has {config['file_trials']}, as the index counts them; "
            "download it again"
        )
    if list(box) != list(trained["volume_shape"]):
        raise BadInputError(
            f"{path} has volumes of {tuple(box)}, those of {store.folder} are {tuple(trained['volume_shape'])}; the "
            "file is of another subject or space"
        )
    columns: dict[str, NDArray[Any]] = {"ncsnr_published": store.ncsnr_published, DROPPED: store.dropped}
    columns |= {f"roi.{name}": labels for name, labels in store.roi_labels.items()}
    facts = {name: trained[name] for name in ("space", "betas_version", "roi", "volume_shape", "has_published_ncsnr")}
    facts |= {LIKE: describe_like(store), "task": config["task"]}
    session = int(table.session[0])
    return SideVolumes(store.ijk, columns, {session: path}, facts, {session: n_trials})
