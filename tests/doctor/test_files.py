"""Nine checks on both layouts, each seen failing on a fault planted for it; and pairing where all are switched off."""

import csv
import io
import shutil
import tarfile
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from fmri_lightning.doctor.command import doctor
from fmri_lightning.doctor.files import check_files
from fmri_lightning.errors import BadInputError
from fmri_lightning.index import published
from fmri_lightning.simulate.command import simulate

SMALL = {"subjects": "1,2", "shared": 24, "unique": 160, "sessions": 6, "nsdgeneral_voxels": 700, "size_px": 16}
NSD_NAMES = ["ids", "repeats", "formats", "counts", "split", "ncsnr", "rows", "trials per session", "shapes"]
MINDEYE_NAMES = ["ids", "repeats", "masks", "counts", "split", "early lead", "rows", "trials per session", "shapes"]
B3 = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
RESPONSES = "nsddata/ppdata/subj01/behav/responses.tsv"
STIM_INFO = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
EXPDESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
ROI = "nsddata/ppdata/subj01/func1pt8mm/roi"


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """One simulated experiment in both layouts."""
    root = tmp_path_factory.mktemp("layouts")
    simulate(root / "nsd", nifti="first", **SMALL)
    simulate(root / "mindeye2", layout="mindeye2", **SMALL)
    return root


@pytest.fixture
def nsd(trees, tmp_path):
    """A tree of subject 1 that the test may damage."""
    return Path(shutil.copytree(trees / "nsd", tmp_path / "nsd", ignore=shutil.ignore_patterns("subj02")))


@pytest.fixture
def mindeye(trees, tmp_path):
    return Path(shutil.copytree(trees / "mindeye2", tmp_path / "mindeye2"))


def failed(root, subject="subj01"):
    return {check.name for check in check_files(root, subject) if check.passed is False}


@pytest.mark.parametrize("subject", ["subj01", "subj02"])
@pytest.mark.parametrize(("layout", "names"), [("nsd", NSD_NAMES), ("mindeye2", MINDEYE_NAMES)])
def test_honest_files_pass_all_nine(trees, layout, names, subject, capsys):
    doctor(files=trees / layout, subject=subject)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"{'ok':9} {name}" for name in names]


def test_doctor_names_what_failed_and_goes_on(nsd, capsys):
    edit_tsv(nsd / RESPONSES, "73KID", lambda row, text: str(int(text) + 1) if row == 7 else text)
    with pytest.raises(BadInputError, match=r"2 of 9 checks of subj01 in .* failed: ids, repeats"):
        doctor(files=nsd)
    out = capsys.readouterr().out
    assert "FAILED    ids: 1 trials show another picture in responses.tsv" in out
    assert "ok        shapes" in out


def test_a_folder_of_neither_layout_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="holds none of nsddata, COCO_73k_subj_indices"):
        list(check_files(tmp_path, "subj01"))


# -- faults in an NSD tree ---------------------------------------------------------------------------------------


def edit_tsv(path, column, change, delimiter="\t"):
    with open(path, newline="") as handle:
        header, *rows = list(csv.reader(handle, delimiter=delimiter))
    place = header.index(column)
    for number, row in enumerate(rows):
        row[place] = change(number, row[place])
    with open(path, "w", newline="") as handle:
        csv.writer(handle, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])


def edit_design(root, change):
    arrays = {name: value for name, value in loadmat(root / EXPDESIGN).items() if not name.startswith("__")}
    change(arrays)
    savemat(root / EXPDESIGN, arrays)


def edit_hdf5(path, change):
    with h5py.File(path) as handle:
        betas = handle["betas"][:]
    path.unlink()
    with h5py.File(path, "w") as handle:
        handle["betas"] = change(betas)


def every_session(root, change):
    """Change the betas of every session, in both formats."""
    for path in sorted((root / B3).glob("betas_session*.hdf5")):
        edit_hdf5(path, change)
        nifti = path.with_suffix("").with_suffix(".nii.gz")
        if nifti.is_file():
            with h5py.File(path) as handle:
                nibabel.save(nibabel.Nifti1Image(handle["betas"][:].transpose(), np.eye(4)), nifti)


def other_voxel_order(betas):
    """The same numbers, laid down with x fastest where z fastest was meant; the shape stays."""
    return betas.transpose(0, 3, 2, 1).reshape(betas.shape)


def ids_up_in_responses(root):
    edit_tsv(root / RESPONSES, "73KID", lambda row, text: str(int(text) + 1))


def ids_up_in_the_design(root):
    def change(arrays):
        arrays["subjectim"] = arrays["subjectim"] + (np.arange(arrays["subjectim"].shape[1]) >= 24)

    edit_design(root, change)


