"""Facts of MindEye2's files, read back by h5py, tarfile and numpy, and their agreement with the NSD tree."""

import io
import re
import tarfile

import h5py
import numpy as np
import pytest

from fmri_lightning.errors import ResourceError, UsageError
from fmri_lightning.simulate.command import simulate

SMALL = {"shared": 24, "unique": 96, "sessions": 6, "nsdgeneral_voxels": 200, "size_px": 32, "layout": "mindeye2"}
TINY = {"shared": 6, "unique": 18, "sessions": 3, "nsdgeneral_voxels": 60, "size_px": 16, "layout": "mindeye2"}
SESSIONS = {1: 6, 2: 4}
COPIED = {
    **{1: "SUBJECT", 2: "SESSION", 3: "RUN", 4: "TRIAL", 7: "ISOLD", 8: "ISCORRECT", 9: "RT", 10: "CHANGEMIND"},
    **{11: "ISOLDCURRENT", 12: "ISCORRECTCURRENT", 13: "TOTAL1", 14: "TOTAL2", 15: "BUTTON"},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulate") / "mindeye2"
    simulate(root, **SMALL)
    return root


def read(path, key):
    with h5py.File(path) as file:
        return file[key][...]


def betas(root, subject):
    return read(root / f"betas_all_subj{subject:02d}_fp32_renorm.hdf5", "betas")


def samples(path):
    """Samples of a tar in order: key and arrays by member name."""
    found = {}
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            key, name = member.name.split(".", 1)
            found.setdefault(key, {})[name] = np.load(io.BytesIO(archive.extractfile(member).read()))
    return found


def train(root, subject):
    return [samples(root / f"wds/subj{subject:02d}/train/{tar}.tar") for tar in range(SESSIONS[subject])]


def new_test(root, subject):
    return samples(root / f"wds/subj{subject:02d}/new_test/0.tar")


def behaviour(root, subject):
    """The 17 columns of all trials in order of time, and what the tars say besides."""
    everything = [*(s for tar in train(root, subject) for s in tar.values()), *new_test(root, subject).values()]
    everything.sort(key=lambda sample: sample["behav.npy"][0, 5])
    return np.concatenate([sample["behav.npy"] for sample in everything]), everything


def psc_in_order_a(tree, subject):
    """Percent signal change (trials, nsdgeneral voxels) of the NSD tree, z fastest."""
    general = tree.volume(subject, "roi/nsdgeneral") > 0
    volumes = np.concatenate([tree.betas(subject, session + 1) for session in range(SESSIONS[subject])])
    return volumes.transpose(0, 3, 2, 1)[:, general] / 300.0


def test_the_root_holds_the_published_names_and_nothing_else(root):
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert files == {
        *("betas_all_subj01_fp32_renorm.hdf5", "betas_all_subj02_fp32_renorm.hdf5", "COCO_73k_subj_indices.hdf5"),
        *("coco_images_224_float16.hdf5", "brain_region_masks.hdf5", "shared1000.npy", "test_73k_images.npy"),
        *(f"wds/subj{subject:02d}/train/{tar}.tar" for subject, n in SESSIONS.items() for tar in range(n)),
        *("wds/subj01/new_test/0.tar", "wds/subj02/new_test/0.tar", "SIMULATED.json", "stimulus_categories.csv"),
    }


@pytest.mark.parametrize("subject", [1, 2])
def test_betas_are_contiguous_float32_with_a_row_for_each_trial_run(root, subject):
    path = root / f"betas_all_subj{subject:02d}_fp32_renorm.hdf5"
    with h5py.File(path) as file:
        assert list(file) == ["betas"]
        assert file["betas"].dtype == np.dtype("<f4")
        assert file["betas"].chunks is None
        assert file["betas"].shape == (60 * SESSIONS[subject], 200)
        assert 0 <= path.stat().st_size - file["betas"].nbytes <= 2048


@pytest.mark.parametrize("subject", [1, 2])
def test_trials_that_are_not_shared_have_mean_0_and_deviation_1_in_each_voxel(root, subject):
    values = betas(root, subject).astype(float)
    own = values[~np.load(root / "shared1000.npy")[read(root / "COCO_73k_subj_indices.hdf5", f"subj{subject:02d}")]]
    constant = ~values.any(axis=0)
    assert np.isfinite(values).all()
    assert constant.sum() == 1
    np.testing.assert_allclose(own.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(own.std(axis=0)[~constant], 1, atol=1e-6)
    assert np.abs(values.mean(axis=0)[~constant]).max() > 1e-4


@pytest.mark.parametrize("subject", [1, 2])
def test_betas_are_those_of_the_nsd_tree_in_order_a(root, tree, subject):
    """A z-score of each session is the same from int16 volumes and from the renormed matrix."""
    ours = betas(root, subject).astype(float)
    theirs = psc_in_order_a(tree, subject)
    for start in range(0, len(ours), 60):
        both = [matrix[start : start + 60] for matrix in (ours, theirs)]
        scores = [(b - b.mean(axis=0)) / np.where(np.ptp(b, axis=0) > 0, b.std(axis=0), 1) for b in both]
        np.testing.assert_allclose(*scores, atol=1e-4)


@pytest.mark.parametrize("subject", [1, 2])
def test_shared_trials_are_scaled_by_the_numbers_of_the_others(root, tree, subject):
    theirs = psc_in_order_a(tree, subject)
    shared = tree.expdesign()["sharedix"][0].astype(int) - 1
    own = theirs[~np.isin(tree.nsd_ids(subject)[: len(theirs)], shared)]
    deviation = np.where(np.ptp(own, axis=0) > 0, own.std(axis=0), 1)
    np.testing.assert_allclose(betas(root, subject), (theirs - own.mean(axis=0)) / deviation, atol=1e-4)


def test_a_voxel_runs_into_the_limits_of_int16_and_keeps_its_clipped_values(root):
    values = betas(root, 1)
    at_top = (values == values.max(axis=0)).sum(axis=0)
    at_bottom = (values == values.min(axis=0)).sum(axis=0)
    constant = ~values.any(axis=0)
    assert ((at_top > 5) & (at_bottom > 5) & ~constant).sum() == 1


def test_pictures_of_trials_are_compressed_int64_of_the_simulated_subjects_only(root, tree):
    with h5py.File(root / "COCO_73k_subj_indices.hdf5") as file:
        assert list(file) == ["subj01", "subj02"]
        for subject in (1, 2):
            dataset = file[f"subj{subject:02d}"]
            assert (dataset.dtype, dataset.compression) == (np.int64, "gzip")
            assert dataset[...].tolist() == tree.nsd_ids(subject)[: 60 * SESSIONS[subject]].tolist()


def test_shared_pictures_are_a_mask_and_a_list(root, tree):
    mask, ids = np.load(root / "shared1000.npy"), np.load(root / "test_73k_images.npy")
    assert (mask.dtype, ids.dtype) == (np.bool_, np.int64)
    assert mask.shape == (len(read(root / "coco_images_224_float16.hdf5", "images")),)
    assert np.flatnonzero(mask).tolist() == ids.tolist() == (tree.expdesign()["sharedix"][0].astype(int) - 1).tolist()


def test_pictures_are_float16_channels_first_and_round_to_those_of_nsd(root, tree):
    images = read(root / "coco_images_224_float16.hdf5", "images")
    brick = read(tree.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", "imgBrick")
    assert images.dtype == np.float16
    assert images.shape == (len(brick), 3, 32, 32)
    assert images.min() >= 0
    assert images.max() <= 1
    assert (np.round(images.astype(np.float32) * 255).transpose(0, 2, 3, 1) == brick).all()


@pytest.mark.parametrize("subject", [1, 2])
def test_region_masks_are_the_labels_of_nsd_inside_nsdgeneral(root, tree, subject):
    areas = tree.volume(subject, "roi/prf-visualrois")[tree.volume(subject, "roi/nsdgeneral") > 0]
    expected = {"nsd_general": areas >= -1, "early_vis": areas > 0, "higher_vis": areas <= 0}
    expected |= {"V1": (areas == 1) | (areas == 2), "V2": (areas == 3) | (areas == 4)}
    expected |= {"V3": (areas == 5) | (areas == 6), "V4": areas == 7}
    with h5py.File(root / "brain_region_masks.hdf5") as file:
        assert list(file) == ["subj01", "subj02"]
        masks = {name: file[f"subj{subject:02d}"][name][...] for name in file[f"subj{subject:02d}"]}
    assert set(masks) == set(expected)
    for name, mask in masks.items():
        assert mask.dtype == np.bool_
        assert (mask == expected[name]).all()
        assert mask.any()


@pytest.mark.parametrize("subject", [1, 2])
def test_samples_have_four_float64_members_and_are_numbered_through_the_train_tars(root, subject):
    keys = [key for tar in train(root, subject) for key in tar]
    assert keys == [f"sample{number:09d}" for number in range(len(keys))]
    tests = new_test(root, subject)
    assert list(tests) == [f"sample{number:09d}" for number in range(len(tests))]
    shapes = {"behav.npy": (1, 17), "past_behav.npy": (15, 17), "future_behav.npy": (15, 17), "olds_behav.npy": (3, 17)}
    for sample in [*tests.values(), *(s for tar in train(root, subject) for s in tar.values())]:
        assert {name: values.shape for name, values in sample.items()} == shapes
        assert {values.dtype for values in sample.values()} == {np.dtype(np.float64)}


def test_tar_headers_name_no_time_and_nobody(root):
    with tarfile.open(root / "wds/subj01/train/0.tar", "r:") as archive:
        for member in archive:
            assert re.fullmatch(r"sample\d{9}\.(behav|past_behav|future_behav|olds_behav)\.npy", member.name)
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")


@pytest.mark.parametrize("subject", [1, 2])
def test_global_trials_of_train_and_test_are_all_trials_once_and_lead_to_their_picture(root, subject):
    rows, _ = behaviour(root, subject)
    ids = read(root / "COCO_73k_subj_indices.hdf5", f"subj{subject:02d}")
    assert rows[:, 5].tolist() == list(range(60 * SESSIONS[subject]))
    assert (ids[rows[:, 5].astype(int)] == rows[:, 0]).all()
    assert (rows[:, 16] == np.load(root / "shared1000.npy")[rows[:, 0].astype(int)]).all()


@pytest.mark.parametrize("subject", [1, 2])
def test_a_train_tar_holds_the_unshared_trials_of_its_session_and_the_test_tar_the_shared_ones(root, subject):
    for tar, found in enumerate(train(root, subject)):
        rows = np.concatenate([sample["behav.npy"] for sample in found.values()])
        assert not rows[:, 16].any()
        assert (rows[:, 2] == tar + 1).all()
        assert (rows[:, 5] // 60 == tar).all()
    rows = np.concatenate([sample["behav.npy"] for sample in new_test(root, subject).values()])
    assert rows[:, 16].all()
    assert (np.diff(rows[:, 5]) > 0).all()


@pytest.mark.parametrize("subject", [1, 2])
def test_behaviour_is_that_of_the_nsd_table_with_minus_one_for_nan(root, tree, subject):
    rows, _ = behaviour(root, subject)
    header, table = tree.responses(subject)
    assert (rows[:, 0] == table[:, header.index("73KID")] - 1).all()
    assert (rows[:, 6] == table[:, header.index("TIME")].astype(int)).all()
    for column, name in COPIED.items():
        theirs = table[:, header.index(name)]
        assert (rows[:, column] == np.where(np.isnan(theirs), -1, theirs)).all(), name
    assert (rows[:, 15] == -1).any()
    assert not np.isnan(rows).any()


@pytest.mark.parametrize("subject", [1, 2])
def test_neighbours_come_nearest_first_and_never_cross_a_session(root, subject):
    rows, found = behaviour(root, subject)
    for trial, sample in enumerate(found):
        start = trial // 60 * 60
        for name, wanted in (
            ("past_behav.npy", range(trial - 1, max(start, trial - 15) - 1, -1)),
            ("future_behav.npy", range(trial + 1, min(start + 60, trial + 16))),
        ):
            assert (sample[name][: len(wanted)] == rows[list(wanted)]).all()
            assert (sample[name][len(wanted) :] == -1).all()
    assert any(sample["past_behav.npy"][:, 16].max() == 1 for sample in found if not sample["behav.npy"][0, 16])


@pytest.mark.parametrize("subject", [1, 2])
def test_olds_are_the_other_showings_of_the_picture_later_ones_too(root, subject):
    rows, found = behaviour(root, subject)
    for trial, sample in enumerate(found):
        others = np.setdiff1d(np.flatnonzero(rows[:, 0] == rows[trial, 0]), [trial])
        assert (sample["olds_behav.npy"][: len(others)] == rows[others]).all()
        assert (sample["olds_behav.npy"][len(others) :] == -1).all()
        assert (rows[trial, 7] == 1) == bool((others < trial).any())


def test_a_short_subject_has_pictures_with_every_number_of_showings(root, tree):
    ids = read(root / "COCO_73k_subj_indices.hdf5", "subj02")
    planned = tree.expdesign()["subjectim"].astype(int)[1] - 1
    assert set(np.bincount(ids, minlength=planned.max() + 1)[planned]) == {0, 1, 2, 3}
    shared = np.load(root / "test_73k_images.npy")
    first = [np.flatnonzero(ids == picture)[0] for picture in shared if picture in ids]
    assert len(first) < len(shared)
    assert max(first) >= 180


def test_same_seed_same_bytes(tmp_path, monkeypatch):
    import time

    simulate(tmp_path / "a", **TINY)
    later = time.time() + 86_400 * 400
    monkeypatch.setattr(time, "time", lambda: later)
    simulate(tmp_path / "b", **TINY)
    first, second = (
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        for name in "ab"
    )
    assert len(first) > 8
    assert first == second


@pytest.mark.parametrize("nifti", ["none", "first", "all"])
def test_nifti_is_refused_in_one_line(tmp_path, nifti):
    with pytest.raises(UsageError, match=f"--nifti {nifti}: layout mindeye2 has no NIfTI") as error:
        simulate(tmp_path / "a", **TINY, nifti=nifti)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_subject_that_saw_shared_pictures_only_is_refused(tmp_path):
    sizes = {"shared": 140, "unique": 4, "sessions": 36, "missing_sessions": 35}
    with pytest.raises(UsageError, match="subj02 would see shared pictures only"):
        simulate(tmp_path / "a", **{**TINY, **sizes}, subjects="2")
    assert list(tmp_path.iterdir()) == []


def test_the_other_layout_is_not_overwritten_unasked(tmp_path, capsys):
    simulate(tmp_path / "a", **TINY)
    simulate(tmp_path / "a", **TINY)
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(ResourceError, match="layout mindeye2 there, nsd asked; nifti none there, first asked"):
        simulate(tmp_path / "a", **{**TINY, "layout": "nsd"})


def test_dry_run_foretells_the_bytes(root, tmp_path, capsys):
    simulate(tmp_path / "a", **SMALL, dry_run=True)
    assert list(tmp_path.iterdir()) == []
    out = capsys.readouterr().out
    assert "subj02: 4 sessions, 240 trials, 200 voxels" in out
    written = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert float(out.split("together about ")[1].split(" MB")[0]) == pytest.approx(written / 1e6, abs=0.8)
