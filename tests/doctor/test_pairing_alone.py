"""With every check of the tables switched off, ``doctor --pairing`` alone still catches a wrong pairing."""

import csv
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from fmri_lightning.betas.command import betas
from fmri_lightning.doctor.command import doctor
from fmri_lightning.embeddings.command import clip_cache
from fmri_lightning.errors import BadInputError
from fmri_lightning.index import mindeye_checks, nsd_checks
from fmri_lightning.index.command import index
from fmri_lightning.index.stimuli import open_stimuli
from fmri_lightning.simulate.command import simulate

SIZE = {"subjects": "1", "shared": 60, "unique": 300, "sessions": 4, "missing_sessions": 1, "nsdgeneral_voxels": 500}
RESPONSES = "nsddata/ppdata/subj01/behav/responses.tsv"
B3 = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"


@pytest.fixture(scope="module")
def brain(miniature, tmp_path_factory):
    """The miniature in both layouts, and the embeddings of its pictures."""
    root = tmp_path_factory.mktemp("pairing")
    (root / "nsd").symlink_to(miniature.root)
    simulate(root / "mindeye2", layout="mindeye2", **SIZE)
    clip_cache(root=miniature.root, space="mini-source", out=root / "clip.parquet")
    return root


@pytest.fixture(autouse=True)
def no_table_checks(monkeypatch):
    monkeypatch.setattr(nsd_checks, "NSD_TABLE_CHECKS", {})
    monkeypatch.setattr("fmri_lightning.index.nsd_trials.NSD_TABLE_CHECKS", {})
    monkeypatch.setattr(mindeye_checks, "MINDEYE_TABLE_CHECKS", {})
    monkeypatch.setattr("fmri_lightning.index.mindeye_trials.MINDEYE_TABLE_CHECKS", {})


def pairing(root, source, cache, work):
    """Index, betas and the check, as a user would run them."""
    index(root, source=source, out=work / "index")
    betas(root, index=work / "index", out=work / "betas", preproc_out=work / "preproc", mask="roi")
    settings = {"subject": "subj01", "index_root": work / "index", "betas": work / "betas", "preproc": work / "preproc"}
    plain = {name: str(value) for name, value in {**settings, "clip_cache": cache}.items()}
    (work / "run").mkdir()
    (work / "run" / "predict.yaml").write_text(yaml.safe_dump({"data": {"init_args": plain}}))
    doctor(pairing=work / "run")


def edit_ids(path, change):
    with open(path, newline="") as handle:
        header, *rows = list(csv.reader(handle, delimiter="\t"))
    place = header.index("73KID")
    ids = change(np.array([int(row[place]) for row in rows]))
    for row, new in zip(rows, ids.tolist(), strict=True):
        row[place] = str(new)
    with open(path, "w", newline="") as handle:
        csv.writer(handle, delimiter="\t", lineterminator="\n").writerows([header, *rows])


def nsd_ids_up(root):
    edit_ids(root / RESPONSES, lambda ids: np.minimum(ids + 1, ids.max()))


def nsd_ids_down(root):
    edit_ids(root / RESPONSES, lambda ids: np.maximum(ids - 1, ids.min()))


def nsd_trials_on(root):
    edit_ids(root / RESPONSES, lambda ids: np.roll(ids, 1))


def nsd_betas_back(root):
    for path in sorted((root / B3).glob("*.hdf5")):
        with h5py.File(path, "r+") as handle:
            handle["betas"][:] = np.roll(handle["betas"][:], -1, axis=0)


def mindeye_ids_up(root):
    with h5py.File(root / "COCO_73k_subj_indices.hdf5", "r+") as handle:
        handle["subj01"][:] = np.minimum(handle["subj01"][:] + 1, handle["subj01"][:].max())


def mindeye_trials_on(root):
    with h5py.File(root / "COCO_73k_subj_indices.hdf5", "r+") as handle:
        handle["subj01"][:] = np.roll(handle["subj01"][:], 1)


def mindeye_betas_back(root):
    with h5py.File(root / "betas_all_subj01_fp32_renorm.hdf5", "r+") as handle:
        handle["betas"][:] = np.roll(handle["betas"][:], -1, axis=0)


def test_both_layouts_hold_the_same_pictures(brain):
    nsd, mindeye = (open_stimuli(root=brain / layout) for layout in ("nsd", "mindeye2"))
    assert np.array_equal(nsd.read(nsd.ids), mindeye.read(mindeye.ids))


@pytest.mark.parametrize(("source", "layout"), [("nsd", "nsd"), ("mindeye2", "mindeye2")])
def test_honest_files_pass(brain, tmp_path, source, layout, capsys):
    pairing(brain / layout, source, brain / "clip.parquet", tmp_path)
    assert "ids +0: top-1 of 10" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "plant"),
    [
        ("nsd", nsd_ids_up),
        ("nsd", nsd_ids_down),
        ("nsd", nsd_trials_on),
        ("nsd", nsd_betas_back),
        ("mindeye2", mindeye_ids_up),
        ("mindeye2", mindeye_trials_on),
        ("mindeye2", mindeye_betas_back),
    ],
)
def test_a_planted_fault_is_caught(brain, tmp_path, source, plant):
    root = Path(shutil.copytree(brain / source, tmp_path / "data"))
    plant(root)
    with pytest.raises(BadInputError, match=r"paired wrongly|not found from betas above chance"):
        pairing(root, source, brain / "clip.parquet", tmp_path)