def trials_shifted_in_responses(root):
    with open(root / RESPONSES, newline="") as handle:
        ids = [row["73KID"] for row in csv.DictReader(handle, delimiter="\t")]
    edit_tsv(root / RESPONSES, "73KID", lambda row, text: ids[row - 1])


def trials_shifted_in_the_design(root):
    edit_design(root, lambda arrays: arrays.update(masterordering=np.roll(arrays["masterordering"], 1, axis=1)))


def trials_up_in_the_catalogue(root):
    for k in range(3):
        edit_tsv(root / STIM_INFO, f"subject1_rep{k}", lambda row, text: str(int(text) + (int(text) > 0)), ",")


def a_trial_nobody_ran(root):
    with open(root / STIM_INFO, newline="") as handle:
        unseen = next(i for i, row in enumerate(csv.DictReader(handle)) if row["subject1"] == "0")
    edit_tsv(root / STIM_INFO, "subject1_rep0", lambda row, text: "5" if row == unseen else text, ",")


def a_flag_more(root):
    with open(root / STIM_INFO, newline="") as handle:
        own = next(i for i, row in enumerate(csv.DictReader(handle)) if row["shared1000"] == "False")
    edit_tsv(root / STIM_INFO, "shared1000", lambda row, text: "True" if row == own else text, ",")


def hdf5_of_another_trial_order(root):
    edit_hdf5(root / B3 / "betas_session01.hdf5", lambda betas: np.roll(betas, 1, axis=0))


def hdf5_of_another_voxel_order(root):
    edit_hdf5(root / B3 / "betas_session01.hdf5", other_voxel_order)


def a_trial_less_in_a_session(root):
    edit_hdf5(root / B3 / "betas_session03.hdf5", lambda betas: betas[:-1])


def a_row_lost(root):
    path = root / RESPONSES
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:20] + lines[21:]))


def a_row_doubled(root):
    path = root / RESPONSES
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:21] + lines[20:]))


def a_region_of_another_box(root):
    volume = np.asarray(nibabel.load(root / ROI / "streams.nii.gz").dataobj)
    nibabel.save(nibabel.Nifti1Image(volume.transpose(2, 1, 0), np.eye(4)), root / ROI / "streams.nii.gz")


def axes_swapped_in_a_session(root):
    edit_hdf5(root / B3 / "betas_session02.hdf5", lambda betas: betas.transpose(0, 3, 2, 1))


NSD_FAULTS = {
    "ids": [ids_up_in_responses, ids_up_in_the_design, trials_shifted_in_responses, trials_shifted_in_the_design],
    "repeats": [trials_up_in_the_catalogue],
    "formats": [hdf5_of_another_trial_order, hdf5_of_another_voxel_order],
    "counts": [a_trial_nobody_ran],
    "split": [a_flag_more],
    "ncsnr": [lambda root: every_session(root, other_voxel_order)],
    "rows": [a_trial_less_in_a_session],
    "trials per session": [a_row_lost, a_row_doubled],
    "shapes": [a_region_of_another_box, axes_swapped_in_a_session],
}


@pytest.mark.parametrize(("name", "plant"), [(name, fault) for name, faults in NSD_FAULTS.items() for fault in faults])
def test_a_fault_in_an_nsd_tree_is_caught_by_its_check(nsd, name, plant):
    plant(nsd)
    assert name in failed(nsd)


def test_every_nsd_check_has_a_fault():
    assert sorted(NSD_FAULTS) == sorted(NSD_NAMES)


def test_some_faults_are_seen_by_one_check_alone(trees, tmp_path):
    for name, plant in (("counts", a_trial_nobody_ran), ("formats", hdf5_of_another_trial_order)):
        root = shutil.copytree(trees / "nsd", tmp_path / name, ignore=shutil.ignore_patterns("subj02"))
        plant(Path(root))
        assert failed(Path(root)) == {name}


def test_a_tree_that_claims_to_be_nsd_must_have_nsd_sizes(nsd, monkeypatch):
    with open(nsd / STIM_INFO) as handle:
        monkeypatch.setattr(published, "NSD_CATALOGUE", sum(1 for _ in handle) - 1)
    outcomes = {check.name: check.said for check in check_files(nsd, "subj01")}
    assert "NSD has 40 of 750" in outcomes["trials per session"]
    assert "NSD's are (81, 104, 83)" in outcomes["shapes"]


# -- faults in MindEye2's files ----------------------------------------------------------------------------------


def edit_tar(path, change):
    """Change the list of (member name, array) of a tar."""
    with tarfile.open(path) as tar:
        members = [(m.name, np.load(io.BytesIO(tar.extractfile(m).read()))) for m in tar]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, array in change(members):
            buffer = io.BytesIO()
            np.save(buffer, array)
            info = tarfile.TarInfo(name)
            info.size = buffer.tell()
            tar.addfile(info, io.BytesIO(buffer.getvalue()))


