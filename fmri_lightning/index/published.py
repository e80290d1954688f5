"""What NSD's subjects look like, as published: the yardstick of files that claim to be NSD's."""

from __future__ import annotations

from dataclasses import dataclass

NSD_CATALOGUE = 73_000
"""Pictures in NSD's catalogue. A tree of another size is a miniature or another experiment: nothing here binds it."""

NSD_TRIALS_PER_SESSION = 750
WITHHELD_SESSIONS = 3
"""The last sessions of every subject came out in August 2023 only; older downloads are whole without them."""


@dataclass(frozen=True)
class PublishedSubject:
    """One of NSD's eight subjects (Allen et al. 2022; counts as public code that reads the data prints them).

    Attributes:
        shape: Volume (X, Y, Z) in func1pt8mm, voxels.
        sessions: Sessions that were run.
        nsdgeneral: Voxels of nsdgeneral in func1pt8mm.
        stimuli: Distinct pictures that were shown.
        shared: Shared pictures that were shown at least once.
        shared_trials: Trials of shared pictures.
        median_ncsnr: Median ncsnr inside nsdgeneral, betas b3.
    """

    shape: tuple[int, int, int]
    sessions: int
    nsdgeneral: int
    stimuli: int
    shared: int
    shared_trials: int
    median_ncsnr: float

    @property
    def session_counts(self) -> tuple[int, int]:
        """Sessions of a complete download: all, or those published before August 2023, which lack the last three."""
        return self.sessions, self.sessions - WITHHELD_SESSIONS

    @property
    def trials(self) -> int:
        """Trials that were run."""
        return self.sessions * NSD_TRIALS_PER_SESSION


SUBJECTS: dict[str, PublishedSubject] = {
    "subj01": PublishedSubject((81, 104, 83), 40, 15724, 10_000, 1000, 3000, 0.361),
    "subj02": PublishedSubject((82, 106, 84), 40, 14278, 10_000, 1000, 3000, 0.361),
    "subj03": PublishedSubject((81, 106, 82), 32, 15226, 9411, 930, 2371, 0.324),
    "subj04": PublishedSubject((85, 99, 80), 30, 13153, 9209, 907, 2188, 0.296),
    "subj05": PublishedSubject((79, 97, 78), 40, 13039, 10_000, 1000, 3000, 0.415),
    "subj06": PublishedSubject((85, 113, 83), 32, 17907, 9411, 930, 2371, 0.343),
    "subj07": PublishedSubject((78, 95, 81), 40, 12682, 10_000, 1000, 3000, 0.281),
    "subj08": PublishedSubject((80, 103, 78), 30, 14386, 9209, 907, 2188, 0.226),
}


def published_subject(subject: str, n_catalogue: int) -> PublishedSubject | None:
    """Look up what binds a subject's files.

    Args:
        subject: For instance "subj01".
        n_catalogue: Pictures in the catalogue beside them.

    Returns:
        The published facts, or None where the catalogue is not NSD's.
    """
    return SUBJECTS.get(subject) if n_catalogue == NSD_CATALOGUE else None


FIRST37_PICTURES = {"train": 8859, "test": 982}
"""Pictures that each of :data:`FIRST37_SUBJECTS` saw in the first 37 sessions; the shared ones are test."""
FIRST37_TRIALS = {"train": 24_980, "test": 2770}
FIRST37_SUBJECTS = ("subj01", "subj02", "subj05", "subj07")
"""Subjects of 40 sessions, of whom the older releases are."""


def subject_of_size(n_voxels: int) -> str | None:
    """Say which subject's nsdgeneral has so many voxels; no two have the same number.

    Args:
        n_voxels: Voxels of a file's rows.

    Returns:
        For instance "subj01", or None where it is nobody's.
    """
    return next((name for name, facts in SUBJECTS.items() if facts.nsdgeneral == n_voxels), None)


def catalogue_size(subject: str, n_voxels: int, listed: int | None, largest_id: int) -> int:
    """Settle how many pictures the catalogue has, for releases that bring none.

    Args:
        subject: For instance "subj01".
        n_voxels: Voxels of the subject's betas.
        listed: Rows of a table over the whole catalogue, where one lies beside the betas.
        largest_id: Largest nsd_id of the subject.

    Returns:
        What is listed, or NSD's where the voxels are those of NSD's subject, or as many as the ids need.
    """
    if listed is not None:
        return listed
    return NSD_CATALOGUE if subject_of_size(n_voxels) == subject else largest_id + 1
