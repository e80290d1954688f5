"""MindEye1's samples: what is read is what went in, and each way in which files can be wrong is caught."""

import json
import shutil

import numpy as np
import pytest

from fmri_lightning.betas.build import plan_store
from fmri_lightning.betas.command import betas
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index import published
from fmri_lightning.index.command import index
from fmri_lightning.index.table import index_manifest, read_index
from tests.index.tiny_brain_diffuser import EXPDESIGN
from tests.index.tiny_mindeye1 import FOLDER, npy, read_tar, session_scores, unpack, write_tar, write_tiny_mindeye1
from tests.index.tiny_nsd import write_tiny_nsd

TRAIN = f"{FOLDER}/train/train_subj01_0.tar"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(tiny NSD tree, MindEye1 tree of the same experiment)."""
    place = tmp_path_factory.mktemp("tiny")
    tiny = write_tiny_nsd(place / "nsd", sessions_run=(3, 2), n_shared=8, nifti=False, edge_voxels=False)
    return tiny, write_tiny_mindeye1(place / "mindeye1", tiny)


@pytest.fixture
def tree(whole, tmp_path):
    """A copy that the test may damage."""
    return shutil.copytree(whole[1], tmp_path / "mindeye1")


def made(tree, work, subject="subj01"):
    index(tree, source="mindeye1", subject=subject, out=work / "index")
    places = {"index": work / "index", "out": work / "betas", "preproc_out": work / "preproc"}
    betas(tree, **places, subject=subject, mask="roi", verify_files=True)
    return read_index(work / "index", subject), BetaStore.open(work / "betas" / subject, verify=True)


def change(path, key_part, content):
    """Replace the first member of a tar whose name ends so; ``content`` gets the old bytes."""
    members = read_tar(path)
    name = next(name for name in members if name.endswith(key_part))
    members[name] = content(members[name])
    write_tar(path, members)
    return name


def array(change_array):
    """Make a change of bytes from a change of the array in them."""
    import io

    return lambda content: npy(change_array(np.load(io.BytesIO(content))))


@pytest.mark.parametrize("subject", ["subj01", "subj02"])
@pytest.mark.parametrize("form", ["tars", "unpacked"])
def test_a_row_for_each_trial_that_was_run_and_no_copies(whole, tree, tmp_path, subject, form):
    tiny = whole[0]
    if form == "unpacked":
        unpack(tree)
    table, store = made(tree, tmp_path, subject)
    ids, z = tiny.nsd_ids[subject], session_scores(tiny, subject)[:, tiny.nsdgeneral > 0].astype(np.float32)
    assert len(table) == len(ids)
    for picture in np.unique(ids):
        rows = np.flatnonzero(table.nsd_id == picture)
        assert table.repeat[rows].tolist() == list(range(len(rows)))
        assert np.array_equal(store.betas[rows], z[ids == picture])
    assert set(table.session.tolist()) == {1}
    assert np.array_equal(table.shared1000, np.isin(table.nsd_id, tiny.shared))
    assert np.array_equal(table.split == "test", table.shared1000)
    assert (store.ijk == -1).all()


def test_what_the_files_are_is_said(tree, tmp_path):
    _, store = made(tree, tmp_path)
    facts = index_manifest(tmp_path / "index", "subj01").config
    assert facts["normalised"] is True
    assert facts["arrived_as"].startswith("z-score per voxel and session over all trials of the session, test")
    assert (facts["n_catalogue"], facts["ids_checked_by_design"]) == (200, False)
    assert "sessions_covered" not in facts
    assert store.manifest.config["t0"].startswith("skipped, the betas arrived as: z-score per voxel")
    names = [name for name in store.manifest.inputs if name.endswith(".tar")]
    assert len(names) == len(list((tree / FOLDER).glob("*/*_subj01_*.tar"))) > 3
    assert set(store.manifest.config["file_sha256"]) == set(names)


def test_nsd_design_beside_the_tars_checks_ids_and_counts(whole, tree, tmp_path):
    put_design(whole[0], tree)
    index(tree, source="mindeye1", out=tmp_path / "index")
    facts = index_manifest(tmp_path / "index", "subj01").config
    assert (facts["sessions_covered"], facts["ids_checked_by_design"]) == (3, True)


def put_design(tiny, tree):
    (tree / EXPDESIGN).parent.mkdir(parents=True)
    shutil.copy(tiny.root / EXPDESIGN, tree / EXPDESIGN)


def refused(tree, tmp_path, match, subject="subj01"):
    with pytest.raises(BadInputError, match=match) as caught:
        index(tree, source="mindeye1", subject=subject, out=tmp_path / "out" / "index")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").rglob("*.parquet"))


def shift_ids(tree, subject, by=1):
    for path in sorted((tree / FOLDER).glob(f"*/*_{subject}_*.tar")):
        members = read_tar(path)
        shift = array(lambda a: (a + by) % 200)
        write_tar(path, {k: shift(v) if k.endswith("coco73k.npy") else v for k, v in members.items()})


def test_ids_shifted_in_one_subject_are_caught_by_the_other(tree, tmp_path):
    shift_ids(tree, "subj01")
    refused(tree, tmp_path, r"test pictures of subj01 and subj02 are not the same|is a test picture of subj02")


def test_a_single_wrong_id_among_the_test_pictures_is_caught_by_the_other_subject(whole, tree, tmp_path):
    unseen = next(i for i in range(200) if not any(i in ids for ids in whole[0].nsd_ids.values()))
    both = set(whole[0].nsd_ids["subj02"].tolist()) & set(whole[0].shared.tolist())
    path = tree / FOLDER / "test/test_subj01_0.tar"
    members = read_tar(path)
    name = next(k for k in members if k.endswith("coco73k.npy") and any(members[k] == npy(np.array([i])) for i in both))
    write_tar(path, {**members, name: npy(np.array([unseen]))})
    refused(tree, tmp_path, r"test pictures of subj01 and subj02 are not the same, .*\(1 of \d+ differ\)")


def test_ids_shifted_in_all_subjects_are_caught_by_the_design(whole, tree, tmp_path):
    shift_ids(tree, "subj01")
    shift_ids(tree, "subj02")
    put_design(whole[0], tree)
    refused(
        tree, tmp_path, r"are not that subject's by nsddata.*; the files are another subject's, or the ids are wrong"
    )


def test_another_subject_that_is_half_there_stops_nobody_but_itself(tree, tmp_path):
    path = tree / FOLDER / "test/test_subj02_0.tar"
    path.write_bytes(path.read_bytes()[:3000])
    index(tree, source="mindeye1", out=tmp_path / "index")
    refused(tree, tmp_path, r"test_subj02_0\.tar is damaged or cut off", subject="subj02")


def rename_subjects(tree):
    """Exchange all files of the two subjects."""
    for one, other in (("subj01", "x"), ("subj02", "subj01"), ("x", "subj02")):
        for path in [*(tree / FOLDER).glob(f"*/*_{one}_*.tar"), tree / FOLDER / f"metadata_{one}.json"]:
            path.rename(path.with_name(path.name.replace(one, other)))


def test_files_of_two_subjects_swapped_are_caught_by_the_design(whole, tree, tmp_path):
    rename_subjects(tree)
    put_design(whole[0], tree)
    refused(tree, tmp_path, r"are not that subject's by|are not those of any number of first sessions")


def test_files_of_two_subjects_swapped_are_caught_by_the_published_voxels(whole, tmp_path, monkeypatch):
    tree = write_tiny_mindeye1(tmp_path / "bare", whole[0], annotations=False)
    n_voxels = int((whole[0].nsdgeneral > 0).sum())
    facts = {name: vars(published.SUBJECTS[name]) for name in ("subj01", "subj02")}
    other = published.PublishedSubject(**{**facts["subj02"], "nsdgeneral": n_voxels})
    monkeypatch.setitem(published.SUBJECTS, "subj02", other)
    refused(tree, tmp_path, rf"samples of subj01 .* have {n_voxels} voxels, which is subj02; the files were renamed")


def test_one_tar_of_another_subject_is_caught_by_its_shape(whole, tree, tmp_path):
    other = write_tiny_nsd(tmp_path / "nsd", (2,), box=(6, 8, 6), nifti=False, edge_voxels=False, seed=0)
    foreign = write_tiny_mindeye1(tmp_path / "foreign", other) / FOLDER / "val/val_subj01_0.tar"
    path = tree / FOLDER / "val/val_subj01_0.tar"
    ids = [v for k, v in read_tar(path).items() if k.endswith("coco73k.npy")]
    members = read_tar(foreign)
    names = [name for name in members if name.endswith("coco73k.npy")]
    keep = len(ids)
    assert len(names) >= keep
    # Ids that fit, so that nothing but the shape can tell.
    for name, content in zip(names, ids, strict=False):
        members[name] = content
    kept = {name.split(".")[0] for name in names[:keep]}
    write_tar(path, {k: v for k, v in members.items() if k.split(".")[0] in kept})
    refused(tree, tmp_path, r"voxels in a box of \(6, 8, 6\), .* in \(6, 8, 5\); they are not of one subject")


@pytest.mark.parametrize("keep", [0.3, 0.8])
def test_a_torn_tar_is_named(tree, tmp_path, keep):
    content = (tree / TRAIN).read_bytes()
    (tree / TRAIN).write_bytes(content[: int(len(content) * keep)])
    refused(tree, tmp_path, r"train_subj01_0\.tar is damaged or cut off")


def test_a_tar_torn_where_the_brain_is_zero_is_named(tree, tmp_path):
    """Zeros at the end of a file look like the end of an archive."""
    change(tree / TRAIN, "wholebrain_3d.npy", array(np.zeros_like))
    content = (tree / TRAIN).read_bytes()
    zeros = content.index(bytes(1400))
    (tree / TRAIN).write_bytes(content[: zeros + 1400])
    refused(tree, tmp_path, r"train_subj01_0\.tar is damaged or cut off \(unexpected end of data\)")


def test_a_tar_that_lost_samples_is_caught_by_the_metadata(tree, tmp_path):
    members = read_tar(tree / TRAIN)
    first = next(iter(members)).split(".")[0]
    write_tar(tree / TRAIN, {k: v for k, v in members.items() if not k.startswith(first)})
    refused(tree, tmp_path, r"holds \d+ samples of subj01, metadata_subj01\.json says \d+")


def test_metadata_of_another_download_is_caught(tree, tmp_path):
    path = tree / FOLDER / "metadata_subj01.json"
    plain = json.loads(path.read_text())
    plain["totals"]["val"] += 1
    path.write_text(json.dumps(plain))
    refused(tree, tmp_path, r"val holds \d+ samples of subj01, metadata_subj01\.json says")
    path.write_text(json.dumps({"train": 3}))
    refused(tree, tmp_path, r"has no whole numbers totals\.train")


def test_a_missing_tar_in_the_row_is_named(tree, tmp_path):
    (tree / TRAIN).unlink()
    refused(tree, tmp_path, r"and no train_subj01_0\.tar; download it")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_missing_split_is_named(tree, tmp_path, split):
    for path in (tree / FOLDER / split).glob("*_subj01_*.tar"):
        path.unlink()
    refused(tree, tmp_path, "no subject 'subj01' under" if split == "test" else "holds neither tars nor a folder of")


def test_both_forms_at_once_are_refused(tree, tmp_path):
    (tree / FOLDER / "train" / "subj01").mkdir()
    refused(tree, tmp_path, "holds both tars and a folder of samples of subj01; keep one of the two there")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("nsdgeneral.npy", array(lambda a: a[:2]), r"nsdgeneral\.npy is float16 \(2, \d+\), expected float16 \(3, vox"),
        ("nsdgeneral.npy", array(lambda a: a.T), r"nsdgeneral\.npy is float16 \(\d+, 3\), expected float16 \(3, vox"),
        ("nsdgeneral.npy", array(lambda a: a.astype(np.float32)), r"nsdgeneral\.npy is float32"),
        ("nsdgeneral.npy", array(lambda a: a[:, :-1]), r"voxels in a box of .*; they are not of one subject"),
        ("nsdgeneral.npy", lambda b: b[:100], r"nsdgeneral\.npy is damaged"),
        ("coco73k.npy", array(lambda a: np.r_[a, a]), r"coco73k\.npy is int64 \(2,\), expected one integer"),
        ("coco73k.npy", array(lambda a: a * 0.5), r"coco73k\.npy is float64 \(1,\), expected one integer"),
        ("coco73k.npy", array(lambda a: a * 0 + 200), r"coco73k goes from \d+ to 200, the catalogue has 200 pictures"),
        ("coco73k.npy", array(lambda a: a * 0 - 1), r"coco73k goes from -1 to \d+, the catalogue"),
        ("num_uniques.npy", array(lambda a: a * 0), r"num_uniques\.npy is 0, expected 1 to 3"),
        ("num_uniques.npy", array(lambda a: a * 0 + 4), r"num_uniques\.npy is 4, expected 1 to 3"),
    ],
)
def test_a_member_of_another_shape_is_named(tree, tmp_path, name, content, match):
    change(tree / TRAIN, name, content)
    refused(tree, tmp_path, match)


def test_a_sample_without_a_member_is_named(tree, tmp_path):
    members = read_tar(tree / TRAIN)
    members.pop(next(name for name in members if name.endswith("trial.npy")))
    write_tar(tree / TRAIN, members)
    refused(tree, tmp_path, r"has no trial\.npy; download it again")


def sample_of(tree, n_unique):
    """(tar, key) of a sample of subject 2 with so many repeats."""
    for path in sorted((tree / FOLDER).glob("*/*_subj02_*.tar")):
        for name, content in read_tar(path).items():
            if name.endswith("num_uniques.npy") and content == npy(np.array([n_unique], dtype=np.int64)):
                return path, name
    raise AssertionError(n_unique)


@pytest.mark.parametrize(
    ("true", "claimed", "match"),
    [
        (1, 2, "says 2 independent rows, some of them are equal"),
        (2, 3, "says 3 independent rows, some of them are equal"),
        (3, 2, "says 2, but a later row repeats none of them"),
        (2, 1, "says 1, but a later row repeats none of them"),
    ],
)
def test_copies_claimed_as_independent_and_the_reverse_are_caught(tree, tmp_path, true, claimed, match):
    path, name = sample_of(tree, true)
    members = read_tar(path)
    members[name] = npy(np.array([claimed], dtype=np.int64))
    write_tar(path, members)
    refused(tree, tmp_path, match, subject="subj02")


def test_a_repeat_that_was_never_shown_is_caught_by_the_design(whole, tree, tmp_path):
    put_design(whole[0], tree)
    path, name = sample_of(tree, 2)
    members = read_tar(path)
    rows = name.replace("num_uniques", "nsdgeneral")
    members[name] = npy(np.array([3], dtype=np.int64))
    members[rows] = array(lambda a: np.r_[a[:2], a[:1] + np.float16(0.5)])(members[rows])
    write_tar(path, members)
    refused(tree, tmp_path, "num_uniques of 1 samples of subj02 is not how often .* shows", subject="subj02")


def test_a_picture_in_two_splits_is_caught(tree, tmp_path):
    val = next(v for k, v in read_tar(tree / FOLDER / "val/val_subj01_0.tar").items() if k.endswith("coco73k.npy"))
    change(tree / TRAIN, "coco73k.npy", lambda _: val)
    refused(tree, tmp_path, r"1 pictures are there twice, first \d+ in the splits train and val")


def test_a_picture_in_two_samples_is_caught(tree, tmp_path):
    last = next(v for k, v in read_tar(tree / FOLDER / "train/train_subj01_1.tar").items() if k.endswith("coco73k.npy"))
    change(tree / TRAIN, "coco73k.npy", lambda _: last)
    refused(tree, tmp_path, r"1 pictures are there twice, first \d+ in 2 samples of train")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_no_number_is_caught(tree, tmp_path, value):
    def spoil(a):
        a[1, 4] = value
        return a

    name = change(tree / TRAIN, "nsdgeneral.npy", array(spoil))
    refused(tree, tmp_path, rf"{name.split('.')[0]}\.nsdgeneral\.npy holds NaN or infinity in 1 voxels")


def test_a_tree_that_claims_to_be_nsd_must_have_nsd_sizes(tree, tmp_path, monkeypatch):
    from fmri_lightning.index import mindeye1_checks

    monkeypatch.setattr(mindeye1_checks, "NSD_CATALOGUE", 200)
    refused(tree, tmp_path, r"voxels in a box of \(6, 8, 5\), NSD's have 15724 in \(81, 104, 83\)")
    n_voxels = int(np.load(_first_betas(tree)).shape[1])
    facts = vars(published.SUBJECTS["subj01"]) | {"nsdgeneral": n_voxels, "shape": (6, 8, 5)}
    monkeypatch.setitem(published.SUBJECTS, "subj01", published.PublishedSubject(**facts))
    refused(tree, tmp_path, r"subj01 has \d+ pictures and \d+ independent rows of test .* of NSD 982 and 2770")


def _first_betas(tree):
    import io

    return io.BytesIO(next(v for k, v in read_tar(tree / TRAIN).items() if k.endswith("nsdgeneral.npy")))


def test_flags_that_mean_nothing_here_are_refused(tree, tmp_path):
    with pytest.raises(UsageError, match=r"--sessions 2 cannot be had from mindeye1: .*; leave the flag out"):
        index(tree, source="mindeye1", sessions="2", out=tmp_path / "index")
    index(tree, source="mindeye1", sessions="first37", out=tmp_path / "index")
    with pytest.raises(BadInputError, match="no region 'V1' in MindEye1's samples; they hold nsdgeneral as a whole"):
        betas(tree, index=tmp_path / "index", roi="V1", out=tmp_path / "betas", preproc_out=tmp_path / "preproc")
    with pytest.raises(BadInputError, match=r"no subject 'subj05' under .*; present: subj01, subj02"):
        index(tree, source="mindeye1", subject="subj05", out=tmp_path / "index")


def test_samples_that_changed_after_the_index_are_refused(tree, tmp_path):
    index(tree, source="mindeye1", out=tmp_path / "index")
    first, second = tree / TRAIN, tree / FOLDER / "train/train_subj01_1.tar"
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    with pytest.raises(BadInputError, match="are not those that the index was made from; make it again"):
        betas(tree, index=tmp_path / "index", mask="roi", out=tmp_path / "betas", preproc_out=tmp_path / "preproc")
    assert not (tmp_path / "betas").exists()


def test_a_changed_tar_makes_another_store(tree, tmp_path):
    made(tree, tmp_path)
    asked = (tmp_path / "index", tree, "subj01", "func1pt8mm", "b3", "nsdgeneral", "float32")
    before = plan_store(*asked).work_on(1).fingerprint
    change(tree / TRAIN, "nsdgeneral.npy", array(lambda a: -a))
    # By this a session that was read before the change is read again.
    assert plan_store(*asked).work_on(1).fingerprint != before
    places = {"index": tmp_path / "index", "out": tmp_path / "betas", "preproc_out": tmp_path / "preproc"}
    with pytest.raises(BadInputError, match="made from other inputs or settings"):
        betas(tree, **places, mask="roi")