def edit_behaviour(path, change):
    """Change the rows (n, 17) of a tar's trials in place."""

    def apply(members):
        own = [n for n, (name, _) in enumerate(members) if name.endswith(".behav.npy")]
        rows = np.concatenate([members[n][1] for n in own])
        change(rows)
        for n, row in zip(own, rows, strict=True):
            members[n] = (members[n][0], row[None])
        return members

    edit_tar(path, apply)


def edit_dataset(path, name, change):
    with h5py.File(path, "r+") as handle:
        values = handle[name][:]
        del handle[name]
        handle[name] = change(values)


def edit_npy(path, change):
    array = np.load(path)
    change(array)
    np.save(path, array)


TARS = "wds/subj01/train"
INDICES = "COCO_73k_subj_indices.hdf5"
BETAS = "betas_all_subj01_fp32_renorm.hdf5"


def column_up(number, path=f"{TARS}/2.tar"):
    def change(rows):
        rows[:, number] += 1

    return lambda root: edit_behaviour(root / path, change)


def ids_up_in_the_indices(root):
    edit_dataset(root / INDICES, "subj01", lambda ids: np.minimum(ids + 1, ids.max()))


def trials_shifted_in_the_indices(root):
    edit_dataset(root / INDICES, "subj01", lambda ids: np.roll(ids, 1))


def a_picture_called_old(root):
    def change(rows):
        rows[0, 7] = 1 - rows[0, 7]

    edit_behaviour(root / TARS / "0.tar", change)


def two_trials_of_a_picture_swapped(root):
    def change(rows):
        ids = rows[:, 0]
        twin = next(i for i in range(len(ids)) if (ids[i + 1 :] == ids[i]).any())
        other = twin + 1 + int(np.flatnonzero(ids[twin + 1 :] == ids[twin])[0])
        rows[[twin, other], 5] = rows[[other, twin], 5]

    edit_behaviour(root / TARS / "1.tar", change)


def a_sample_lost(root):
    edit_tar(root / TARS / "3.tar", lambda members: members[4:])


def a_sample_doubled(root):
    edit_tar(root / TARS / "3.tar", lambda members: members + [(f"sample999{n[9:]}", a) for n, a in members[:4]])


def a_mask_of_another_length(root):
    edit_dataset(root / "brain_region_masks.hdf5", "subj01/V1", lambda mask: mask[:-1])


def a_shared_picture_more(root):
    def change(mask):
        mask[np.flatnonzero(~mask)[0]] = True

    edit_npy(root / "shared1000.npy", change)


def a_test_sample_among_train(root):
    moved = []

    def take(members):
        moved.extend(members[:4])
        return members[4:]

    edit_tar(root / "wds/subj01/new_test/0.tar", take)
    session = int(next(a for n, a in moved if n.endswith(".behav.npy") and "_" not in n.split(".")[1])[0, 2])
    renamed = [(f"sample888{name[9:]}", array) for name, array in moved]
    edit_tar(root / TARS / f"{session - 1}.tar", lambda members: members + renamed)


def columns_of_another_order(root):
    """Column v is the voxel that would stand there with x fastest."""
    ijk = np.argwhere(np.asarray(nibabel.load(root.parent / "roi.nii.gz").dataobj) > 0)
    order = np.lexsort((ijk[:, 0], ijk[:, 1], ijk[:, 2]))
    edit_dataset(root / BETAS, "betas", lambda betas: betas[:, order])


def tars_exchanged(root):
    first, second = root / TARS / "0.tar", root / TARS / "1.tar"
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def a_beta_row_less(root):
    edit_dataset(root / BETAS, "betas", lambda betas: betas[:-1])


MINDEYE_FAULTS = {
    "ids": [ids_up_in_the_indices, trials_shifted_in_the_indices, column_up(0)],
    "repeats": [a_picture_called_old],
    "masks": [a_mask_of_another_length],
    "counts": [a_sample_lost, a_sample_doubled],
    "split": [a_shared_picture_more, a_test_sample_among_train],
    "early lead": [columns_of_another_order],
    "rows": [two_trials_of_a_picture_swapped, column_up(5)],
    "trials per session": [a_sample_lost, tars_exchanged, column_up(1)],
    "shapes": [a_beta_row_less],
}


@pytest.mark.parametrize(
    ("name", "plant"), [(name, fault) for name, faults in MINDEYE_FAULTS.items() for fault in faults]
)
def test_a_fault_in_mindeye2_files_is_caught_by_its_check(trees, mindeye, name, plant):
    shutil.copy(trees / "nsd" / ROI / "nsdgeneral.nii.gz", mindeye.parent / "roi.nii.gz")
    plant(mindeye)
    assert name in failed(mindeye)


def test_every_mindeye2_check_has_a_fault():
    assert sorted(MINDEYE_FAULTS) == sorted(MINDEYE_NAMES)
