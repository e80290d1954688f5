"""A tree of two subjects, small enough to be made once for this folder and read by independent libraries."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from scipy.io import loadmat

from fmri_lightning.simulate.command import simulate

SMALL = {"shared": 24, "unique": 96, "sessions": 6, "nsdgeneral_voxels": 200, "size_px": 32}


@dataclass(frozen=True)
class Tree:
    root: Path

    def betas(self, subject: int, session: int) -> np.ndarray:
        folder = self.root / f"nsddata_betas/ppdata/subj{subject:02d}/func1pt8mm/betas_fithrf_GLMdenoise_RR"
        with h5py.File(folder / f"betas_session{session:02d}.hdf5") as file:
            return file["betas"][...]

    def volume(self, subject: int, name: str) -> np.ndarray:
        path = self.root / f"nsddata/ppdata/subj{subject:02d}/func1pt8mm/{name}.nii.gz"
        return np.asarray(nib.load(path).dataobj)

    def expdesign(self) -> dict[str, np.ndarray]:
        return loadmat(self.root / "nsddata/experiments/nsd/nsd_expdesign.mat")

    def nsd_ids(self, subject: int) -> np.ndarray:
        design = self.expdesign()
        return design["subjectim"].astype(int)[subject - 1, design["masterordering"][0].astype(int) - 1] - 1

    def responses(self, subject: int) -> tuple[list[str], np.ndarray]:
        path = self.root / f"nsddata/ppdata/subj{subject:02d}/behav/responses.tsv"
        header = path.read_text().splitlines()[0].split("\t")
        return header, np.genfromtxt(path, delimiter="\t", skip_header=1)

    def sessions(self, subject: int) -> int:
        return len(
            list((self.root / f"nsddata_betas/ppdata/subj{subject:02d}").glob("*/*/betas_session*.hdf5")),
        )


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Tree:
    root = tmp_path_factory.mktemp("simulate") / "nsd"
    simulate(root, **SMALL)
    return Tree(root)
