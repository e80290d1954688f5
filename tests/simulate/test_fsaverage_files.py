"""Files on the average surface, read back by nibabel, and their agreement with the volumes of the same tree."""

import nibabel as nib
import numpy as np
import pytest

from fmri_lightning.errors import UsageError
from fmri_lightning.simulate.command import simulate
from tests.simulate.conftest import SMALL, Tree

B3 = "betas_fithrf_GLMdenoise_RR"
SIDES = ("lh", "rh")
TINY = {"shared": 6, "unique": 18, "sessions": 3, "nsdgeneral_voxels": 60, "size_px": 16, "also": "fsaverage"}


@pytest.fixture(scope="module")
def surface(tmp_path_factory):
    root = tmp_path_factory.mktemp("surface") / "nsd"
    simulate(root, **SMALL, also="fsaverage")
    return Tree(root)


def labels(tree, name):
    folder = tree.root / "nsddata/freesurfer/fsaverage/label"
    return {h: np.asarray(nib.load(folder / f"{h}.{name}.mgz").dataobj).squeeze() for h in SIDES}


def psc(tree, subject, session):
    folder = tree.root / f"nsddata_betas/ppdata/subj{subject:02d}/fsaverage/{B3}"
    return {h: np.asarray(nib.load(folder / f"{h}.betas_session{session:02d}.mgh").dataobj) for h in SIDES}


def truth(tree, subject, name):
    return np.load(tree.root / f"simulated_truth/subj{subject:02d}/{name}.npy")


def ijk_of(tree, subject, hemisphere):
    voxel = truth(tree, subject, f"{hemisphere}.voxel_of_vertex")
    return voxel, truth(tree, subject, "ijk").astype(int)[voxel]


def test_the_files_are_float32_big_endian_with_vertices_fastest(surface):
    for h, values in psc(surface, 1, 2).items():
        assert values.shape == (200, 1, 1, 60)
        path = surface.root / f"nsddata_betas/ppdata/subj01/fsaverage/{B3}/{h}.betas_session02.mgh"
        data = path.read_bytes()
        assert len(data) == 284 + 4 * 200 * 60
        assert np.array_equal(np.frombuffer(data[284:], ">f4").reshape(60, 200).T, values[:, 0, 0])
        header = nib.load(path).header
        assert (header["version"], header["type"]) == (1, 3)


def test_the_planted_mapping_joins_each_vertex_to_a_voxel_of_its_hemisphere_and_labels(surface):
    general, visual = labels(surface, "nsdgeneral"), labels(surface, "prf-visualrois")
    assert sum((general[h] > 0).sum() for h in SIDES) == 200
    assert set(np.unique(np.concatenate(list(visual.values())))) == set(range(8))
    for subject in (1, 2):
        for h in SIDES:
            voxel, ijk = ijk_of(surface, subject, h)
            cortex = voxel >= 0
            assert 0 < (~cortex).sum() < 100
            side = surface.volume(subject, f"roi/{h}.nsdgeneral")[tuple(ijk.T)]
            assert (side[cortex] >= 0).all()
            assert (side[cortex] == general[h][cortex]).all()
            mine = surface.volume(subject, "roi/prf-visualrois")[tuple(ijk.T)]
            assert np.mean(mine[cortex] == visual[h][cortex]) > 0.9
            assert not general[h][~cortex].any()


@pytest.mark.parametrize(("subject", "sessions"), [(1, 6), (2, 4)])
def test_a_vertex_has_its_voxels_betas_and_is_not_times_300(surface, subject, sessions):
    rounding = 0.5 / 300 + np.spacing(np.float32(110))
    largest = 0.0
    for session in range(1, sessions + 1):
        volume = surface.betas(subject, session)
        for h, values in psc(surface, subject, session).items():
            voxel, (i, j, k) = ijk_of(surface, subject, h)[0], ijk_of(surface, subject, h)[1].T
            found, stored = values[:, 0, 0].T, volume[:, k, j, i]
            assert not found[:, voxel < 0].any()
            same = (voxel >= 0) & ~np.isnan(found).any(axis=0)
            error = np.abs(found - stored / 300.0)[:, same]
            clipped = np.abs(stored.astype(int))[:, same] >= 32767
            assert error[~clipped].max() <= rounding
            largest = max(largest, error[~clipped].max())
            assert clipped.mean() < 0.01
    assert largest > 0.4 / 300  # what int16 rounds away is there


