"""Writer of the Algonauts 2023 challenge's files, from the same simulated brain: names, order, averaging as published.

Layout after the organisers' public code; only sizes differ. Betas on the average surface are z-scored per vertex within
each session over all its trials, then averaged over the repeats of a picture. Train are the pictures of all sessions
but the last three. Test are pictures seen in the last three only, without the shared ones; of these, subjects that
ran every session keep those with all repeats there. The test betas and noise ceilings are the organisers' side, which
participants did not get; they are written here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fmri_lightning.errors import UsageError
from fmri_lightning.simulate.experiment import Experiment
from fmri_lightning.simulate.fsaverage_files import on_vertices, place_subject
from fmri_lightning.simulate.geometry import ROI_NAMES
from fmri_lightning.simulate.pictures import Pictures
from fmri_lightning.simulate.plan import ALGONAUTS_TEST_SESSIONS
from fmri_lightning.simulate.subject import NcsnrEstimate, Subject, session_betas
from fmri_lightning.simulate.surface import HEMISPHERES, IntArray, SubjectSurface, Surface, at_vertices

REGIONS = ("prf-visualrois", "floc-bodies", "floc-faces", "floc-places", "floc-words", "streams")
SPLITS = {"training": "train", "test": "test"}
"""Word in the names of folders → word in the names of pictures."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AlgonautsTree:
    """Writer of a whole tree.

    Attributes:
        root: Root of the tree.
        experiment: The design.
        surface: The average surface.
        seed: Seed of the simulation.
    """

    root: Path
    experiment: Experiment
    surface: Surface
    seed: int

    def write_design(self) -> None:
        """Check that every subject has pictures of both splits; the design itself is not part of the files.

        Raises:
            UsageError: A subject has no picture of a split.
        """
        for subject in self.experiment.subjects:
            for word, ids in split_pictures(self.experiment, subject).items():
                if not len(ids):
                    raise UsageError(f"subj{subject:02d} would have no {word} picture; raise --unique")

    @contextmanager
    def open_pictures(self, size_px: int) -> Iterator[Callable[[int, Pictures], None]]:
        """Make the folders of PNG files; what is yielded takes the first row and uint8 (n, side, side, 3)."""
        from PIL import Image

        places: dict[int, list[Path]] = {}
        for subject in self.experiment.subjects:
            for word, ids in split_pictures(self.experiment, subject).items():
                folder = self._split(subject, word) / f"{word}_images"
                folder.mkdir(parents=True)
                for i, nsd_id in enumerate(ids.tolist()):
                    name = f"{SPLITS[word]}-{i + 1:04d}_nsd-{nsd_id:05d}.png"
                    places.setdefault(nsd_id, []).append(folder / name)

        def write(start: int, pictures: Pictures) -> None:
            for nsd_id, picture in enumerate(pictures, start):
                for path in places.get(nsd_id, []):
                    Image.fromarray(picture).save(path)

        yield write

    def write_subject(self, subject: Subject, sessions: Callable[[range], Iterable[int]] = iter) -> dict[str, Any]:
        """Write all files of a subject but its pictures.

        Args:
            subject: The subject.
            sessions: Wraps the loop over sessions, for progress.

        Returns:
            Facts for SIMULATED.json.
        """
        placed = place_subject(subject, self.surface, self.experiment)
        kept = {h: challenge_vertices(self.surface, placed, h) for h in HEMISPHERES}
        n_sessions, length = self.experiment.sessions_run(subject.number), self.experiment.trials_per_session
        order = self.experiment.masterordering[: n_sessions * length] - 1
        shown_ids = self.experiment.nsd_ids(subject.number)[: len(order)]
        whole = NcsnrEstimate(order, self.experiment.repeats, len(subject.brain.ijk))
        z = {h: np.empty((len(order), len(kept[h]))) for h in HEMISPHERES}
        for session in sessions(range(1, n_sessions + 1)):
            rows = slice((session - 1) * length, session * length)
            psc = session_betas(subject, order[rows], self.seed, session)
            whole.add(order[rows], psc)
            for hemisphere in HEMISPHERES:
                betas = on_vertices(psc, placed.voxel[hemisphere])[:, kept[hemisphere]]
                z[hemisphere][rows] = standardised(betas.astype(np.float64))
        ncsnr = whole.result()
        split = split_pictures(self.experiment, subject.number)
        n_train = (n_sessions - ALGONAUTS_TEST_SESSIONS) * length
        for hemisphere in HEMISPHERES:
            trials = {"training": slice(0, n_train), "test": slice(0, None)}
            for word, ids in split.items():
                means = _means(z[hemisphere][trials[word]], shown_ids[trials[word]], ids)
                _save(self._split(subject.number, word) / f"{word}_fmri/{hemisphere}_{word}_fmri.npy", means)
            ceiling = noise_ceiling(ncsnr[placed.voxel[hemisphere][kept[hemisphere]]], shown_ids, split["test"])
            place = self._split(subject.number, "test") / f"noise_ceiling/{hemisphere}_noise_ceiling.npy"
            place.parent.mkdir(exist_ok=True)
            np.save(place, ceiling)
            self._write_masks(subject, placed, hemisphere, kept[hemisphere])
        self._write_mappings(subject.number)
        sizes = {f"{h}_vertices": len(kept[h]) for h in HEMISPHERES}
        counts = {f"{word}_pictures": len(ids) for word, ids in split.items()}
        return {**subject.facts(n_sessions, ncsnr), **sizes, **counts}

    def _split(self, subject: int, word: str) -> Path:
        return self.root / f"subj{subject:02d}/{word}_split"

    def _write_masks(self, subject: Subject, placed: SubjectSurface, hemisphere: str, kept: IntArray) -> None:
        """Write the mask of the kept vertices, and each region on the whole surface and on the kept vertices."""
        folder = self.root / f"subj{subject.number:02d}/roi_masks"
        folder.mkdir(exist_ok=True)
        mask = np.zeros(self.surface.n_vertices, dtype=np.int64)
        mask[kept] = 1
        np.save(folder / f"{hemisphere}.all-vertices_fsaverage_space.npy", mask)
        for name in REGIONS:
            # The subject's own regions, brought to the surface; outside the mask there are none.
            labels = at_vertices(subject.brain.labels[name], placed.voxel[hemisphere]) * mask
            np.save(folder / f"{hemisphere}.{name}_fsaverage_space.npy", labels)
            np.save(folder / f"{hemisphere}.{name}_challenge_space.npy", labels[kept])

    def _write_mappings(self, subject: int) -> None:
        """Write the names of labels as the organisers did, as a pickled dictionary in an .npy file."""
        for name in REGIONS:
            mapping: Any = {0: "Unknown", **ROI_NAMES[name]}
            np.save(self.root / f"subj{subject:02d}/roi_masks/mapping_{name}.npy", mapping, allow_pickle=True)


