"""``doctor --files`` on the average surface: nothing to complain of in whole files, and planted faults are named."""

import shutil

import pytest

from fmri_lightning.doctor.files import check_files
from fmri_lightning.errors import BadInputError
from fmri_lightning.simulate.command import simulate
from tests.index.tiny_algonauts import write_tiny_algonauts

SIZES = {"subjects": "1", "shared": 24, "unique": 176, "sessions": 8, "nsdgeneral_voxels": 200, "size_px": 16}
FOLDER = "nsddata_betas/ppdata/subj01/fsaverage/betas_fithrf_GLMdenoise_RR"
OURS = ["fsaverage shapes", "fsaverage ncsnr", "hemispheres", "spaces"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("files") / "nsd"
    simulate(root, **SIZES, also="fsaverage")
    return root


@pytest.fixture
def own(tree, tmp_path):
    return shutil.copytree(tree, tmp_path / "nsd")


def found(root):
    return {check.name: (check.passed, check.said) for check in check_files(root, "subj01")}


def swap(a, b):
    kept = a.with_suffix(".kept")
    a.rename(kept)
    b.rename(a)
    kept.rename(b)


def test_whole_files_pass_every_check(tree):
    outcomes = found(tree)
    assert list(outcomes)[-4:] == OURS
    assert {passed for passed, _ in outcomes.values()} == {True}
    assert outcomes["fsaverage shapes"][1].startswith("2 x 200 vertices, 200 of nsdgeneral, 8 label files")


def failed(root):
    return {name: said for name, (passed, said) in found(root).items() if passed is False}


def test_hemispheres_swapped_in_one_session_stand_out(own):
    swap(*(own / FOLDER / f"{h}.betas_session03.mgh" for h in ("lh", "rh")))
    wrong = failed(own)
    assert list(wrong) == ["hemispheres"]
    assert "session 3 varies in other vertices" in wrong["hemispheres"]
    assert "lh.betas_session03.mgh and rh.betas_session03.mgh are swapped" in wrong["hemispheres"]


def test_hemispheres_swapped_in_every_session_do_not_go_with_the_map_of_ncsnr(own):
    for session in range(1, 9):
        swap(*(own / FOLDER / f"{h}.betas_session{session:02d}.mgh" for h in ("lh", "rh")))
    assert "the published ncsnr map does not go with the betas" in failed(own)["fsaverage ncsnr"]


def test_a_session_of_other_trials_does_not_go_with_the_volume(own):
    for h in ("lh", "rh"):
        swap(own / FOLDER / f"{h}.betas_session02.mgh", own / FOLDER / f"{h}.betas_session05.mgh")
    assert "does not hold the same trials in the volume and on fsaverage" in failed(own)["spaces"]


def test_without_volumes_their_checks_are_left_out(own):
    shutil.rmtree(own / "nsddata_betas/ppdata/subj01/func1pt8mm")
    outcomes = found(own)
    assert list(outcomes) == ["ids", "repeats", "counts", "split", "trials per session", *OURS]
    assert [name for name, (passed, _) in outcomes.items() if passed is None] == ["spaces"]
    assert not failed(own)


def test_the_challenges_files(tmp_path):
    tiny = write_tiny_algonauts(tmp_path / "challenge")
    outcomes = found(tiny.root)
    assert list(outcomes) == ["training pictures", "test pictures", "split", "masks", "values"]
    assert {passed for passed, _ in outcomes.values()} == {True}
    assert outcomes["masks"][1] == "130 vertices in lh, 141 in rh, of 260 each"
    swap(tiny.file("training", "lh"), tiny.file("training", "rh"))
    assert "the hemispheres are swapped" in failed(tiny.root)["masks"]
    sorted(tiny.images("training").iterdir())[7].unlink()
    wrong = failed(tiny.root)
    assert "picture 8 is missing" in wrong["training pictures"]
    shutil.rmtree(tiny.root / "subj01")
    with pytest.raises(BadInputError, match="holds none of nsddata"):
        found(tiny.root)
