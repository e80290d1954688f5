import os

import numpy as np
import pytest

from fmri_lightning.betas import algonauts_betas
from fmri_lightning.betas.command import betas
from fmri_lightning.betas.leaks import check_t0
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.command import index
from fmri_lightning.index.table import read_index
from tests.index.tiny_algonauts import REGIONS, N, write_tiny_algonauts


@pytest.fixture
def tree(tmp_path):
    return write_tiny_algonauts(tmp_path / "challenge")


def store(tree, roi="all-vertices", **flags):
    out = tree.root.parent
    index(tree.root, source="algonauts", out=out / "index")
    places = {"index": out / "index", "out": out / "betas", "preproc_out": out / "preproc"}
    betas(tree.root, roi=roi, **{"mask": "roi", **flags}, **places)
    return BetaStore.open(out / "betas" / "subj01", verify=True)


def whole(tree):
    return np.concatenate([np.concatenate([tree.fmri[s]["lh"], tree.fmri[s]["rh"]], axis=1) for s in tree.fmri])


def test_the_numbers_are_those_of_the_files_and_t0_is_skipped(tree):
    made = store(tree)
    assert np.array_equal(made.betas, whole(tree))
    facts = made.manifest.config
    assert facts["t0"].startswith("skipped")
    assert facts["unit"] == "standard deviations of the session, mean over repeats"
    assert facts["arrived_as"].startswith("z-score per vertex and session over all its trials")
    assert (facts["space"], facts["n_vertices"], facts["source"]) == ("fsaverage", [N, N], "algonauts")
    assert check_t0(made, read_index(tree.root.parent / "index", "subj01"))[0].startswith("T0: skipped")
    assert len([name for name in made.manifest.inputs if name.endswith(".npy")]) == 4


def test_a_column_is_a_vertex_of_the_average_surface(tree):
    made = store(tree)
    expected = [(h, v) for h in ("lh", "rh") for v in np.flatnonzero(tree.masks[h]).tolist()]
    assert list(zip(made.hemisphere.tolist(), made.vertex.tolist(), strict=True)) == expected
    assert set(made.roi_labels) == {"all-vertices", *REGIONS}
    for name in REGIONS:
        assert made.roi_labels[name].tolist() == [tree.labels[name][h][v] for h, v in expected]


@pytest.mark.parametrize(("roi", "labels"), [("floc-bodies", (1, 2, 3, 4)), ("FBA-1", (2,))])
def test_a_region_keeps_its_columns(tree, roi, labels):
    made = store(tree, roi)
    chosen = np.concatenate([np.isin(tree.labels["floc-bodies"][h][tree.masks[h]], labels) for h in ("lh", "rh")])
    assert np.array_equal(made.betas, whole(tree)[:, chosen])


def refused(tree, match, **flags):
    with pytest.raises(BadInputError, match=match) as caught:
        store(tree, **flags)
    assert "\n" not in str(caught.value)
    assert not list(tree.root.parent.rglob("betas/*/manifest.json"))


def test_no_repeats_are_left_to_judge_a_vertex(tree):
    refused(tree, "every picture has one row here.*keep all voxels with --mask roi", mask="reliability")
    refused(tree, "no region 'nsdgeneral' in roi_masks of subj01; --roi takes all-vertices", roi="nsdgeneral")
    refused(tree, "no region 'PPA' in roi_masks of subj01", roi="PPA")


def swap(a, b):
    a.rename(a.with_suffix(".kept"))
    b.rename(a)
    a.with_suffix(".kept").rename(b)


def test_swapped_hemispheres_are_caught_by_the_mask(tree):
    swap(tree.file("training", "lh"), tree.file("training", "rh"))
    refused(
        tree, r"lh_training_fmri\.npy has 141 vertices, .* keeps 130; rh keeps as many: the hemispheres are swapped"
    )
    swap(tree.file("training", "lh"), tree.file("training", "rh"))
    swap(tree.mask("lh.all-vertices_fsaverage_space"), tree.mask("rh.all-vertices_fsaverage_space"))
    refused(tree, r"keeps 141; rh keeps as many: the hemispheres are swapped")


def test_swapped_regions_are_caught_by_the_mask(tree):
    swap(tree.mask("lh.floc-bodies_challenge_space"), tree.mask("rh.floc-bodies_challenge_space"))
    refused(tree, r"lh\.floc-bodies_challenge_space\.npy has 141 vertices, .* keeps 130; it is of the other hemisphere")


