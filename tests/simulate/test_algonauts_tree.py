"""Files of the Algonauts challenge, recomputed from NSD's files of the same simulation by the published rules."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fmri_lightning.errors import UsageError
from fmri_lightning.simulate.command import simulate
from tests.simulate.conftest import SMALL, Tree

B3 = "betas_fithrf_GLMdenoise_RR"
SIDES = ("lh", "rh")
SIZES = {**SMALL, "sessions": 8, "unique": 136}
SESSIONS = {1: 8, 2: 6}
NAMES = ("prf-visualrois", "floc-bodies", "floc-faces", "floc-places", "floc-words", "streams")
TINY = {"shared": 12, "unique": 36, "sessions": 6, "nsdgeneral_voxels": 60, "size_px": 16, "missing_sessions": 1}


@pytest.fixture(scope="module")
def nsd(tmp_path_factory):
    root = tmp_path_factory.mktemp("algonauts") / "nsd"
    simulate(root, **SIZES, also="fsaverage")
    return Tree(root)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("algonauts") / "challenge"
    simulate(root, **SIZES, layout="algonauts")
    return root


def expected_split(nsd, subject):
    """The organisers' rules, one picture at a time."""
    shown = nsd.nsd_ids(subject)[: SESSIONS[subject] * 60].tolist()
    shared = set((nsd.expdesign()["sharedix"][0].astype(int) - 1).tolist())
    border = (SESSIONS[subject] - 3) * 60
    train = sorted(set(shown[:border]))
    test = []
    for picture in sorted(set(shown[border:]) - set(train)):
        complete = SESSIONS[subject] == SIZES["sessions"] and shown.count(picture) == 3
        if picture not in shared or complete:
            test.append(picture)
    return {"training": train, "test": test}, shown, border


def folder(root, subject, split, what):
    return root / f"subj{subject:02d}/{split}_split/{split}_{what}"


@pytest.mark.parametrize("subject", [1, 2])
def test_pictures_are_split_and_numbered_as_the_organisers_did(root, nsd, subject):
    expected, _, _ = expected_split(nsd, subject)
    assert min(len(ids) for ids in expected.values()) > 5
    for split, prefix in (("training", "train"), ("test", "test")):
        names = sorted(path.name for path in folder(root, subject, split, "images").iterdir())
        assert names == [f"{prefix}-{i + 1:04d}_nsd-{nsd_id:05d}.png" for i, nsd_id in enumerate(expected[split])]


def test_both_kinds_of_late_shared_pictures_occur(nsd):
    shared = set((nsd.expdesign()["sharedix"][0].astype(int) - 1).tolist())
    full, _, _ = expected_split(nsd, 1)
    assert shared & set(full["test"])  # a subject of all sessions keeps what it saw in the last three alone
    short, shown, border = expected_split(nsd, 2)
    late = (set(shown[border:]) - set(shown[:border])) & shared
    assert late
    assert not late & set(short["test"])


