"""Experiments that nothing is fitted on: an encoder of NSD proper draws from their trials, and that is all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import Manifest

IDS_EACH = 100_000
"""Distance of the first ids of two experiments; NSD's own 73,000 pictures lie below the first."""


@dataclass(frozen=True)
class SideExperiment:
    """One session outside the 40 of NSD proper.

    Attributes:
        name: As ``--source`` takes it.
        stem: In the names of its files: "nsdimagery" or "nsdsynthetic".
        first_id: nsd_id of its first picture.
        n_trials: Volumes in its file of betas.
        tasks: What ``--task`` chooses from, and what is said of such trials; "" stands for no choice.
    """

    name: str
    stem: str
    first_id: int
    n_trials: int
    tasks: dict[str, str]

    def betas_folder(self, subject: str, space: str, betas_version: str) -> str:
        """Name the folder of its betas relative to the data root.

        Args:
            subject: For instance "subj01".
            space: "func1pt8mm" or "func1mm".
            betas_version: Of the training store: "b2", "b3" or a folder name.

        Raises:
            BadInputError: The experiment was not published in that version.
        """
        folder = {"b2": "betas_fithrf", "b3": "betas_fithrf_GLMdenoise_RR"}.get(betas_version, betas_version)
        if folder not in ("betas_fithrf", "betas_fithrf_GLMdenoise_RR"):
            raise BadInputError(
                f"{self.name} has betas of the versions b2 and b3, the training store is of {betas_version!r}; fit on "
                "one of the two"
            )
        return f"nsddata_betas/ppdata/{subject}/{space}/{self.stem}{folder}"


SIDE_EXPERIMENTS: dict[str, SideExperiment] = {
    one.name: one
    for one in (
        SideExperiment(
            "nsd_imagery", "nsdimagery", IDS_EACH, 720, {"vision": "seen trials", "imagery": "imagined trials"}
        ),
        SideExperiment("nsd_synthetic", "nsdsynthetic", 2 * IDS_EACH, 744, {"": "seen trials"}),
    )
}
"""By the name that ``--source`` takes."""


def experiment_of_id(nsd_id: int) -> str | None:
    """Name the experiment that a picture belongs to, None for NSD's own.

    Example:
        >>> experiment_of_id(72_999), experiment_of_id(100_017), experiment_of_id(200_283)
        (None, 'nsd_imagery', 'nsd_synthetic')
    """
    for one in SIDE_EXPERIMENTS.values():
        if one.first_id <= nsd_id < one.first_id + IDS_EACH:
            return one.name
    return None


def is_prediction_only(index: Manifest | None) -> bool:
    """Say whether an index, or None for none, is of trials that nothing may be fitted on."""
    return index is not None and bool(index.config.get("prediction_only", False))


def require_fitting_index(index: Manifest) -> None:
    """Refuse to fit on an index of trials that are for prediction only.

    Args:
        index: Manifest of the index.

    Raises:
        BadInputError: It is one.
    """
    if is_prediction_only(index):
        raise BadInputError(
            f"the index of {index.config.get('subject')} is prediction only ({index.config.get('source')}): nothing is "
            "fitted on it; fit on the index of NSD proper, and name this one in fmri-lightning predict"
        )


def in_words(index: Manifest) -> str:
    """Say in one line what a prediction-only index is of, for summaries and pages."""
    source = str(index.config["source"])
    trials = SIDE_EXPERIMENTS[source].tasks[str(index.config.get("task", ""))]
    return f"prediction only: {source}, {trials}; T0 from the same trials it is applied to"


def find_betas(root: Path, experiment: SideExperiment, subject: str, space: str, betas_version: str) -> Path:
    """Find the file of an experiment's betas, HDF5 before NIfTI.

    Args:
        root: Folder that contains ``nsddata_betas/``.
        experiment: Which.
        subject: For instance "subj01".
        space: "func1pt8mm" or "func1mm".
        betas_version: "b2", "b3" or a folder name of NSD proper.

    Returns:
        The path.

    Raises:
        BadInputError: If neither is there.
    """
    folder = root / experiment.betas_folder(subject, space, betas_version)
    for suffix in (".hdf5", ".nii.gz", ".nii"):
        path = folder / f"betas_{experiment.stem}{suffix}"
        if path.is_file():
            return path
    raise BadInputError(
        f"no betas of {experiment.name} in {folder} (betas_{experiment.stem}.hdf5 or .nii.gz); it comes with the NSD "
        "download"
    )
