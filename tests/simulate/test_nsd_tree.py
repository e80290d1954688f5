"""Facts of NSD's layout, read back by scipy, h5py and nibabel."""

import h5py
import nibabel as nib
import numpy as np
import pytest

BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
ATLASES = (
    "nsdgeneral prf-visualrois prf-eccrois floc-bodies floc-faces floc-places floc-words streams".split()  # noqa: SIM905
)


def test_boxes_are_not_cubic_and_differ_between_subjects(tree):
    first, second = (tree.volume(subject, "brainmask").shape for subject in (1, 2))
    assert len(set(first)) == len(set(second)) == 3
    assert first != second


def test_betas_are_int16_one_uncompressed_chunk_a_voxel(tree):
    with h5py.File(tree.root / BETAS / "betas_session01.hdf5") as file:
        assert list(file) == ["betas"]
        betas = file["betas"]
        assert betas.dtype == np.dtype("<i2")
        assert betas.chunks == (60, 1, 1, 1)
        assert betas.compression is None
        assert betas.shape == (60, *tree.volume(1, "brainmask").shape[::-1])


def test_nifti_is_the_transpose_of_hdf5(tree):
    image = nib.load(tree.root / BETAS / "betas_session01.nii.gz")
    assert image.get_data_dtype() == np.int16
    assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
    assert (np.asarray(image.dataobj) == tree.betas(1, 1).transpose()).all()
    assert image.header.get_zooms()[:3] == pytest.approx((1.8, 1.8, 1.8))


def test_affine_puts_the_middle_of_the_box_at_zero(tree):
    image = nib.load(tree.root / BETAS / "ncsnr.nii.gz")
    middle = (np.array(image.shape) - 1) / 2
    np.testing.assert_allclose(nib.affines.apply_affine(image.affine, middle), 0, atol=1e-5)


def test_betas_are_zero_outside_the_brain_and_of_published_size_inside(tree):
    betas = tree.betas(1, 1)
    mask = tree.volume(1, "brainmask").T > 0
    assert not betas[:, ~mask].any()
    visual = betas[:, tree.volume(1, "roi/nsdgeneral").T > 0] / 300.0
    assert np.median(visual.mean(axis=0)) == pytest.approx(1.0, abs=0.1)
    assert np.median(visual.std(axis=0)) == pytest.approx(0.9, abs=0.1)


@pytest.mark.parametrize("subject", [1, 2])
def test_label_volumes_use_minus_one_zero_and_labels(tree, subject):
    cortex = tree.volume(subject, "roi/nsdgeneral") >= 0
    brain = tree.volume(subject, "brainmask") > 0
    assert brain[cortex].all()
    assert cortex.sum() < brain.sum()
    for name in ATLASES:
        both, left, right = (tree.volume(subject, f"roi/{side}{name}") for side in ("", "lh.", "rh."))
        assert ((both >= 0) == cortex).all()
        assert (np.maximum(left, right) == both).all()
        assert not ((left >= 0) & (right >= 0)).any()
        half = both.shape[0] / 2
        assert np.argwhere(left >= 0)[:, 0].max() < half <= np.argwhere(right >= 0)[:, 0].min() + 0.5


def test_nsdgeneral_has_exactly_the_voxels_asked_for_with_early_and_higher_regions(tree):
    general = tree.volume(1, "roi/nsdgeneral") == 1
    assert general.sum() == 200
    areas, streams = tree.volume(1, "roi/prf-visualrois"), tree.volume(1, "roi/streams")
    assert set(np.unique(areas)) == set(range(-1, 8))
    assert set(np.unique(streams)) == set(range(-1, 8))
    assert general[areas > 0].all()
    assert (streams[(areas > 0) & (areas < 7)] == 1).all()
    assert (areas > 0).sum() == 70
    for name in ("floc-faces", "floc-bodies", "floc-places"):
        assert (tree.volume(1, f"roi/{name}") > 0).sum() > 0


def test_one_region_is_wholly_empty(tree):
    assert set(np.unique(tree.volume(1, "roi/floc-words"))) == {-1, 0}


def test_label_names_are_readable_as_the_public_readers_do(tree):
    text = (tree.root / "nsddata/freesurfer/subj01/label/prf-visualrois.mgz.ctab").read_text()
    names = {int(line.split()[0]): line.split()[1] for line in text.splitlines()}
    assert names == {
        0: "Unknown",
        1: "V1v",
        2: "V1d",
        3: "V2v",
        4: "V2d",
        5: "V3v",
        6: "V3d",
        7: "hV4",
    }


def test_ncsnr_is_float32_and_nan_exactly_outside_the_brain(tree):
    image = nib.load(tree.root / BETAS / "ncsnr.nii.gz")
    assert image.get_data_dtype() == np.float32
    ncsnr = np.asarray(image.dataobj)
    assert (np.isnan(ncsnr) == (tree.volume(1, "brainmask") == 0)).all()
    assert np.nanmin(ncsnr) == 0


def test_stimuli_are_one_brick_whose_row_is_the_id(tree):
    from fmri_lightning.simulate.scenes import draw_scene

    with h5py.File(tree.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        brick = file["imgBrick"]
        assert brick.shape[1:] == (32, 32, 3)
        assert brick.dtype == np.uint8
        assert len(brick) > 24 + 2 * 96
        for row in (0, 131, len(brick) - 1):
            assert (brick[row] == draw_scene("stimuli", row, 0, 32)[0]).all()


def test_expdesign_has_five_one_based_tables(tree):
    design = tree.expdesign()
    assert design["masterordering"].shape == (1, 360)
    assert design["subjectim"].shape == (8, 120)
    assert design["sharedix"].shape == (1, 24)
    assert design["basiccnt"].shape == (3, 6)
    assert design["stimpattern"].shape[:2] == (6, 12)
    assert design["masterordering"].min() == design["subjectim"].min() == 1
    assert (design["basiccnt"] * np.array([[1], [2], [3]])).sum(axis=0).tolist() == [60] * 6
    assert (design["stimpattern"].sum(axis=(1, 2)) == 60).all()


def test_shared_pictures_come_first_ascending_and_the_tail_is_unsorted(tree):
    design = tree.expdesign()
    listed = design["subjectim"].astype(int)
    assert (listed[:, :24] == design["sharedix"]).all()
    assert (np.diff(listed[:, :24], axis=1) > 0).all()
    assert (np.diff(listed[:, 24:], axis=1) < 0).any(axis=1).all()
    assert not set(listed[0, 24:]) & set(listed[1, 24:])
