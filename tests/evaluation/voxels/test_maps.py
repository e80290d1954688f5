"""Volumes: a planted voxel comes back at its place, and no place is made up for voxels that have none."""

from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.voxels.maps import native_space, write_map

SHAPE = (5, 9, 7)
AFFINE = np.array([[1.8, 0, 0, -3.6], [0, 1.8, 0, -7.2], [0, 0, 1.8, -5.4], [0, 0, 0, 1]])


def write_volume(path, volume):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(volume, AFFINE), path)


@pytest.fixture
def tree(tmp_path):
    """A region of seven voxels in a box whose sides differ, in a brain of more."""
    region = np.full(SHAPE, -1, np.int16)
    region.ravel()[[3, 40, 41, 100, 150, 222, 300]] = 1
    region[0, 0, 0] = 0
    write_volume(tmp_path / "nsddata/ppdata/subj03/func1pt8mm/roi/nsdgeneral.nii.gz", region)
    write_volume(tmp_path / "nsddata/ppdata/subj03/func1pt8mm/brainmask.nii.gz", (region > -2).astype(np.int16))
    return tmp_path


def store(root, ijk, **config):
    told = {"subject": "subj03", "space": "func1pt8mm", "roi": "nsdgeneral", "root": str(root), "source": "nsd"}
    return SimpleNamespace(
        ijk=np.asarray(ijk, np.int32),
        manifest=SimpleNamespace(config=told | {"volume_shape": list(SHAPE)} | config),
    )


def positions(root):
    image = nibabel.load(root / "nsddata/ppdata/subj03/func1pt8mm/roi/nsdgeneral.nii.gz")
    return np.argwhere(np.asanyarray(image.dataobj) > 0)


@pytest.mark.parametrize("planted", range(7))
def test_a_planted_voxel_comes_back_at_its_place(tree, tmp_path, planted) -> None:
    ijk = positions(tree)
    space, why = native_space(store(tree, ijk))
    assert why == ""
    values = np.full(7, np.nan)
    values[planted] = 2.5
    write_map(tmp_path / "out", "map", space.volume(values), space, {"unit": "none"})
    image = nibabel.load(tmp_path / "out/map.nii.gz")
    volume = image.get_fdata()
    assert volume.shape == SHAPE
    assert np.argwhere(np.isfinite(volume)).tolist() == [ijk[planted].tolist()]
    assert volume[tuple(ijk[planted])] == 2.5
    np.testing.assert_allclose(image.affine, AFFINE)
    where_mm = nibabel.affines.apply_affine(image.affine, ijk[planted])
    np.testing.assert_allclose(where_mm, 1.8 * ijk[planted] - [3.6, 7.2, 5.4], atol=1e-5)
    assert b"no standard brain" in image.header["descrip"].tobytes()


def test_the_underlay_tells_brain_and_store_apart(tree) -> None:
    ijk = positions(tree)
    space, _ = native_space(store(tree, ijk))
    underlay = space.underlay()
    assert np.array_equal(np.argwhere(underlay == 2), ijk)
    assert (underlay == 0).sum() == 0


@pytest.mark.parametrize("source", ["mindeye2", "arrays", "fsaverage"])
def test_no_positions_no_maps(tree, source) -> None:
    for ijk in (np.full((7, 3), -1), np.vstack([positions(tree)[:6], [[-1, -1, -1]]])):
        space, why = native_space(store(tree, ijk, source=source))
        assert space is None
        assert "has no voxel positions in a native volume" in why
        assert source in why


def test_a_tree_that_is_gone_is_told_and_one_that_is_named_must_be_there(tree, tmp_path) -> None:
    moved = store(tmp_path / "gone", positions(tree))
    space, why = native_space(moved)
    assert space is None
    assert "--root" in why
    assert native_space(moved, tree)[0] is not None
    with pytest.raises(BadInputError, match="--root is the NSD tree"):
        native_space(moved, tmp_path / "elsewhere")


def test_the_region_of_another_subject_is_refused(tree) -> None:
    ijk = positions(tree)
    for wrong in (ijk[:, ::-1], ijk[:6], np.roll(ijk, 1, axis=0)):
        with pytest.raises(BadInputError, match="is not the region that the beta store"):
            native_space(store(tree, wrong))
    with pytest.raises(BadInputError, match="is not the region that the beta store"):
        native_space(store(tree, ijk, volume_shape=[7, 9, 5]))
