"""Any small experiment, read through HDF5, NIfTI and MindEye2's files, gives the trials and betas that went in."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fmri_lightning.betas.command import betas
from fmri_lightning.betas.reliability import estimate_ncsnr, noise_ceiling
from fmri_lightning.betas.rows import stimulus_rows
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.index.command import index
from fmri_lightning.index.table import read_index
from fmri_lightning.records import TRIAL_DTYPES
from tests.index.tiny_mindeye import write_tiny_mindeye
from tests.index.tiny_nsd import _hashed_tenth, write_tiny_nsd

TRIALS = 12
SOURCE_SPECIFIC = {"coco_id", "coco_split", "beta_path", "beta_index"}
MANY = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(MANY, max_examples=25)


@st.composite
def experiments(draw):
    """A box, a mask of any shape in it, and how many of two or three planned sessions were run."""
    box = tuple(draw(st.integers(1, side)) for side in (6, 7, 8))
    mask = np.array(draw(st.lists(st.booleans(), min_size=int(np.prod(box)), max_size=int(np.prod(box))))).reshape(box)
    planned = draw(st.integers(2, 3))
    run = tuple(draw(st.integers(1, planned)) for _ in range(2))
    return {
        "box": box,
        "nsdgeneral": np.where(mask, 1, draw(st.sampled_from([-1, 0]))),
        "sessions_planned": planned,
        "sessions_run": run,
        "seed": draw(st.integers(0, 2**20)),
    }


def read(root, source, work, subject):
    index(root, source=source, subject=subject, out=work / "index")
    betas(
        root,
        index=work / "index",
        subject=subject,
        out=work / "betas",
        preproc_out=work / "preproc",
        mask="roi",
        tier="T0",
    )
    return read_index(work / "index", subject), BetaStore.open(work / "betas" / subject, verify=True)


def check_every_layout(experiment):
    assume((experiment["nsdgeneral"] > 0).any())
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        same = {"trials_per_session": TRIALS, "n_shared": 2, "catalogue": 60, "edge_voxels": False, **experiment}
        tiny = write_tiny_nsd(place / "hdf5", nifti=False, **same)
        for ids in tiny.nsd_ids.values():
            is_val = np.array([_hashed_tenth(i) for i in ids])
            is_test = np.isin(ids, tiny.shared)
            is_train = ~is_val & ~is_test
            # Every split has a picture, and every session enough training trials for a deviation.
            assume(is_test.any() and (is_val & ~is_test).any() and is_train.reshape(-1, TRIALS).sum(axis=1).min() > 2)
        write_tiny_nsd(place / "nifti", hdf5=False, **same)
        write_tiny_mindeye(place / "mindeye2", tiny)
        for subject, ids in tiny.nsd_ids.items():
            found = {
                name: read(place / name, source, place / f"work-{name}", subject)
                for name, source in (("hdf5", "nsd"), ("nifti", "nsd"), ("mindeye2", "mindeye2"))
            }
            check_one(tiny, subject, ids, found)


def check_one(tiny, subject, ids, found):
    table, store = found["hdf5"]
    assert table.nsd_id.tolist() == ids.tolist()
    assert table.n_repeats.tolist() == [int((ids == i).sum()) for i in ids]
    assert table.repeat.tolist() == [int((ids[:t] == i).sum()) for t, i in enumerate(ids)]
    assert {(i, s) for i, s in zip(ids.tolist(), table.split.tolist(), strict=True)} == {
        (i, "test" if i in tiny.shared else "val" if _hashed_tenth(i) else "train") for i in ids.tolist()
    }
    raw = tiny.volumes[subject][:, tiny.nsdgeneral > 0].astype(float) / 300
    session = np.arange(len(ids)) // TRIALS
    again = store.betas * store.t0["std"][session] + store.t0["mean"][session]
    assert np.allclose(again, raw, atol=1e-4)
    for s in np.unique(session):
        train = store.betas[(session == s) & (table.split == "train")].astype(float)
        assert np.allclose(train.mean(axis=0), 0, atol=1e-5)
        assert np.allclose(train.std(axis=0), 1, atol=1e-5)
    assert np.array_equal(found["nifti"][1].betas, store.betas)
    assert np.array_equal(found["nifti"][1].ijk, store.ijk)
    # Three training trials can lie so close together that another one is 100 deviations away: float32 is relative.
    assert np.allclose(found["mindeye2"][1].betas, store.betas, rtol=1e-5, atol=1e-4)
    for other, _ in found.values():
        for name in set(TRIAL_DTYPES) - SOURCE_SPECIFIC:
            assert np.array_equal(getattr(other, name), getattr(table, name)), name


@FEW
@given(experiments())
def test_every_layout_gives_what_went_in(experiment):
    check_every_layout(experiment)


@pytest.mark.slow
@MANY
@given(experiments())
def test_every_layout_gives_what_went_in_many_times(experiment):
    check_every_layout(experiment)


@FEW
@given(st.lists(st.integers(1, 3), min_size=4, max_size=20), st.integers(1, 9), st.integers(0, 2**20))
def test_ceilings_of_unequal_repeats_are_those_of_a_plain_loop(repeats, n_voxels, seed):
    assume(max(repeats) > 1)
    ids = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(repeats)), repeats))
    z = np.random.default_rng(seed + 1).normal(size=(len(ids), n_voxels))
    groups = stimulus_rows(ids)[1]
    variances = [np.var(z[ids == i], axis=0, ddof=1) for i in range(len(repeats)) if repeats[i] > 1]
    noise = np.mean(variances, axis=0)
    expected = np.sqrt(np.maximum(1 - noise, 0) / noise)
    ncsnr = estimate_ncsnr(z, groups)
    assert np.allclose(ncsnr, expected, atol=1e-5)
    a, b, c = (repeats.count(n) for n in (3, 2, 1))
    inverse_n = (a / 3 + b / 2 + c) / (a + b + c)
    ceiling = noise_ceiling(ncsnr, np.array(repeats))
    assert np.allclose(ceiling, expected**2 / (expected**2 + inverse_n), atol=1e-5)
