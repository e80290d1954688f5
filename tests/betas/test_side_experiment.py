"""Stores of side experiments: exactly the voxels of a training store, T0 from their own trials."""

import shutil

import h5py
import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fmri_lightning.betas.command import betas
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.table import read_index
from fmri_lightning.manifest import content_hash
from tests.side_tree import betas_file, copy_tree


@pytest.mark.parametrize(("task", "stem"), [("imagery", "nsdimagery"), ("synthetic", "nsdsynthetic")])
def test_values_are_those_of_the_file(side_flow, task, stem):
    """Independently of our reader: the NIfTI-ordered array at the training store's voxels, z-scored over the trials."""
    store = BetaStore.open(side_flow.folder / f"betas_{task}" / "subj01", verify=True)
    trained = BetaStore.open(side_flow.folder / "betas" / "subj01")
    table = read_index(side_flow.folder / f"index_{task}", "subj01")
    with h5py.File(betas_file(side_flow.root, stem=stem)) as file:
        volumes = np.moveaxis(file["betas"][...], (1, 2, 3), (3, 2, 1))
    i, j, k = trained.ijk.T
    psc = volumes[:, i, j, k][table.beta_index] / 300
    alive = ~store.dropped
    wanted = (psc - psc.mean(axis=0))[:, alive] / psc.std(axis=0)[alive]
    assert np.array_equal(store.ijk, trained.ijk)
    assert np.allclose(store.betas[:, alive], wanted, atol=1e-3)
    assert np.all(store.dropped[trained.dropped])
    assert np.all(np.asarray(store.betas)[:, store.dropped] == 0)


def test_it_says_what_it_is_like(side_flow):
    store = BetaStore.open(side_flow.folder / "betas_vision" / "subj01")
    trained = BetaStore.open(side_flow.folder / "betas" / "subj01")
    like = store.manifest.config["like"]
    assert (like["betas"], like["ijk"]) == (trained.manifest.content_hash, content_hash(trained.ijk))
    assert store.manifest.config["transductive_sessions"] == [1]
    assert "own trials" in store.manifest.config["t0"]
    assert {n: v.tolist() for n, v in store.roi_labels.items()} == {
        n: v.tolist() for n, v in trained.roi_labels.items()
    }


def test_a_voxel_that_training_dropped_is_silent(side_flow, tmp_path):
    """Even where it carries a signal in the new session."""
    trained = shutil.copytree(side_flow.folder / "betas" / "subj01", tmp_path / "trained")
    voxels = pq.read_table(trained / "voxels.parquet")
    dropped = np.array(voxels.column("dropped").to_pylist())
    quiet = int(np.flatnonzero(~dropped)[4])
    dropped[quiet] = True
    place = voxels.column_names.index("dropped")
    pq.write_table(voxels.set_column(place, "dropped", pa.array(dropped)), trained / "voxels.parquet")
    betas(side_flow.root, index=side_flow.folder / "index_synthetic", out=tmp_path / "out", like=trained)
    store = BetaStore.open(tmp_path / "out" / "subj01")
    before = BetaStore.open(side_flow.folder / "betas_synthetic" / "subj01")
    assert not before.dropped[quiet]
    assert np.ptp(before.betas[:, quiet]) > 1
    assert store.dropped[quiet]
    assert np.ptp(store.betas[:, quiet]) == 0


def test_nifti_gives_the_same(side_flow, tmp_path):
    root = copy_tree(side_flow.root, tmp_path / "nsd")
    path = betas_file(root)
    with h5py.File(path) as file:
        image = nibabel.Nifti1Image(file["betas"][...].T, np.eye(4))
    image.header.set_slope_inter(1, 0)
    nibabel.save(image, path.with_suffix(".nii.gz"))
    path.unlink()
    betas(root, index=side_flow.folder / "index_vision", out=tmp_path / "out", like=side_flow.folder / "betas")
    found, wanted = (BetaStore.open(f / "subj01") for f in (tmp_path / "out", side_flow.folder / "betas_vision"))
    assert np.array_equal(found.betas, wanted.betas)


class TestRefused:
    @pytest.fixture
    def root(self, side_flow, tmp_path):
        return copy_tree(side_flow.root, tmp_path / "nsd")

    def refused(self, root, side_flow, tmp_path, error, match, task="vision", like="betas", subject="subj01"):
        out, given = tmp_path / "out", None if like is None else side_flow.folder / like
        with pytest.raises(error, match=match):
            betas(root, index=side_flow.folder / f"index_{task}", subject=subject, out=out, like=given)
        assert not out.exists()

    def test_another_number_of_trials(self, root, side_flow, tmp_path):
        path = betas_file(root)
        with h5py.File(path) as file:
            shorter = file["betas"][:-1]
        path.unlink()
        with h5py.File(path, "w") as file:
            file.create_dataset("betas", data=shorter, chunks=(719, 1, 1, 1))
        self.refused(root, side_flow, tmp_path, BadInputError, "has 719 trials, nsd_imagery has 720")

    def test_the_file_of_another_subject(self, root, side_flow, tmp_path):
        shutil.copy(betas_file(root, "subj02"), betas_file(root))
        self.refused(root, side_flow, tmp_path, BadInputError, "is of another subject or space")

    def test_axes_in_the_order_of_nifti(self, root, side_flow, tmp_path):
        path = betas_file(root)
        with h5py.File(path) as file:
            turned = file["betas"][...].transpose(0, 3, 2, 1)
        path.unlink()
        with h5py.File(path, "w") as file:
            file.create_dataset("betas", data=turned, chunks=(720, 1, 1, 1))
        self.refused(root, side_flow, tmp_path, BadInputError, "is of another subject or space")

    def test_no_file(self, root, side_flow, tmp_path):
        betas_file(root).unlink()
        self.refused(root, side_flow, tmp_path, BadInputError, "no betas of nsd_imagery in")

    def test_no_training_store(self, side_flow, tmp_path):
        self.refused(side_flow.root, side_flow, tmp_path, UsageError, "--like DIR", like=None)

    def test_a_store_that_is_itself_like_another(self, side_flow, tmp_path):
        self.refused(
            side_flow.root, side_flow, tmp_path, BadInputError, "that encoders are trained on", like="betas_imagery"
        )

    def test_like_without_a_place(self, side_flow, tmp_path):
        with pytest.raises(UsageError, match="--like goes with an index that is prediction only"):
            betas(side_flow.root, index=side_flow.folder / "index", out=tmp_path / "o", like=side_flow.folder / "betas")
