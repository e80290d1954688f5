"""Writer of MindEye2's files, byte-layout-compatible: names, voxel order, z-scoring, behaviour as published.

Layout after the dataset pscotti/mindeyev2 and public code that reads it; only sizes differ. All writers give the same
bytes for the same contents: no times of day in headers. Trials, pictures and sessions in file names count from 0.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from fmri_lightning.errors import UsageError
from fmri_lightning.simulate.experiment import Experiment
from fmri_lightning.simulate.geometry import Brain
from fmri_lightning.simulate.pictures import Pictures
from fmri_lightning.simulate.recipe import BETAS_PER_PSC
from fmri_lightning.simulate.subject import Scanning, Subject
from fmri_lightning.simulate.tables import RESPONSE_COLUMNS, response_rows

PICTURES = Path("coco_images_224_float16.hdf5")
TRIAL_PICTURES = Path("COCO_73k_subj_indices.hdf5")
REGIONS = Path("brain_region_masks.hdf5")
SHARED_MASK = Path("shared1000.npy")
SHARED_IDS = Path("test_73k_images.npy")
AREAS = {"V1": (1, 2), "V2": (3, 4), "V3": (5, 6), "V4": (7,)}
"""Labels of prf-visualrois, ventral and dorsal, in each area."""

BEHAVIOUR_COLUMNS = [
    *("nsd_id", "SUBJECT", "SESSION", "RUN", "TRIAL", "global_trial", "TIME", "ISOLD", "ISCORRECT", "RT"),
    *("CHANGEMIND", "ISOLDCURRENT", "ISCORRECTCURRENT", "TOTAL1", "TOTAL2", "BUTTON", "shared1000"),
]
"""Those in capitals are columns of NSD's responses.tsv."""

# Rows of past_behav and future_behav, which hold the nearest trial first and stay inside the session, and of
# olds_behav, which holds the other trials of the same picture, later ones too, in order of time.
_NEIGHBOURS = 15
_OLDS = 3
_VOXELS_AT_ONCE = 256

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MindEyeTree:
    """Writer of a whole tree.

    Attributes:
        root: Root of the tree.
        experiment: The design.
        seed: Seed of the simulation.
    """

    root: Path
    experiment: Experiment
    seed: int

    @property
    def shared(self) -> npt.NDArray[np.bool_]:
        """Which pictures of the catalogue all subjects see, bool (n_catalogue,)."""
        return np.isin(np.arange(self.experiment.n_catalogue), self.experiment.sharedix - 1)

    def write_design(self) -> None:
        """Write which pictures are shared: as a mask of the catalogue and as ascending ids.

        Raises:
            UsageError: A subject ran trials of shared pictures only, so that nothing sets the scale of its betas.
        """
        for subject in self.experiment.subjects:
            n_run = self.experiment.sessions_run(subject) * self.experiment.trials_per_session
            if (self.experiment.masterordering[:n_run] <= self.experiment.n_shared).all():
                raise UsageError(f"subj{subject:02d} would see shared pictures only; raise --unique")
        np.save(self.root / SHARED_MASK, self.shared)
        np.save(self.root / SHARED_IDS, np.flatnonzero(self.shared).astype(np.int64))

    @contextmanager
    def open_pictures(self, size_px: int) -> Iterator[Callable[[int, Pictures], None]]:
        """Open ``images`` float16 (n_catalogue, 3, side, side), 0..1, RGB.

        Yields:
            A function of the first row and uint8 (n, side, side, 3) that writes these pictures.
        """
        with h5py.File(self.root / PICTURES, "w") as file:
            images = file.create_dataset("images", (self.experiment.n_catalogue, 3, size_px, size_px), "<f2")

            def write(start: int, pictures: Pictures) -> None:
                unit = (pictures / np.float32(255)).astype("<f2")
                images[start : start + len(pictures)] = unit.transpose(0, 3, 1, 2)

            yield write

    def write_subject(self, subject: Subject, sessions: Callable[[range], Iterable[int]] = iter) -> dict[str, Any]:
        """Write all files of a subject, and add it to those that hold all subjects.

        Args:
            subject: The subject.
            sessions: Wraps the loop over sessions, for progress.

        Returns:
            Facts for SIMULATED.json.
        """
        name = f"subj{subject.number:02d}"
        visual = subject.brain.nsdgeneral
        scanning = Scanning(subject, self.experiment, self.seed)
        length = self.experiment.trials_per_session
        betas = np.empty((scanning.n_trials, int(visual.sum())), dtype="<f4")
        for session, stored in scanning.run(sessions):
            betas[(session - 1) * length : session * length] = stored[:, visual] / np.float32(BETAS_PER_PSC)
        behaviour = behaviour_rows(self.experiment, subject.number, self.seed)
        standardise_by(betas, behaviour[:, BEHAVIOUR_COLUMNS.index("shared1000")] == 0)
        with h5py.File(self.root / f"betas_all_{name}_fp32_renorm.hdf5", "w") as file:
            file.create_dataset("betas", data=betas)
        with h5py.File(self.root / TRIAL_PICTURES, "a") as file:
            file.create_dataset(name, data=behaviour[:, 0].astype("<i8"), compression="gzip")
        with h5py.File(self.root / REGIONS, "a") as file:
            for region, mask in region_masks(subject.brain).items():
                file.create_dataset(f"{name}/{region}", data=mask)
        write_behaviour(self.root / "wds" / name, behaviour, length)
        return subject.facts(scanning.n_sessions, scanning.ncsnr())


