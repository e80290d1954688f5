"""Writer of brain-diffuser's arrays, byte-layout-compatible: one row a picture, betas averaged over its repeats.

Layout after public code that makes and reads the arrays (ozcelikfu/brain-diffuser); only sizes differ. Rows come in
the order in which pictures first appear in the design, by which alone a row is known to be of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fmri_lightning.simulate.curated_captions import CURATED, captions_of
from fmri_lightning.simulate.experiment import Experiment
from fmri_lightning.simulate.nsd_tree import EXPDESIGN, write_expdesign
from fmri_lightning.simulate.pictures import Pictures
from fmri_lightning.simulate.subject import Scanning, Subject

SESSIONS = 37
"""Sessions that were public when the arrays were first made."""
ANNOTATIONS = Path("annots") / CURATED

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class BrainDiffuserTree:
    """Writer of a whole tree; holds all pictures in memory.

    Attributes:
        root: Root of the tree, which stands for the folder ``data`` of brain-diffuser.
        experiment: The design.
        seed: Seed of the simulation.
        pictures: Blocks of the catalogue, uint8 (n, side, side, 3), once they were written.
    """

    root: Path
    experiment: Experiment
    seed: int
    pictures: list[Pictures] = field(default_factory=list)

    def write_design(self) -> None:
        """Write NSD's own design, which says which picture a row is of."""
        write_expdesign(self.root / EXPDESIGN, self.experiment)

    @contextmanager
    def open_pictures(self, size_px: int) -> Iterator[Callable[[int, Pictures], None]]:
        """Keep the pictures until the arrays are written; ``size_px`` is theirs already."""

        def write(start: int, pictures: Pictures) -> None:
            assert start == sum(map(len, self.pictures))
            assert pictures.shape[1] == size_px
            self.pictures.append(pictures)

        yield write

    def write_subject(self, subject: Subject, sessions: Callable[[range], Iterable[int]] = iter) -> dict[str, Any]:
        """Write betas, pictures and captions of a subject.

        Args:
            subject: The subject.
            sessions: Wraps the loop over sessions, for progress.

        Returns:
            Facts for SIMULATED.json.
        """
        scanning = Scanning(subject, self.experiment, self.seed)
        length = self.experiment.trials_per_session
        kept = min(SESSIONS, scanning.n_sessions)
        shown = self.experiment.nsd_ids(subject.number)[: kept * length]
        visual = subject.brain.nsdgeneral
        ids = np.unique(shown)
        total, times = np.zeros((len(ids), int(visual.sum()))), np.zeros(len(ids))
        for session, stored in scanning.run(sessions):
            if session <= kept:
                rows = np.searchsorted(ids, shown[(session - 1) * length : session * length])
                np.add.at(total, rows, stored[:, visual])
                np.add.at(times, rows, 1)
        means = total / times[:, None]
        captions = self._captions()
        for part, wanted in first_appearances(shown, self.experiment.sharedix - 1).items():
            self._write_part(part, subject.number, wanted, means[np.searchsorted(ids, wanted)], captions)
        return subject.facts(scanning.n_sessions, scanning.ncsnr())

    def _captions(self) -> npt.NDArray[np.str_]:
        path = self.root / ANNOTATIONS
        captions = captions_of(self.root, self.experiment.n_catalogue)
        if not path.exists():
            path.parent.mkdir()
            np.save(path, captions)
        return captions

    def _write_part(
        self, part: str, number: int, ids: IntArray, means: npt.NDArray[np.float64], captions: npt.NDArray[np.str_]
    ) -> None:
        # The folder has two digits, the file name one.
        folder = self.root / "processed_data" / f"subj{number:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"nsd_{part}_fmriavg_nsdgeneral_sub{number}.npy", means)
        np.save(folder / f"nsd_{part}_cap_sub{number}.npy", captions[ids])
        catalogue = np.concatenate(self.pictures)
        np.save(folder / f"nsd_{part}_stim_sub{number}.npy", catalogue[ids].astype("<f8"))


def first_appearances(shown: IntArray, shared: IntArray) -> dict[str, IntArray]:
    """Return the pictures of train and test, each once, in the order in which they were first shown.

    Args:
        shown: 0-based picture of each trial, (n,).
        shared: 0-based shared pictures, which are test.
    """
    ids, first = np.unique(shown, return_index=True)
    in_order = ids[np.argsort(first)]
    is_test = np.isin(in_order, shared)
    return {"train": in_order[~is_test], "test": in_order[is_test]}
