"""In which file layouts a simulated experiment can be written, and what can be written beside NSD's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fmri_lightning.simulate.plan import Plan

if TYPE_CHECKING:
    from fmri_lightning.simulate.experiment import Experiment
    from fmri_lightning.simulate.pictures import Pictures, PictureSource
    from fmri_lightning.simulate.subject import Subject


class Layout(Protocol):
    """Writer of one layout below the root of a tree."""

    def write_design(self) -> None:
        """Write who sees which picture when."""

    def open_pictures(self, size_px: int) -> AbstractContextManager[Callable[[int, Pictures], None]]:
        """Open the file of pictures; what is yielded takes the first row and uint8 (n, side, side, 3)."""

    def write_subject(self, subject: Subject, sessions: Callable[[range], Iterable[int]]) -> dict[str, Any]:
        """Write all files of a subject and return its facts; ``sessions`` wraps the loop, for progress."""


class Extra(Protocol):
    """Writer of something that stands beside NSD's own files in the same tree."""

    def write_design(self, source: PictureSource) -> None:
        """Write what belongs to all subjects; ``source`` is the catalogue of pictures."""

    def write_subject(self, subject: Subject) -> None:
        """Write what belongs to one subject, after the tree's own files of it."""


def _nsd(root: Path, experiment: Experiment, plan: Plan) -> Layout:
    from fmri_lightning.simulate.nsd_tree import NsdTree

    return NsdTree(root, experiment, plan.seed, frozenset(plan.nifti_sessions))


def _mindeye2(root: Path, experiment: Experiment, plan: Plan) -> Layout:
    from fmri_lightning.simulate.mindeye_tree import MindEyeTree

    return MindEyeTree(root, experiment, plan.seed)


def _coco(root: Path, experiment: Experiment, plan: Plan) -> Extra:
    from fmri_lightning.simulate.coco_files import CocoFiles

    return CocoFiles(root, experiment.n_catalogue, plan.seed)


def _mindeye1(root: Path, experiment: Experiment, plan: Plan) -> Layout:
    from fmri_lightning.simulate.mindeye1_tree import MindEye1Tree

    return MindEye1Tree(root, experiment, plan.seed)


def _brain_diffuser(root: Path, experiment: Experiment, plan: Plan) -> Layout:
    from fmri_lightning.simulate.brain_diffuser_tree import BrainDiffuserTree

    return BrainDiffuserTree(root, experiment, plan.seed)


def _algonauts(root: Path, experiment: Experiment, plan: Plan) -> Layout:
    from fmri_lightning.simulate.algonauts_tree import AlgonautsTree
    from fmri_lightning.simulate.surface import make_surface

    return AlgonautsTree(root, experiment, make_surface(plan.nsdgeneral_voxels, plan.seed), plan.seed)


def _fsaverage(root: Path, experiment: Experiment, plan: Plan) -> Extra:
    from fmri_lightning.simulate.fsaverage_files import FsaverageFiles
    from fmri_lightning.simulate.surface import make_surface

    return FsaverageFiles(root, experiment, make_surface(plan.nsdgeneral_voxels, plan.seed), plan.seed)


WRITERS: dict[str, Callable[[Path, Experiment, Plan], Layout]] = {
    "nsd": _nsd,
    "mindeye2": _mindeye2,
    "mindeye1": _mindeye1,
    "brain_diffuser": _brain_diffuser,
    "algonauts": _algonauts,
}
"""By the name that --layout takes; ``plan.LAYOUTS`` lists the same."""


def _imagery(root: Path, experiment: Experiment, plan: Plan) -> Extra:
    from fmri_lightning.simulate.imagery_tree import ImageryTree

    return ImageryTree(root, experiment, plan.seed)


def _synthetic(root: Path, experiment: Experiment, plan: Plan) -> Extra:
    from fmri_lightning.simulate.synthetic_tree import SyntheticTree

    return SyntheticTree(root, experiment, plan.seed)


EXTRA_WRITERS: dict[str, Callable[[Path, Experiment, Plan], Extra]] = {
    "coco": _coco,
    "fsaverage": _fsaverage,
    "imagery": _imagery,
    "synthetic": _synthetic,
}
"""By the names that --also takes; ``plan.EXTRAS`` lists the same."""