def standardise_by(betas: npt.NDArray[np.float32], chosen: npt.NDArray[np.bool_]) -> None:
    """Z-score each voxel in place, with mean and standard deviation (ddof 0) of the chosen trials.

    Args:
        betas: float32 (n_trials, n_voxels). A voxel that is constant over the chosen trials is centred only.
        chosen: bool (n_trials,).
    """
    for start in range(0, betas.shape[1], _VOXELS_AT_ONCE):
        block = betas[:, start : start + _VOXELS_AT_ONCE]
        values = block[chosen].astype(np.float64)
        # The range decides: rounding leaves a constant voxel a spread of a few last bits.
        moves = values.max(axis=0) > values.min(axis=0)
        block[:] = (block - values.mean(axis=0)) / np.where(moves, values.std(axis=0), 1)


def region_masks(brain: Brain) -> dict[str, npt.NDArray[np.bool_]]:
    """Return region → bool (n_voxels,) over the voxels of nsdgeneral, in the order of the betas."""
    labels = brain.labels["prf-visualrois"][brain.nsdgeneral]
    masks = {"nsd_general": np.ones(len(labels), dtype=bool)}
    masks |= {area: np.isin(labels, numbers) for area, numbers in AREAS.items()}
    early = np.isin(labels, [number for numbers in AREAS.values() for number in numbers])
    return {**masks, "early_vis": early, "higher_vis": ~early}


def behaviour_rows(experiment: Experiment, subject: int, seed: int) -> FloatArray:
    """Return what happened in each trial of a subject that was run.

    Args:
        experiment: The design.
        subject: 1-based.
        seed: Seed of the simulation.

    Returns:
        float64 (n_trials_run, 17), the columns of :data:`BEHAVIOUR_COLUMNS`: picture and global trial count from 0,
        SUBJECT to TRIAL from 1; TIME in whole days, RT in ms; -1 where NSD has NaN.
    """
    rows = response_rows(experiment, subject, seed)
    columns = dict(zip(RESPONSE_COLUMNS, rows.T, strict=True))
    columns["nsd_id"] = columns["73KID"] - 1
    columns["global_trial"] = np.arange(len(rows), dtype=np.float64)
    columns["TIME"] = np.floor(columns["TIME"])
    columns["shared1000"] = np.isin(columns["73KID"], experiment.sharedix).astype(np.float64)
    behaviour = np.stack([columns[name] for name in BEHAVIOUR_COLUMNS], axis=1)
    behaviour[np.isnan(behaviour)] = -1
    return behaviour


def write_behaviour(folder: Path, behaviour: FloatArray, trials_per_session: int) -> None:
    """Write the tars of a subject: train/{session}.tar and new_test/0.tar, a sample for each trial.

    Trials of shared pictures go to the test tar, all others to the tar of their session. Samples are numbered through
    the train tars, and by themselves in the test tar.

    Args:
        folder: Of the subject.
        behaviour: float64 (n_trials_run, 17).
        trials_per_session: Trials of a session.
    """
    shared = behaviour[:, BEHAVIOUR_COLUMNS.index("shared1000")] == 1
    others = _other_showings(behaviour[:, 0])
    train_numbers, test_numbers = count(), count()
    with _open_tar(folder / "new_test" / "0.tar") as test:
        for session, start in enumerate(range(0, len(behaviour), trials_per_session)):
            stop = start + trials_per_session
            with _open_tar(folder / "train" / f"{session}.tar") as train:
                for trial in range(start, stop):
                    members = {
                        "behav": behaviour[trial : trial + 1],
                        "future_behav": _padded(behaviour[trial + 1 : stop], _NEIGHBOURS),
                        "olds_behav": _padded(behaviour[others[trial]], _OLDS),
                        "past_behav": _padded(behaviour[start:trial][::-1], _NEIGHBOURS),
                    }
                    if shared[trial]:
                        _add_sample(test, next(test_numbers), members)
                    else:
                        _add_sample(train, next(train_numbers), members)


def _other_showings(pictures: FloatArray) -> list[list[int]]:
    """Return the other trials that showed the picture of each trial, later ones too as published, ascending."""
    showings: dict[float, list[int]] = {}
    for trial, picture in enumerate(pictures.tolist()):
        showings.setdefault(picture, []).append(trial)
    return [[other for other in showings[picture] if other != trial] for trial, picture in enumerate(pictures.tolist())]


def _padded(rows: FloatArray, n: int) -> FloatArray:
    """Return the first n rows, those missing at the end all -1."""
    block = np.full((n, len(BEHAVIOUR_COLUMNS)), -1.0)
    block[: len(rows)] = rows[:n]
    return block


def _open_tar(path: Path) -> tarfile.TarFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    return tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)


def _add_sample(archive: tarfile.TarFile, number: int, members: dict[str, FloatArray]) -> None:
    """Add the arrays of a trial; a new TarInfo has neither a time nor an owner."""
    for name, values in members.items():
        buffer = io.BytesIO()
        np.save(buffer, values.astype("<f8"))
        info = tarfile.TarInfo(f"sample{number:09d}.{name}.npy")
        info.size = buffer.tell()
        buffer.seek(0)
        archive.addfile(info, buffer)