@pytest.mark.parametrize("subject", [1, 2])
def test_betas_are_z_scored_by_session_then_averaged_over_repeats(root, nsd, subject):
    expected, shown, border = expected_split(nsd, subject)
    source = nsd.root / f"nsddata_betas/ppdata/subj{subject:02d}/fsaverage/{B3}"
    for h in SIDES:
        z = []
        for session in range(1, SESSIONS[subject] + 1):
            psc = nib.load(source / f"{h}.betas_session{session:02d}.mgh").get_fdata()[:, 0, 0].T
            spread = psc.std(axis=0)
            z.append((psc - psc.mean(axis=0)) / np.where(spread > 0, spread, 1))
        z = np.concatenate(z)
        kept = np.flatnonzero(np.load(root / f"subj{subject:02d}/roi_masks/{h}.all-vertices_fsaverage_space.npy"))
        for split in ("training", "test"):
            found = np.load(folder(root, subject, split, "fmri") / f"{h}_{split}_fmri.npy", allow_pickle=False)
            assert found.dtype == np.float32
            assert found.shape == (len(expected[split]), len(kept))
            stop = border if split == "training" else len(shown)
            for row, picture in enumerate(expected[split]):
                trials = [t for t in range(stop) if shown[t] == picture]
                assert np.allclose(found[row], z[trials][:, kept].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("subject", [1, 2])
def test_vertices_are_nsdgeneral_and_rsc_ascending_without_those_that_have_no_value(root, nsd, subject):
    labels = nsd.root / "nsddata/freesurfer/fsaverage/label"
    values = nsd.root / f"nsddata_betas/ppdata/subj{subject:02d}/fsaverage/{B3}"
    lost = 0
    for h in SIDES:
        general, places = (
            np.asarray(nib.load(labels / f"{h}.{n}.mgz").dataobj)[:, 0, 0] for n in ("nsdgeneral", "floc-places")
        )
        missing = np.isnan(nib.load(values / f"{h}.betas_session01.mgh").get_fdata()[:, 0, 0]).any(axis=1)
        assert not ((places == 3) & (general > 0)).any()
        mask = np.load(root / f"subj{subject:02d}/roi_masks/{h}.all-vertices_fsaverage_space.npy")
        assert np.array_equal(mask, (((general > 0) | (places == 3)) & ~missing).astype(int))
        assert mask[(places == 3)].any()
        lost += int(missing.sum())
    assert lost == (0 if subject == 1 else 1)


@pytest.mark.parametrize("subject", [1, 2])
def test_regions_are_the_subjects_own_in_both_spaces(root, nsd, subject):
    for h in SIDES:
        masks = root / f"subj{subject:02d}/roi_masks"
        kept = np.flatnonzero(np.load(masks / f"{h}.all-vertices_fsaverage_space.npy"))
        voxel = np.load(nsd.root / f"simulated_truth/subj{subject:02d}/{h}.voxel_of_vertex.npy")
        ijk = np.load(nsd.root / f"simulated_truth/subj{subject:02d}/ijk.npy").astype(int)
        for name in NAMES:
            own = nsd.volume(subject, f"roi/{name}")[tuple(ijk[voxel].T)]
            whole = np.load(masks / f"{h}.{name}_fsaverage_space.npy")
            assert np.array_equal(whole[kept], own[kept])
            assert not np.delete(whole, kept).any()
            assert np.array_equal(np.load(masks / f"{h}.{name}_challenge_space.npy"), own[kept])
    mapping = np.load(masks / "mapping_floc-places.npy", allow_pickle=True).item()
    assert mapping == {0: "Unknown", 1: "OPA", 2: "PPA", 3: "RSC"}


def test_pictures_are_those_of_the_catalogue(root, nsd):
    import h5py

    with h5py.File(nsd.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        brick = file["imgBrick"][...]
    paths = list(root.rglob("*.png"))
    assert len(paths) > 200
    for path in paths:
        assert np.array_equal(np.asarray(Image.open(path)), brick[int(path.stem[-5:])])


def test_noise_ceilings_are_those_of_means_over_the_test_repeats(root, nsd):
    expected, shown, _ = expected_split(nsd, 1)
    inverse = np.mean([1 / shown.count(picture) for picture in expected["test"]])
    for h in SIDES:
        path = nsd.root / f"nsddata_betas/ppdata/subj01/fsaverage/{B3}/{h}.ncsnr.mgh"
        kept = np.flatnonzero(np.load(root / f"subj01/roi_masks/{h}.all-vertices_fsaverage_space.npy"))
        squared = nib.load(path).get_fdata()[:, 0, 0][kept] ** 2
        found = np.load(root / f"subj01/test_split/noise_ceiling/{h}_noise_ceiling.npy")
        assert np.allclose(found, squared / (squared + inverse), atol=1e-4)


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_same_seed_same_bytes(tmp_path):
    for name in "ab":
        simulate(tmp_path / name, **TINY, layout="algonauts")
    first, second = (contents(tmp_path / name) for name in "ab")
    assert len(first) > 150
    assert first == second


def test_dry_run_foretells_the_bytes(root, tmp_path, capsys):
    simulate(tmp_path / "c", **SIZES, layout="algonauts", dry_run=True)
    out = capsys.readouterr().out
    assert not (tmp_path / "c").exists()
    assert "subj02: 6 sessions, 360 trials, about 204 vertices" in out
    written = sum(map(len, contents(root).values()))
    assert float(out.split("together about ")[1].split(" MB")[0]) == pytest.approx(written / 1e6, abs=0.6)


def test_what_leaves_no_split_is_refused_in_one_line(tmp_path):
    with pytest.raises(
        UsageError, match="--layout algonauts keeps the last 3 sessions for the test, and 3 are run"
    ) as e:
        simulate(tmp_path / "a", **{**TINY, "missing_sessions": 3}, layout="algonauts")
    assert "\n" not in str(e.value)
    with pytest.raises(UsageError, match="--also fsaverage: goes with --layout nsd, not with algonauts"):
        simulate(tmp_path / "a", **TINY, layout="algonauts", also="fsaverage")
    with pytest.raises(UsageError, match="--nifti first: layout algonauts has no NIfTI files"):
        simulate(tmp_path / "a", **TINY, layout="algonauts", nifti="first")
    assert list(tmp_path.iterdir()) == []