def test_one_vertex_of_the_last_subject_has_no_value(surface):
    general = labels(surface, "nsdgeneral")
    for subject, expected in ((1, 0), (2, 1)):
        for session in (1, 3):
            values = psc(surface, subject, session)
            missing = np.isnan(values["rh"][:, 0, 0])
            assert not np.isnan(values["lh"]).any()
            assert missing.all(axis=1).sum() == missing.any(axis=1).sum() == expected
            assert (general["rh"][missing.any(axis=1)] > 0).all()
        ncsnr = surface.root / f"nsddata_betas/ppdata/subj{subject:02d}/fsaverage/{B3}/rh.ncsnr.mgh"
        assert np.isnan(nib.load(ncsnr).get_fdata()).sum() == expected


def test_ncsnr_is_that_of_the_vertices_voxels(surface):
    folder = surface.root / f"nsddata_betas/ppdata/subj01/fsaverage/{B3}"
    volume = nib.load(surface.root / f"nsddata_betas/ppdata/subj01/func1pt8mm/{B3}/ncsnr.nii.gz").get_fdata()
    for h in SIDES:
        voxel, ijk = ijk_of(surface, 1, h)
        found = nib.load(folder / f"{h}.ncsnr.mgh").get_fdata()[:, 0, 0]
        assert np.allclose(found[voxel >= 0], volume[tuple(ijk.T)][voxel >= 0], atol=0.02)
        assert not found[voxel < 0].any()


def test_names_of_labels_are_beside_them(surface):
    lines = (surface.root / "nsddata/freesurfer/fsaverage/label/floc-places.mgz.ctab").read_text().splitlines()
    assert [line.split()[:2] for line in lines] == [["0", "Unknown"], ["1", "OPA"], ["2", "PPA"], ["3", "RSC"]]


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_same_seed_same_bytes_and_nsds_own_files_stay_as_they_are(tmp_path):
    for name, also in (("a", "fsaverage"), ("b", "fsaverage"), ("c", "")):
        simulate(tmp_path / name, **{**TINY, "also": also})
    first, second, without = (contents(tmp_path / name) for name in "abc")
    assert first == second
    added = {name for name in set(first) - set(without) if "fsaverage" not in name}
    assert added == {f"simulated_truth/subj0{s}/{h}.voxel_of_vertex.npy" for s in (1, 2) for h in SIDES}
    assert [name for name in without if without[name] != first[name]] == ["SIMULATED.json"]


def test_dry_run_foretells_the_bytes(surface, tmp_path, capsys):
    simulate(tmp_path / "a", **SMALL, also="fsaverage", dry_run=True)
    out = capsys.readouterr().out
    assert out.count("fsaverage: 2x200 vertices:") == 2
    written = sum(path.stat().st_size for path in surface.root.rglob("*") if path.is_file())
    assert float(out.split("together about ")[1].split(" MB")[0]) == pytest.approx(written / 1e6, abs=0.8)


def test_the_bill_of_a_larger_tree_says_what_its_betas_take(surface, tmp_path, capsys):
    """Bytes for each vertex and trial as written in the small tree, times those of a large one."""
    folder = surface.root / f"nsddata_betas/ppdata/subj01/fsaverage/{B3}"
    per_value = sum(path.stat().st_size for path in folder.glob("*betas*")) / (2 * 200 * 360)
    simulate(tmp_path / "a", **{**SMALL, "nsdgeneral_voxels": 20_000}, also="fsaverage", dry_run=True)
    said = capsys.readouterr().out.split("fsaverage: 2x20000 vertices: ")[1].split(" MB")[0]
    assert float(said) == pytest.approx(per_value * 2 * 20_000 * 360 / 1e6, rel=0.02)


def test_it_goes_beside_nsds_files_only(tmp_path):
    with pytest.raises(UsageError, match="--also fsaverage: goes with --layout nsd, not with mindeye2"):
        simulate(tmp_path / "a", **TINY, layout="mindeye2")
    assert list(tmp_path.iterdir()) == []
