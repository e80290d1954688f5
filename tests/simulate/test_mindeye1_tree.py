"""Facts of MindEye1's files, read back by tarfile, numpy and Pillow, and their agreement with the NSD tree."""

import io
import json
import re
import tarfile

import numpy as np
import pytest
from PIL import Image

from fmri_lightning.simulate.command import simulate

SMALL = {"shared": 24, "unique": 96, "sessions": 6, "nsdgeneral_voxels": 200, "size_px": 32, "layout": "mindeye1"}
FOLDER = "webdataset_avg_split"
SESSIONS = {1: 6, 2: 4}
NAMES = {"jpg", "nsdgeneral.npy", "wholebrain_3d.npy", "coco73k.npy", "trial.npy", "num_uniques.npy"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulate") / "mindeye1"
    simulate(root, **SMALL)
    return root


def samples(root, split, subject):
    """Keys in order → members by extension."""
    found = {}
    for path in sorted((root / FOLDER / split).glob(f"{split}_subj{subject:02d}_*.tar")):
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
                key, name = member.name.split(".", 1)
                content = archive.extractfile(member).read()
                found.setdefault(key, {})[name] = content if name == "jpg" else np.load(io.BytesIO(content))
    return found


def everything(root, subject):
    return {split: list(samples(root, split, subject).values()) for split in ("train", "val", "test")}


def test_the_root_holds_the_published_names_and_nothing_else(root):
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    shards = [("train", n) for n in range(3)] + [("val", 0), ("test", 0)]
    assert files == {
        *(f"{FOLDER}/{split}/{split}_subj{s:02d}_{n}.tar" for split, n in shards for s in SESSIONS),
        *(f"{FOLDER}/metadata_subj{s:02d}.json" for s in SESSIONS),
        *("COCO_73k_annots_curated.npy", "SIMULATED.json", "stimulus_categories.csv"),
    }


@pytest.mark.parametrize("subject", [1, 2])
def test_members_have_the_published_types_and_shapes(root, tree, subject):
    box = tree.volume(subject, "roi/nsdgeneral").shape
    for split in ("train", "val", "test"):
        found = samples(root, split, subject)
        assert list(found) == [f"sample{number:09d}" for number in range(len(found))]
        for sample in found.values():
            assert set(sample) == NAMES
            assert (sample["nsdgeneral.npy"].dtype, sample["nsdgeneral.npy"].shape) == (np.float16, (3, 200))
            assert (sample["wholebrain_3d.npy"].dtype, sample["wholebrain_3d.npy"].shape) == (np.float16, (3, *box))
            for name in ("coco73k.npy", "trial.npy", "num_uniques.npy"):
                assert (sample[name].dtype, sample[name].shape) == (np.int64, (1,))
            assert Image.open(io.BytesIO(sample["jpg"])).size == (32, 32)


@pytest.mark.parametrize("subject", [1, 2])
def test_metadata_count_the_samples(root, subject):
    totals = json.loads((root / FOLDER / f"metadata_subj{subject:02d}.json").read_text())["totals"]
    assert totals == {split: len(found) for split, found in everything(root, subject).items()}
    assert totals["val"] >= 3


@pytest.mark.parametrize("subject", [1, 2])
def test_each_picture_that_was_seen_is_one_sample_and_shared_ones_are_test(root, tree, subject):
    seen = np.unique(tree.nsd_ids(subject)[: 60 * SESSIONS[subject]])
    shared = set((tree.expdesign()["sharedix"][0].astype(int) - 1).tolist())
    ids = {split: [int(s["coco73k.npy"][0]) for s in found] for split, found in everything(root, subject).items()}
    assert sorted(ids["train"] + ids["val"] + ids["test"]) == seen.tolist()
    assert set(ids["test"]) == shared & set(seen.tolist())
    # Shuffled: the number of a sample says nothing.
    assert ids["train"] != sorted(ids["train"])
    assert abs(np.corrcoef(np.arange(len(ids["train"])), ids["train"])[0, 1]) < 0.4


@pytest.mark.parametrize("subject", [1, 2])
def test_rows_are_scores_of_the_session_and_copies_fill_up(root, tree, subject):
    mask = tree.volume(subject, "roi/nsdgeneral") > 0
    volumes = [tree.betas(subject, s + 1).transpose(0, 3, 2, 1).astype(float) for s in range(SESSIONS[subject])]
    z = np.concatenate([(v - v.mean(0)) / np.where(np.ptp(v, axis=0) > 0, v.std(0), 1) for v in volumes])
    shown = tree.nsd_ids(subject)[: len(z)]
    counts = set()
    for found in everything(root, subject).values():
        for sample in found:
            trials = np.flatnonzero(shown == sample["coco73k.npy"][0])
            counts.add(len(trials))
            assert sample["num_uniques.npy"][0] == len(trials)
            assert sample["trial.npy"][0] == trials[0]
            whole, general = sample["wholebrain_3d.npy"], sample["nsdgeneral.npy"]
            np.testing.assert_allclose(whole[: len(trials)], z[trials], rtol=2**-11, atol=2**-20)
            assert np.array_equal(whole[:, mask], general)
            for row in range(len(trials), 3):
                assert any(np.array_equal(general[row], general[unique]) for unique in range(len(trials)))
            assert len({row.tobytes() for row in general}) == len(trials)
    assert counts == ({3} if subject == 1 else {1, 2, 3})


def test_pictures_are_those_of_nsd_but_for_the_jpeg(root, tree):
    import h5py

    with h5py.File(tree.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        brick = file["imgBrick"][...].astype(float)
    for sample in everything(root, 1)["test"]:
        picture = np.asarray(Image.open(io.BytesIO(sample["jpg"])).convert("RGB"), dtype=float)
        distances = np.abs(brick - picture).mean(axis=(1, 2, 3))
        assert distances.argmin() == sample["coco73k.npy"][0]


def test_captions_are_a_row_for_each_picture_with_some_missing(root):
    table = np.load(root / "COCO_73k_annots_curated.npy")
    assert table.shape == (220, 5)
    assert table.dtype.kind == "U"
    assert (table[:, 0] != "").all()
    assert 0 < (table == "").sum() < 220
    categories = {line.split(",")[1] for line in (root / "stimulus_categories.csv").read_text().splitlines()[1:]}
    assert all(any(name in text for name in categories) or "empty" in text for text in table[:, 0])


def test_same_seed_same_bytes(root, tmp_path, monkeypatch):
    import time

    later = time.time() + 86_400 * 400
    monkeypatch.setattr(time, "time", lambda: later)
    simulate(tmp_path / "again", **SMALL)
    first, second = (
        {p.relative_to(place): p.read_bytes() for p in place.rglob("*") if p.is_file()}
        for place in (root, tmp_path / "again")
    )
    assert first == second


def test_dry_run_foretells_the_bytes(root, tmp_path, capsys):
    simulate(tmp_path / "a", **SMALL, dry_run=True)
    out = capsys.readouterr().out
    assert "subj02: 4 sessions, 240 trials, at most 120 pictures of" in out
    written = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert float(out.split("together about ")[1].split(" MB")[0]) == pytest.approx(written / 1e6, abs=0.8)


def test_sample_names_have_nine_digits(root):
    with tarfile.open(root / FOLDER / "train/train_subj01_1.tar") as archive:
        names = archive.getnames()
    assert all(re.fullmatch(r"sample\d{9}\.[a-z0-9_.]+", name) for name in names)
