import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fmri_lightning.betas.command import betas
from fmri_lightning.betas.nsd_surfaces import open_nsd_surfaces
from fmri_lightning.betas.store import BetaStore, store_hash
from fmri_lightning.errors import BadInputError
from fmri_lightning.index.command import index
from fmri_lightning.index.table import read_index
from tests.index.tiny_fsaverage import N, save, write_session, write_tiny_fsaverage
from tests.index.tiny_nsd import write_tiny_nsd


@pytest.fixture
def surface(tmp_path):
    """A tree of two subjects, of which the second lacks a vertex, with its index."""
    made = write_tiny_fsaverage(write_tiny_nsd(tmp_path / "nsd", nifti=False))
    for subject in ("subj01", "subj02"):
        index(made.tree.root, subject=subject, out=tmp_path / "index")
    return made


def store(surface, subject="subj01", name="out", **flags):
    out = surface.tree.root.parent
    places = {"index": out / "index", "out": out / name / "betas", "preproc_out": out / name / "preproc"}
    betas(surface.tree.root, subject=subject, space="fsaverage", mask="roi", **places, **flags)
    return BetaStore.open(out / name / "betas" / subject, verify=True)


def raw(made, session_of_trial):
    return made.betas * made.t0["std"][session_of_trial] + made.t0["mean"][session_of_trial]


def test_a_column_is_a_vertex_left_hemisphere_first_and_nothing_is_divided(surface):
    made = store(surface)
    kept = surface.kept()
    assert list(zip(made.hemisphere.tolist(), made.vertex.tolist(), strict=True)) == kept
    expected = np.stack([surface.betas["subj01"][h][:, v] for h, v in kept], axis=1)
    assert np.allclose(raw(made, np.repeat([0, 1], 24)), expected, atol=1e-5)
    assert (made.ijk == -1).all()
    assert made.ncsnr_published.tolist() == [surface.ncsnr[h][v] for h, v in kept]
    for name in surface.labels:
        assert made.roi_labels[name].tolist() == [surface.labels[name][h][v] for h, v in kept]
    facts = made.manifest.config
    assert (facts["space"], facts["unit"], facts["n_vertices"]) == ("fsaverage", "percent signal change", [N, N])
    assert {name.rsplit("/", 1)[1] for name in made.manifest.inputs if "fsaverage" in name} == {
        f"{h}.betas_session0{s}.mgh" for h in ("lh", "rh") for s in (1, 2)
    }


def test_volumes_have_no_vertices(surface):
    out = surface.tree.root.parent
    betas(surface.tree.root, index=out / "index", out=out / "v", preproc_out=out / "p", mask="roi")
    made = BetaStore.open(out / "v" / "subj01", verify=True)
    assert made.vertex is None
    assert made.hemisphere is None
    assert "vertex" not in made.voxels.column_names


@pytest.mark.parametrize(("roi", "label"), [("prf-visualrois", None), ("V2v", 3), ("hV4", 7)])
def test_a_region_is_a_label_file_or_one_of_its_labels(surface, roi, label):
    made = store(surface, roi=roi)
    maps = surface.labels["prf-visualrois"]
    expected = [(h, v) for h in ("lh", "rh") for v, k in enumerate(maps[h]) if (k > 0 if label is None else k == label)]
    assert list(zip(made.hemisphere.tolist(), made.vertex.tolist(), strict=True)) == expected


def test_a_vertex_without_a_value_is_dropped_and_flagged(surface):
    made = store(surface, "subj02")
    missing = ("rh", int(np.flatnonzero(surface.labels["nsdgeneral"]["rh"])[0]))
    assert np.flatnonzero(made.dropped).tolist() == [surface.kept().index(missing)]
    assert np.isfinite(made.betas).all()


def test_more_vertices_without_a_value_than_one_in_a_hundred_are_refused(tmp_path):
    made = write_tiny_fsaverage(write_tiny_nsd(tmp_path / "nsd", nifti=False), nan_vertices=4)
    index(made.tree.root, subject="subj02", out=tmp_path / "index")
    refused(made, r"rh|lh.*4 of \d+ voxels of the mask are constant or NaN", "subj02")


def refused(surface, match, subject="subj01", **flags):
    with pytest.raises(BadInputError, match=match) as caught:
        store(surface, subject, **flags)
    assert "\n" not in str(caught.value)
    assert not (surface.tree.root.parent / "out").exists()


def rescale(surface, factor):
    for h in ("lh", "rh"):
        surface.betas["subj01"][h] *= np.float32(factor)
        for session in (1, 2):
            write_session(surface, "subj01", session, h)


@pytest.mark.parametrize(("factor", "match"), [(300, "multiplied by 300"), (1 / 300, "divided by 300")])
def test_betas_of_the_volumes_scale_are_refused(surface, factor, match):
    rescale(surface, factor)
    refused(surface, rf"lh\.betas_session01\.mgh: the betas of a vertex deviate by .*{match}")


@pytest.mark.parametrize("factor", [0.3, 4])
def test_a_weaker_or_stronger_brain_is_not(surface, factor):
    rescale(surface, factor)
    assert store(surface).betas.shape[0] == 48