def test_betas_of_another_subject_are_caught_by_the_mask(tree):
    for split in ("training", "test"):
        np.save(tree.file(split, "lh"), tree.fmri[split]["lh"][:, :-1])
    refused(tree, r"lh_training_fmri\.npy has 129 vertices, .* keeps 130; another subject\?")


def test_a_mask_of_the_right_size_at_the_wrong_vertices_is_caught(tree):
    np.save(tree.mask("rh.all-vertices_fsaverage_space"), np.roll(tree.masks["rh"], 1).astype(int))
    refused(tree, r"rh\.prf-visualrois_fsaverage_space\.npy and .* differ at the vertices that rh\.all-vertices keeps")


def test_labels_of_another_region_are_caught(tree):
    for space in ("fsaverage", "challenge"):
        for h in ("lh", "rh"):
            name = f"{h}.floc-bodies_{space}_space"
            np.save(tree.mask(name), np.load(tree.mask(name.replace("floc-bodies", "prf-visualrois"))))
    refused(tree, r"holds the label [567], floc-bodies has 4 \(EBA, FBA-1")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (np.full(N, 0.5), "is float64 .*, expected whole numbers"),
        (np.ones((N, 1), dtype=int), r"is int64 \(260, 1\), expected whole numbers"),
        (np.array([None] * N), "cannot be read as an array of numbers"),
    ],
)
def test_masks_of_another_form_are_refused(tree, values, match):
    np.save(tree.mask("lh.all-vertices_fsaverage_space"), values, allow_pickle=True)
    refused(tree, match)
    tree.mask("lh.all-vertices_fsaverage_space").unlink()
    refused(tree, r"lh\.all-vertices_fsaverage_space\.npy is missing; it comes with the Algonauts")


def test_a_region_of_one_hemisphere_only_is_refused_and_one_of_none_is_left_out(tree):
    tree.mask("lh.floc-words_challenge_space").unlink()
    refused(tree, r"lh\.floc-words_challenge_space\.npy is missing")
    tree.mask("rh.floc-words_challenge_space").unlink()
    assert "floc-words" not in store(tree).roi_labels


@pytest.mark.parametrize("factor", [300, 3, 0.3])
def test_betas_that_are_no_z_scores_are_refused(tree, factor):
    np.save(tree.file("training", "rh"), tree.fmri["training"]["rh"] * np.float32(factor))
    refused(tree, r"rh_training_fmri\.npy: a vertex deviates by .* these betas are not the challenge's")


@pytest.mark.parametrize(("n", "taken"), [(2, True), (3, False)])
def test_vertices_without_a_value_are_dropped_up_to_one_in_a_hundred(tree, n, taken):
    values = tree.fmri["training"]["rh"].copy()
    values[4, :n] = np.nan
    np.save(tree.file("training", "rh"), values)
    if taken:
        assert np.flatnonzero(store(tree).dropped).tolist() == [130, 131]
    else:
        refused(tree, "3 of 271 voxels of the mask are constant or NaN")


def test_on_the_true_surface_the_published_numbers_bind(tree, monkeypatch):
    monkeypatch.setattr(algonauts_betas, "FSAVERAGE_VERTICES", N)
    refused(tree, r"the masks keep \(130, 141\) vertices in lh and rh, the challenge's subj01 has \(19004, 20544\)")
    monkeypatch.setitem(algonauts_betas.PUBLISHED_VERTICES, "subj01", (130, 141))
    assert store(tree).betas.shape == (72, 271)


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def plant(path, folder):
    bomb = np.empty((), dtype=object)
    bomb[()] = Bomb(folder)
    np.save(path, bomb, allow_pickle=True)


def test_pickled_names_are_never_opened(tree):
    folder = tree.root / "exploded"
    for path in tree.mask("x").parent.glob("mapping_*.npy"):
        plant(path, folder)
    store(tree)
    assert not folder.exists()
    np.load(path, allow_pickle=True)
    assert folder.is_dir()


def test_pickled_masks_are_refused_unopened(tree):
    plant(tree.mask("rh.floc-bodies_challenge_space"), tree.root / "exploded")
    refused(tree, r"rh\.floc-bodies_challenge_space\.npy cannot be read as an array of numbers")
    assert not (tree.root / "exploded").exists()
