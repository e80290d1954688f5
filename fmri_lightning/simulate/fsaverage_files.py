"""Writer of NSD's files on the average surface, beside those of the volumes: betas, noise ceilings, labels.

Paths and layout as published. The betas are percent signal change, not times 300; they are those of the volumes
before these were rounded to int16 and cut off at its limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri_lightning.simulate.experiment import Experiment
from fmri_lightning.simulate.geometry import ROI_NAMES
from fmri_lightning.simulate.mgh import write_label_mgz, write_mgh
from fmri_lightning.simulate.pictures import PictureSource
from fmri_lightning.simulate.subject import FloatArray, NcsnrEstimate, Subject, session_betas
from fmri_lightning.simulate.surface import HEMISPHERES, IntArray, SubjectSurface, Surface, put_on_surface

BETAS_VERSION = "betas_fithrf_GLMdenoise_RR"
LABELS = Path("nsddata/freesurfer/fsaverage/label")


@dataclass(frozen=True)
class FsaverageFiles:
    """Writer.

    Attributes:
        root: Root of an NSD tree.
        experiment: The design.
        surface: The average surface.
        seed: Seed of the simulation.
    """

    root: Path
    experiment: Experiment
    surface: Surface
    seed: int

    def write_design(self, source: PictureSource) -> None:
        """Write the labels of the surface, which all subjects share; pictures have no part in it."""
        for name, names in ROI_NAMES.items():
            for hemisphere in HEMISPHERES:
                write_label_mgz(self.root / LABELS / f"{hemisphere}.{name}.mgz", self.surface.labels(hemisphere, name))
            lines = [f"{k} {text} {31 * k % 256} {67 * k % 256} {97 * k % 256} 0" for k, text in names.items()]
            table = "\n".join(["0 Unknown 0 0 0 0", *lines]) + "\n"
            (self.root / LABELS / f"{name}.mgz.ctab").write_text(table, encoding="utf-8")

    def write_subject(self, subject: Subject) -> None:
        """Write the betas of every session, the map of ncsnr, and which voxel each vertex took.

        Args:
            subject: The subject; the last of the experiment has a vertex without a value.
        """
        placed = place_subject(subject, self.surface, self.experiment)
        folder = self.root / f"nsddata_betas/ppdata/subj{subject.number:02d}/fsaverage/{BETAS_VERSION}"
        n_sessions, length = self.experiment.sessions_run(subject.number), self.experiment.trials_per_session
        order = self.experiment.masterordering[: n_sessions * length] - 1
        estimates = {h: NcsnrEstimate(order, self.experiment.repeats, self.surface.n_vertices) for h in HEMISPHERES}
        for session in range(1, n_sessions + 1):
            shown = order[(session - 1) * length : session * length]
            psc = session_betas(subject, shown, self.seed, session)
            for hemisphere in HEMISPHERES:
                betas = on_vertices(psc, placed.voxel[hemisphere])
                estimates[hemisphere].add(shown, betas)
                betas[:, placed.nan[hemisphere]] = np.nan
                write_mgh(folder / f"{hemisphere}.betas_session{session:02d}.mgh", betas)
        truth = self.root / f"simulated_truth/subj{subject.number:02d}"
        for hemisphere in HEMISPHERES:
            ncsnr = estimates[hemisphere].result()
            ncsnr[placed.nan[hemisphere]] = np.nan
            write_mgh(folder / f"{hemisphere}.ncsnr.mgh", ncsnr[None])
            np.save(truth / f"{hemisphere}.voxel_of_vertex.npy", placed.voxel[hemisphere].astype(np.int32))


def place_subject(subject: Subject, surface: Surface, experiment: Experiment) -> SubjectSurface:
    """Put a subject on the surface; the last of an experiment gets a vertex without a value."""
    return put_on_surface(subject, surface, with_nan=subject.number == max(experiment.subjects))


def on_vertices(psc: FloatArray, voxel: IntArray) -> FloatArray:
    """Return the betas of a hemisphere, float32 (T, N), 0 at the medial wall."""
    betas = psc[:, voxel]
    betas[:, voxel < 0] = 0.0
    return betas
