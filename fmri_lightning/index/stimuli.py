"""The pictures themselves, in whichever of their forms a data root holds them, or a folder of pictures."""

from __future__ import annotations

import os
from pathlib import Path

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.algonauts_stimuli import ALGONAUTS_IMAGES, AlgonautsStimuli
from fmri_lightning.index.brain_diffuser import PROCESSED
from fmri_lightning.index.brain_diffuser_stimuli import BrainDiffuserStimuli
from fmri_lightning.index.coco_stimuli import COCO, CocoStimuli
from fmri_lightning.index.experiment_stimuli import WithExperiments, holds_experiments, open_experiment
from fmri_lightning.index.folder_stimuli import OWN_STIMULI, SUFFIXES, FolderStimuli
from fmri_lightning.index.mindeye1 import FOLDER as MINDEYE1
from fmri_lightning.index.mindeye1_stimuli import MindEye1Stimuli
from fmri_lightning.index.mindeye_stimuli import MINDEYE_IMAGES, MindEyeStimuli
from fmri_lightning.index.nsd_stimuli import STIMULI, NSDStimuli
from fmri_lightning.index.stimulus_source import StimulusSource
from fmri_lightning.manifest import content_hash, file_fingerprint

__all__ = [
    "STIMULI",
    "SUFFIXES",
    "FolderStimuli",
    "StimulusSource",
    "holds_stimuli",
    "open_stimuli",
    "stimuli_identity",
]

FORMS = {
    STIMULI: "NSD's own pictures",
    COCO: "COCO photographs that NSD's catalogue crops",
    MINDEYE_IMAGES: "MindEye2's pictures of 224 pixels",
    OWN_STIMULI: "a folder of pictures of your own",
    MINDEYE1: "MindEye1's samples, with a JPEG each",
    PROCESSED: "brain-diffuser's arrays",
    ALGONAUTS_IMAGES: "pictures of the Algonauts 2023 challenge",
}
"""Where a data root may hold its pictures; an asterisk stands for any subject's number."""


def open_stimuli(
    root: Path | str | None = None, images: Path | str | None = None, experiment: str | None = None
) -> StimulusSource:
    """Open the pictures of a data root or of a folder.

    Pictures of NSD-Imagery and NSD-synthetic are read by their own ids (100,000 and on, 200,000 and on) wherever the
    root holds them; they are not among the ``ids`` of the root's catalogue.

    Args:
        root: Folder that contains ``nsddata_stimuli/`` with nsd_stimuli.hdf5 or with COCO photographs,
            coco_images_224_float16.hdf5 of MindEye2, a folder ``stimuli`` of your own pictures, MindEye1's samples
            (webdataset_avg_split), brain-diffuser's arrays (processed_data), or subjects' folders of the Algonauts 2023
            challenge. NSD's own file, once there, is the one that is read: damaged, it is refused and nothing takes its
            place.
        images: A folder of pictures. Ids come from names such as ``nsd00123.png``; where no file is named so,
            they are the position in the sorted list of names.
        experiment: "nsd_imagery" or "nsd_synthetic": these pictures of the root and no others.

    Returns:
        The source.

    Raises:
        UsageError: If not exactly one of the two is given, or the experiment is unknown.
        BadInputError: If nothing readable is there, or two forms of which neither is the original.
    """
    if (root is None) == (images is None):
        raise UsageError("give the pictures by --root (an NSD tree) or by --images (a folder), one of the two")
    if root is None:
        return FolderStimuli(Path(str(images)))
    if experiment is not None:
        return open_experiment(Path(root), experiment)
    catalogue = _catalogue(Path(root))
    return WithExperiments(Path(root), catalogue) if holds_experiments(Path(root)) else catalogue


def _catalogue(root: Path) -> StimulusSource:
    form = _form(root)
    if form == COCO:
        return CocoStimuli(root)
    if form == OWN_STIMULI:
        return FolderStimuli(root / OWN_STIMULI)
    if form == MINDEYE1:
        return MindEye1Stimuli(root)
    if form == PROCESSED:
        return BrainDiffuserStimuli(root)
    if form == ALGONAUTS_IMAGES:
        return AlgonautsStimuli(root)
    return MindEyeStimuli(root) if form == MINDEYE_IMAGES else NSDStimuli(root)


def holds_stimuli(root: Path) -> bool:
    """Say whether a folder is a data root with pictures, in any of the forms; whether they are readable is not asked.

    Args:
        root: The folder.

    Returns:
        True where one of the places is taken.
    """
    return bool(_present(root))


def stimuli_identity(
    root: Path | str | None = None, images: Path | str | None = None, experiment: str | None = None
) -> str:
    """Tell a set of pictures from another: the same ids of another tree are other pictures.

    Args:
        root: Data root; identified by size, head and tail of its file, by the catalogue's crops with the names and
            sizes of the COCO photographs, or like a folder.
        images: Folder of pictures; identified by names and sizes.
        experiment: "nsd_imagery" or "nsd_synthetic": these pictures of the root.

    Returns:
        A short text.

    Raises:
        BadInputError: If the root holds no pictures, or they cannot be read.
    """
    if root is not None and experiment is not None:
        return open_experiment(Path(root), experiment).identity()
    if root is not None:
        form = _form(Path(root))
        if form == COCO:
            return CocoStimuli(Path(root)).identity()
        if form == MINDEYE1:
            return MindEye1Stimuli(Path(root)).identity()
        if form == PROCESSED:
            return BrainDiffuserStimuli(Path(root)).identity()
        if form == OWN_STIMULI:
            return stimuli_identity(images=Path(root) / OWN_STIMULI)
        if form == ALGONAUTS_IMAGES:
            return AlgonautsStimuli(Path(root)).identity()
        stimuli = file_fingerprint(Path(root) / form)
        prefix = "mindeye2:" if form == MINDEYE_IMAGES else ""
        return f"{prefix}{stimuli['size']}:{stimuli['head_tail_sha256']}"
    assert images is not None
    folder = Path(images)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return content_hash("\n".join(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}" for path in files))


def _present(root: Path) -> list[str]:
    # A link to nothing counts: the user meant it, and is told so when it is opened.
    return [form for form in FORMS if (any(root.glob(form)) if "*" in form else os.path.lexists(root / form))]


def _form(root: Path) -> str:
    present = _present(root)
    if not present:
        places = "; ".join(f"{what} ({place})" for place, what in FORMS.items())
        raise BadInputError(f"no pictures in {root}: everything is missing of {places}; bring one of them there")
    if STIMULI not in present and len(present) > 1:
        raise BadInputError(
            f"{root} holds pictures in two forms, {' and '.join(present)}, which differ in size; keep one of them there"
        )
    return present[0]
