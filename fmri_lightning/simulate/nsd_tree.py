"""Writer of NSD's files, byte-layout-compatible: paths, axis orders, integer codes and headers as published.

Layout after the NSD Data Manual and public code that reads the data; only sizes differ. All writers give the same
bytes for the same contents: no times of day in headers.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy.io import savemat

from fmri_lightning.simulate.experiment import Experiment
from fmri_lightning.simulate.geometry import ROI_NAMES, Brain, Shape
from fmri_lightning.simulate.pictures import Pictures
from fmri_lightning.simulate.subject import Scanning, Subject
from fmri_lightning.simulate.tables import write_responses, write_stim_info

SPACE = "func1pt8mm"
BETAS_VERSION = "betas_fithrf_GLMdenoise_RR"
VOXEL_MM = 1.8
EXPDESIGN = Path("nsddata/experiments/nsd/nsd_expdesign.mat")
STIM_INFO = Path("nsddata/experiments/nsd/nsd_stim_info_merged.csv")
STIMULI = Path("nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5")


@dataclass(frozen=True)
class NsdTree:
    """Writer of a whole tree.

    Attributes:
        root: Root of the tree.
        experiment: The design.
        seed: Seed of the simulation.
        nifti_sessions: 1-based sessions whose betas are written as NIfTI too.
    """

    root: Path
    experiment: Experiment
    seed: int
    nifti_sessions: frozenset[int]

    def write_design(self) -> None:
        """Write the design and the table of pictures."""
        write_expdesign(self.root / EXPDESIGN, self.experiment)
        write_stim_info(self.root / STIM_INFO, self.experiment, self.seed)

    @contextmanager
    def open_pictures(self, size_px: int) -> Iterator[Callable[[int, Pictures], None]]:
        """Open nsd_stimuli.hdf5; what is yielded takes the first row and uint8 (n, side, side, 3)."""
        with create_stimuli(self.root / STIMULI, self.experiment.n_catalogue, size_px) as file:

            def write(start: int, pictures: Pictures) -> None:
                file["imgBrick"][start : start + len(pictures)] = pictures

            yield write

    def write_subject(self, subject: Subject, sessions: Callable[[range], Iterable[int]] = iter) -> dict[str, Any]:
        """Write all files of a subject.

        Args:
            subject: The subject.
            sessions: Wraps the loop over sessions, for progress.

        Returns:
            Facts for SIMULATED.json.
        """
        folder = self.root / betas_folder(subject.number)
        scanning = Scanning(subject, self.experiment, self.seed)
        for session, stored in scanning.run(sessions):
            write_betas(folder, session, stored, subject.brain, session in self.nifti_sessions)
        ncsnr = scanning.ncsnr()
        write_ncsnr(folder, subject.brain, ncsnr)
        write_regions(self.root, subject.number, subject.brain)
        write_responses(self.root / responses_file(subject.number), self.experiment, subject.number, self.seed)
        write_truth(self.root, subject)
        return subject.facts(scanning.n_sessions, ncsnr)


def betas_folder(subject: int) -> Path:
    """Return where the betas of a subject (1-based) lie."""
    return Path(f"nsddata_betas/ppdata/subj{subject:02d}/{SPACE}/{BETAS_VERSION}")


def space_folder(subject: int) -> Path:
    """Return where brain mask and ``roi/`` of a subject lie."""
    return Path(f"nsddata/ppdata/subj{subject:02d}/{SPACE}")


def responses_file(subject: int) -> Path:
    """Return the table of trials of a subject."""
    return Path(f"nsddata/ppdata/subj{subject:02d}/behav/responses.tsv")


def label_folder(subject: int) -> Path:
    """Return where the names of ROI labels lie."""
    return Path(f"nsddata/freesurfer/subj{subject:02d}/label")


def affine(shape: Shape) -> npt.NDArray[np.float64]:
    """Return NSD's affine (4, 4) in mm: the middle of the box is the origin."""
    matrix = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
    matrix[:3, 3] = -((1 + np.array(shape)) / 2 - 1) * VOXEL_MM
    return matrix


def write_nifti(path: Path, volume: npt.NDArray[np.generic], level: int = 6) -> None:
    """Write a volume (X, Y, Z) or (X, Y, Z, T) as .nii.gz in its own type, slope 1 and intercept 0."""
    image = nib.Nifti1Image(volume, affine(volume.shape[:3]))
    image.header.set_slope_inter(1, 0)
    image.header.set_xyzt_units("mm", "sec")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), level, mtime=0))


