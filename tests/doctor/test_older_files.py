"""``doctor --files`` on MindEye1's and brain-diffuser's files: honest ones pass, each fault fails its check."""

import io
import shutil
import tarfile

import numpy as np
import pytest

from fmri_lightning.doctor.command import doctor
from fmri_lightning.doctor.files import check_files
from fmri_lightning.errors import BadInputError
from fmri_lightning.simulate.command import simulate

SMALL = {"subjects": "1,2", "shared": 24, "unique": 96, "sessions": 6, "nsdgeneral_voxels": 200, "size_px": 16}
NAMES = {
    "mindeye1": ["totals", "pictures", "shared", "design", "rows", "shapes"],
    "brain_diffuser": ["rows", "captions", "test order", "shapes"],
}
EXPDESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
TRAIN = "webdataset_avg_split/train/train_subj01_0.tar"


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    root = tmp_path_factory.mktemp("older")
    for layout in NAMES:
        simulate(root / layout, layout=layout, **SMALL)
    return root


@pytest.fixture
def mindeye1(trees, tmp_path):
    """A copy that the test may damage, with NSD's design beside it."""
    root = shutil.copytree(trees / "mindeye1", tmp_path / "mindeye1")
    (root / EXPDESIGN).parent.mkdir(parents=True)
    shutil.copy(trees / "brain_diffuser" / EXPDESIGN, root / EXPDESIGN)
    return root


def failed(root, subject="subj01"):
    return {check.name for check in check_files(root, subject) if check.passed is False}


@pytest.mark.parametrize("subject", ["subj01", "subj02"])
@pytest.mark.parametrize("layout", list(NAMES))
def test_honest_files_pass(trees, layout, subject, capsys):
    doctor(files=trees / layout, subject=subject)
    words = {line[10:].split(":")[0]: line.split()[0] for line in capsys.readouterr().out.splitlines()}
    expected = dict.fromkeys(NAMES[layout], "ok")
    # Without NSD's design beside the tars there is nothing to compare.
    assert words == (expected | {"design": "not"} if layout == "mindeye1" else expected)


def test_the_design_beside_the_tars_is_compared(mindeye1):
    for subject, sessions in (("subj01", 6), ("subj02", 4)):
        checks = {check.name: check for check in check_files(mindeye1, subject)}
        assert all(check.passed for check in checks.values())
        assert f"of the first {sessions} sessions" in checks["design"].said


def change(root, extension, content):
    """Change one member of the first sample of a tar."""
    with tarfile.open(root / TRAIN) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    name = next(name for name in members if name.endswith(extension))
    buffer = io.BytesIO()
    np.save(buffer, content(np.load(io.BytesIO(members[name]))))
    members[name] = buffer.getvalue()
    with tarfile.open(root / TRAIN, "w") as tar:
        for member, data in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize(
    ("extension", "content", "names"),
    [
        ("coco73k.npy", lambda a: (a + 1) % 219, {"design"}),
        ("num_uniques.npy", lambda a: a - 1, {"design", "rows"}),
        ("nsdgeneral.npy", lambda a: a * np.float16("nan"), {"rows"}),
    ],
)
def test_a_fault_of_a_sample_fails_its_checks(mindeye1, extension, content, names):
    change(mindeye1, extension, content)
    assert names <= failed(mindeye1)


def test_captions_of_other_rows_fail_theirs(trees, tmp_path):
    root = shutil.copytree(trees / "brain_diffuser", tmp_path / "data")
    file = root / "processed_data/subj01/nsd_train_cap_sub1.npy"
    np.save(file, np.roll(np.load(file), 1, axis=0))
    assert failed(root) == {"captions"}
    assert failed(root, "subj02") == set()


def test_a_folder_of_none_of_the_layouts_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"holds none of nsddata, .* the files of MindEye2, MindEye1, brain-d"):
        list(check_files(tmp_path, "subj01"))
