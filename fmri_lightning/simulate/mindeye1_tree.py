"""Writer of MindEye1's files, byte-layout-compatible: tars of samples, a sample for each picture, up to three repeats.

Layout after the dataset pscotti/naturalscenesdataset (webdataset_avg_split) and public code that reads it; only sizes
differ. All writers give the same bytes for the same contents: no times of day in headers.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fmri_lightning.simulate.curated_captions import CURATED, captions_of
from fmri_lightning.simulate.experiment import Experiment
from fmri_lightning.simulate.geometry import Brain
from fmri_lightning.simulate.pictures import Pictures
from fmri_lightning.simulate.subject import Scanning, Subject

FOLDER = Path("webdataset_avg_split")
SESSIONS = 37
"""Sessions that were public when the dataset was made."""
ROWS = 3
VAL_SHARE = 300 / 8859
"""Validation pictures among those that are not shared."""
FEWEST_VAL = 30
"""So many where they are a tenth at most, so that small trees can be validated too."""
SAMPLES_PER_SHARD = 500
TRAIN_SHARDS = 3
"""At least so many train tars, so that small trees have several too."""

HalfArray = npt.NDArray[np.float16]


@dataclass(frozen=True)
class MindEye1Tree:
    """Writer of a whole tree; holds one subject's z-scores and all pictures in memory.

    Attributes:
        root: Root of the tree.
        experiment: The design.
        seed: Seed of the simulation.
        pictures: JPEG of each picture of the catalogue, once they were written.
    """

    root: Path
    experiment: Experiment
    seed: int
    pictures: list[bytes] = field(default_factory=list)

    def write_design(self) -> None:
        """Write nothing: the published files hold no design, each sample names its picture."""

    @contextmanager
    def open_pictures(self, size_px: int) -> Iterator[Callable[[int, Pictures], None]]:
        """Keep the pictures as JPEG until the samples are written; ``size_px`` is theirs already."""

        def write(start: int, pictures: Pictures) -> None:
            assert start == len(self.pictures)
            assert pictures.shape[1] == size_px
            self.pictures.extend(_jpeg(picture) for picture in pictures)

        yield write

    def write_subject(self, subject: Subject, sessions: Callable[[range], Iterable[int]] = iter) -> dict[str, Any]:
        """Write the tars and the metadata of a subject.

        Args:
            subject: The subject.
            sessions: Wraps the loop over sessions, for progress.

        Returns:
            Facts for SIMULATED.json.
        """
        scanning = Scanning(subject, self.experiment, self.seed)
        kept = min(SESSIONS, scanning.n_sessions)
        length = self.experiment.trials_per_session
        scores = np.empty((kept * length, len(subject.brain.ijk)), dtype="<f2")
        for session, stored in scanning.run(sessions):
            if session <= kept:
                scores[(session - 1) * length : session * length] = session_scores(stored)
        self._write_samples(subject, scores)
        if not (self.root / CURATED).exists():
            np.save(self.root / CURATED, captions_of(self.root, self.experiment.n_catalogue))
        return subject.facts(scanning.n_sessions, scanning.ncsnr())

    def _write_samples(self, subject: Subject, scores: HalfArray) -> None:
        shown = self.experiment.nsd_ids(subject.number)[: len(scores)]
        rng = np.random.default_rng([self.seed, subject.number, 600])
        totals = {}
        for split, ids in split_pictures(shown, self.experiment.sharedix - 1, rng).items():
            totals[split] = len(ids)
            folder = self.root / FOLDER / split
            folder.mkdir(parents=True, exist_ok=True)
            size = min(SAMPLES_PER_SHARD, max(1, -(-len(ids) // TRAIN_SHARDS))) if split == "train" else len(ids)
            for shard, start in enumerate(range(0, len(ids), min(size, SAMPLES_PER_SHARD))):
                path = folder / f"{split}_subj{subject.number:02d}_{shard}.tar"
                with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
                    for number in range(start, min(start + min(size, SAMPLES_PER_SHARD), len(ids))):
                        self._add_sample(archive, number, int(ids[number]), shown, scores, subject.brain)
        text = json.dumps({"totals": totals})
        (self.root / FOLDER / f"metadata_subj{subject.number:02d}.json").write_text(text + "\n", encoding="utf-8")

    def _add_sample(
        self,
        archive: tarfile.TarFile,
        number: int,
        picture: int,
        shown: npt.NDArray[np.int64],
        scores: HalfArray,
        brain: Brain,
    ) -> None:
        trials = np.flatnonzero(shown == picture)
        rows = scores[trials[np.arange(ROWS) % len(trials)]]
        volumes = np.zeros((ROWS, *brain.shape), dtype="<f2")
        i, j, k = brain.ijk.T
        volumes[:, i, j, k] = rows
        members = {
            "coco73k.npy": _npy(np.array([picture], dtype="<i8")),
            "jpg": self.pictures[picture],
            "nsdgeneral.npy": _npy(rows[:, brain.nsdgeneral]),
            "num_uniques.npy": _npy(np.array([len(trials)], dtype="<i8")),
            "trial.npy": _npy(np.array([trials[0]], dtype="<i8")),
            "wholebrain_3d.npy": _npy(volumes),
        }
        for name, content in members.items():
            # A new TarInfo has neither a time nor an owner.
            info = tarfile.TarInfo(f"sample{number:09d}.{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def session_scores(stored: npt.NDArray[np.int16]) -> HalfArray:
    """Z-score each voxel by all trials of a session, those of shared pictures too.

    Args:
        stored: int16 (T, V), percent signal change times 300.

    Returns:
        float16 (T, V), deviations with ddof 0; 0 for a voxel that is constant.
    """
    values = stored.astype(np.float64)
    moves = stored.max(axis=0) > stored.min(axis=0)
    scores = (values - values.mean(axis=0)) / np.where(moves, values.std(axis=0), 1)
    return np.where(moves, scores, 0).astype("<f2")


def split_pictures(
    shown: npt.NDArray[np.int64], shared: npt.NDArray[np.int64], rng: np.random.Generator
) -> dict[str, npt.NDArray[np.int64]]:
    """Deal out the pictures of a subject, in shuffled order.

    Args:
        shown: 0-based picture of each trial, (n,).
        shared: 0-based shared pictures.
        rng: Random generator.

    Returns:
        Ids of train, val and test: the shared ones are test, a random few of the others val.
    """
    seen = np.unique(shown)
    test = rng.permutation(seen[np.isin(seen, shared)])
    others = rng.permutation(seen[~np.isin(seen, shared)])
    fewest = max(3, min(FEWEST_VAL, len(others) // 10))
    n_val = min(len(others) - 1, max(fewest, round(VAL_SHARE * len(others))))
    return {"train": others[n_val:], "val": others[:n_val], "test": test}


def _jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _npy(values: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()