def write_betas(folder: Path, session: int, stored: npt.NDArray[np.int16], brain: Brain, nifti: bool) -> None:
    """Write the betas of a session.

    HDF5: ``/betas`` int16 (T, Z, Y, X), one uncompressed chunk (T, 1, 1, 1) a voxel. NIfTI: int16 (X, Y, Z, T), the
    transpose of it.

    Args:
        folder: Of the subject's betas.
        session: 1-based.
        stored: int16 (T, V), percent signal change times 300.
        brain: Geometry, V voxels; voxels outside are 0.
        nifti: Write the NIfTI file too.
    """
    write_beta_file(folder, f"betas_session{session:02d}", stored, brain, nifti)


def write_beta_file(folder: Path, stem: str, stored: npt.NDArray[np.int16], brain: Brain, nifti: bool = False) -> None:
    """Write betas int16 (T, V) as volumes to a file of any name; see :func:`write_betas`."""
    n_trials = len(stored)
    x, y, z = brain.shape
    i, j, k = brain.ijk.T
    volume = np.zeros((n_trials, z, y, x), dtype="<i2")
    volume[:, k, j, i] = stored
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / f"{stem}.hdf5", "w") as file:
        file.create_dataset("betas", data=volume, chunks=(n_trials, 1, 1, 1))
    if nifti:
        write_nifti(folder / f"{stem}.nii.gz", volume.T, level=1)


def write_regions(root: Path, subject: int, brain: Brain) -> None:
    """Write brain mask, label volumes (both hemispheres, ``lh.``, ``rh.``) and the names of labels.

    Codes: -1 outside the cortical ribbon (of that hemisphere), 0 cortex without a region, ≥ 1 a region.
    """
    space = root / space_folder(subject)
    write_nifti(space / "brainmask.nii.gz", brain.volume(np.ones(len(brain.ijk), dtype=np.int16), 0))
    labels_folder = root / label_folder(subject)
    labels_folder.mkdir(parents=True, exist_ok=True)
    for name, names in ROI_NAMES.items():
        for prefix, part in (
            ("", brain.cortex),
            ("lh.", brain.cortex & brain.left),
            ("rh.", brain.cortex & ~brain.left),
        ):
            codes = np.where(part, brain.labels[name], -1).astype(np.int16)
            write_nifti(space / "roi" / f"{prefix}{name}.nii.gz", brain.volume(codes, -1))
        lines = [
            "0 Unknown 0 0 0 0",
            *(f"{k} {text} {31 * k % 256} {67 * k % 256} {97 * k % 256} 0" for k, text in names.items()),
        ]
        (labels_folder / f"{name}.mgz.ctab").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_ncsnr(folder: Path, brain: Brain, ncsnr: npt.NDArray[np.float64]) -> None:
    """Write the map of sigma_signal / sigma_noise, float32, NaN outside the brain mask."""
    write_nifti(folder / "ncsnr.nii.gz", brain.volume(ncsnr.astype(np.float32), np.nan))


def write_expdesign(path: Path, experiment: Experiment) -> None:
    """Write nsd_expdesign.mat, MATLAB version 5, everything 1-based."""
    write_mat(
        path,
        {
            "masterordering": experiment.masterordering[None].astype(np.uint16),
            "subjectim": experiment.subjectim.astype(np.int32),
            "sharedix": experiment.sharedix[None].astype(np.int32),
            "basiccnt": experiment.basiccnt().astype(np.float64),
            "stimpattern": experiment.stimpattern(),
        },
    )


def write_mat(path: Path, arrays: dict[str, Any]) -> None:
    """Write a file of MATLAB version 5 that does not tell when it was written."""
    buffer = io.BytesIO()
    savemat(buffer, arrays)
    # The first 116 bytes are a comment in which scipy writes the time of day.
    comment = b"MATLAB 5.0 MAT-file, simulated experiment of fmri-lightning"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(comment.ljust(116) + buffer.getvalue()[116:])


def create_stimuli(path: Path, n_pictures: int, size_px: int) -> h5py.File:
    """Open nsd_stimuli.hdf5 for writing with ``imgBrick`` uint8 (n, side, side, 3); row = 0-based nsd_id."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = h5py.File(path, "w")
    file.create_dataset("imgBrick", (n_pictures, size_px, size_px, 3), "u1")
    return file


def write_truth(root: Path, subject: Subject) -> None:
    """Keep what a real brain never tells: planted reliability and tuning class of each voxel."""
    folder = root / "simulated_truth" / f"subj{subject.number:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "ijk.npy", subject.brain.ijk.astype(np.int16))
    np.save(folder / "ncsnr.npy", subject.ncsnr.astype(np.float32))
    np.save(folder / "semantic_share.npy", subject.brain.semantic.astype(np.float32))
