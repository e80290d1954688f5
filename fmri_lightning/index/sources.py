"""Which data can be indexed: one reader a source, all asked the same question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fmri_lightning.index.subject_index import SubjectIndex


@dataclass(frozen=True)
class IndexRequest:
    """What an index is asked for.

    Attributes:
        root: Folder of the data.
        subject: For instance "subj01".
        sessions: "all", "first37" or a number of first sessions.
        split_file: Arrays only: table of stimulus and split.
        normalised: Arrays only: the betas come z-scored or averaged.
        task: nsd_imagery only: "vision" or "imagery".
        first_run: nsd_imagery only: first run of the session, where the files do not tell.
    """

    root: Path
    subject: str
    sessions: str = "all"
    split_file: Path | None = None
    normalised: bool = False
    task: str | None = None
    first_run: str | None = None


def _nsd(request: IndexRequest) -> SubjectIndex:
    from fmri_lightning.index.nsd_trials import index_nsd

    return index_nsd(request.root, request.subject, request.sessions)


def _mindeye2(request: IndexRequest) -> SubjectIndex:
    from fmri_lightning.index.mindeye_trials import index_mindeye

    return index_mindeye(request.root, request.subject, request.sessions)


def _arrays(request: IndexRequest) -> SubjectIndex:
    from fmri_lightning.index.arrays import index_arrays

    return index_arrays(request.root, request.subject, request.sessions, request.split_file, request.normalised)


def _mindeye1(request: IndexRequest) -> SubjectIndex:
    from fmri_lightning.index.mindeye1_trials import index_mindeye1

    return index_mindeye1(request.root, request.subject, request.sessions)


def _brain_diffuser(request: IndexRequest) -> SubjectIndex:
    from fmri_lightning.index.brain_diffuser_trials import index_brain_diffuser

    return index_brain_diffuser(request.root, request.subject, request.sessions)


def _algonauts(request: IndexRequest) -> SubjectIndex:
    from fmri_lightning.index.algonauts import index_algonauts

    return index_algonauts(request.root, request.subject, request.sessions)


def _nsd_imagery(request: IndexRequest) -> SubjectIndex:
    from fmri_lightning.index.nsd_imagery import index_imagery

    return index_imagery(request.root, request.subject, request.task, request.first_run)


def _nsd_synthetic(request: IndexRequest) -> SubjectIndex:
    from fmri_lightning.index.nsd_synthetic import index_synthetic

    return index_synthetic(request.root, request.subject)


SOURCES: dict[str, Callable[[IndexRequest], SubjectIndex]] = {
    "nsd": _nsd,
    "mindeye2": _mindeye2,
    "arrays": _arrays,
    "mindeye1": _mindeye1,
    "brain_diffuser": _brain_diffuser,
    "algonauts": _algonauts,
    "nsd_imagery": _nsd_imagery,
    "nsd_synthetic": _nsd_synthetic,
}
"""By the name that --source takes; each has a section in the data guide, fmri_lightning/index/README.md."""