def test_another_surface_another_session_and_missing_files_are_named(surface):
    path = surface.path("subj01", 2, "rh")
    whole = path.read_bytes()
    save(path, np.zeros((N - 1, 24), dtype=np.float32))
    refused(surface, r"rh\.betas_session02\.mgh has 149 vertices, the labels 150; they are not of one surface")
    save(path, np.zeros((N, 23), dtype=np.float32))
    refused(surface, r"lh\.betas_session02\.mgh has 24 trials, the right hemisphere 23; they are not of one session")
    save(surface.path("subj01", 2, "lh"), np.zeros((N, 23), dtype=np.float32))
    refused(surface, r"lh\.betas_session02\.mgh has 23 trials, the index lists 24; download it again")
    path.write_bytes(whole)
    write_session(surface, "subj01", 2, "lh")
    path.unlink()
    refused(surface, r"rh\.betas_session02\.mgh is missing; it comes with NSD's betas on fsaverage")
    refused(surface, r"no betas in .*; versions present: betas_fithrf_GLMdenoise_RR", betas_version="b1")


def test_wrong_labels_are_named(surface):
    refused(
        surface, r"no region 'flocfacestval' in .*; --roi takes floc-words, nsdgeneral, prf-visu", roi="flocfacestval"
    )
    refused(surface, r"region 'floc-words' of .* is empty", roi="floc-words")
    refused(surface, r"region 'VWFA-1' of .* is empty", roi="VWFA-1")
    folder = surface.tree.root / "nsddata/freesurfer/fsaverage/label"
    save(folder / "lh.prf-visualrois.mgz", np.full(N, 8, dtype=np.int32))
    refused(surface, r"lh\.prf-visualrois\.mgz holds the label 8, prf-visualrois has 7 \(V1v, .*another region's file")
    save(folder / "lh.prf-visualrois.mgz", np.zeros(N + 1, dtype=np.int32))
    refused(surface, r"the label files in .* have \[150, 151\] vertices")
    for path in folder.iterdir():
        path.unlink()
    refused(surface, r"no label files \(lh\.NAME\.mgz and rh\.NAME\.mgz\) in")


def test_a_map_of_ncsnr_of_another_surface_is_refused_and_a_missing_one_is_said(surface):
    path = surface.path("subj01", 1, "rh").parent / "rh.ncsnr.mgh"
    save(path, np.zeros(N - 1, dtype=np.float32))
    refused(surface, r"rh\.ncsnr\.mgh has 149 vertices, the labels 150")
    path.unlink()
    assert np.isnan(store(surface).ncsnr_published).all()


def test_files_that_claim_to_be_nsds_have_the_size_of_fsaverage(surface):
    root = surface.tree.root
    table = read_index(root.parent / "index", "subj01")
    for roi in ("nsdgeneral", "V1v"):
        with pytest.raises(BadInputError, match=r"a hemisphere has 150 vertices and nsdgeneral \d+, NSD's have 163842"):
            open_nsd_surfaces(table, root, "subj01", "b3", roi, 73_000)


def test_the_bill_counts_the_pages_of_the_mask(surface, tmp_path):
    """Of 5000 vertices, 20,000 bytes a trial, the mask holds two pages of the left and one of the right hemisphere."""
    root = surface.tree.root
    for path in (root / "nsddata/freesurfer/fsaverage/label").iterdir():
        path.unlink()
    table = read_index(root.parent / "index", "subj01")
    for h, kept in (("lh", [0, 1000, 4999]), ("rh", [1024])):
        labels = np.zeros(5000, dtype=np.int32)
        labels[kept] = 1
        save(root / f"nsddata/freesurfer/fsaverage/label/{h}.nsdgeneral.mgz", labels)
        for session in (1, 2):
            save(surface.path("subj01", session, h), np.ones((5000, 24), dtype=np.float32))
        save(surface.path("subj01", 1, h).parent / f"{h}.ncsnr.mgh", np.ones(5000, dtype=np.float32))
    source = open_nsd_surfaces(table, root, "subj01", "b3", "nsdgeneral", 200)
    assert source.bytes_of(1) == (2 + 1) * 4096 * 24
    part = source.take(np.array([3, 0]))
    assert (part.voxel_columns["hemisphere"].tolist(), part.voxel_columns["vertex"].tolist()) == (
        ["rh", "lh"],
        [1024, 0],
    )
    assert part.read(1, np.array([5, 2])).shape == (2, 2)


def test_the_same_numbers_at_other_vertices_are_another_store(surface):
    made = store(surface)
    assert store_hash(made.betas, made.ijk, made.vertex) == made.manifest.content_hash
    moved = made.vertex.copy()
    moved[3] += 1
    assert store_hash(made.betas, made.ijk, moved) != made.manifest.content_hash
    path = made.folder / "voxels.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index("vertex"), "vertex", pa.array(moved)), path)
    BetaStore.open(made.folder)
    with pytest.raises(BadInputError, match="is not the array its manifest describes"):
        BetaStore.open(made.folder, verify=True)


def test_nibabel_agrees_on_every_session(surface):
    table = read_index(surface.tree.root.parent / "index", "subj01")
    source = open_nsd_surfaces(table, surface.tree.root, "subj01", "b3", "nsdgeneral", 200)
    for session in (1, 2):
        both = {h: nibabel.load(surface.path("subj01", session, h)).get_fdata()[:, 0, 0].T for h in ("lh", "rh")}
        expected = np.stack([both[h][:, v] for h, v in surface.kept()], axis=1).astype(np.float32)
        assert np.array_equal(source.read(session, np.arange(24)), expected)
        assert np.array_equal(source.read(session, np.array([7, 3])), expected[[7, 3]])