def split_pictures(experiment: Experiment, subject: int) -> dict[str, IntArray]:
    """Return the pictures of both splits of a subject, 0-based catalogue numbers, ascending."""
    n_sessions, length = experiment.sessions_run(subject), experiment.trials_per_session
    shown = experiment.nsd_ids(subject)[: n_sessions * length]
    early, late = np.split(shown, [(n_sessions - ALGONAUTS_TEST_SESSIONS) * length])
    train = np.unique(early)
    test, counts = np.unique(late[~np.isin(late, train)], return_counts=True)
    shared = np.isin(test, experiment.sharedix - 1)
    complete = (counts == experiment.repeats) & (n_sessions == experiment.sessions)
    return {"training": train, "test": test[~shared | complete]}


def challenge_vertices(surface: Surface, placed: SubjectSurface, hemisphere: str) -> IntArray:
    """Return the vertices of nsdgeneral and RSC that have values, ascending."""
    mask = (surface.labels(hemisphere, "nsdgeneral") > 0) | surface.retrosplenial(hemisphere)
    mask[placed.nan[hemisphere]] = False
    return np.flatnonzero(mask)


def standardised(betas: FloatArray) -> FloatArray:
    """Z-score each vertex over all trials of a session (ddof 0); a constant vertex becomes 0."""
    moves = betas.max(axis=0) > betas.min(axis=0)
    z: FloatArray = (betas - betas.mean(axis=0)) / np.where(moves, betas.std(axis=0), 1)
    return np.where(moves, z, 0.0)


def noise_ceiling(ncsnr: FloatArray, shown: IntArray, test: IntArray) -> FloatArray:
    """Return the share of variance that is signal in means over the test pictures' repeats, 0..1."""
    repeats = np.bincount(shown, minlength=test.max() + 1)[test]
    ceiling: FloatArray = ncsnr**2 / (ncsnr**2 + (1 / repeats).mean())
    return ceiling


def _means(z: FloatArray, shown: IntArray, ids: IntArray) -> npt.NDArray[np.float32]:
    return np.stack([z[shown == nsd_id].mean(axis=0) for nsd_id in ids.tolist()]).astype(np.float32)


def _save(path: Path, values: npt.NDArray[np.float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)
