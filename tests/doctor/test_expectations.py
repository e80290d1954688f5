"""The figures of a run beside NSD's: bound only where the catalogue is NSD's, and outside where they are wrong."""

import numpy as np
import pytest
import yaml

from fmri_lightning.betas.command import betas
from fmri_lightning.doctor import expectations
from fmri_lightning.doctor.command import doctor
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.embeddings.command import clip_cache
from fmri_lightning.errors import BadInputError
from fmri_lightning.generation.predictions import Predictions, write_predictions
from fmri_lightning.index import published
from fmri_lightning.index.command import index
from fmri_lightning.index.table import index_manifest, read_index


@pytest.fixture(scope="module")
def run(miniature, tmp_path_factory):
    """A run folder whose predictions are true embeddings in noise, one for every picture."""
    root = tmp_path_factory.mktemp("expect")
    index(miniature.root, out=root / "index")
    betas(miniature.root, index=root / "index", out=root / "betas", preproc_out=root / "preproc")
    clip_cache(root=miniature.root, space="mini-source", out=root / "clip.parquet")
    cache = EmbeddingCache.open(root / "clip.parquet")
    ids = np.asarray(cache.ids, dtype=np.int32)
    truth = np.asarray(cache.embeddings, dtype=np.float32)
    noise = np.random.default_rng(0).normal(size=truth.shape) * truth.std()
    n = len(ids)
    none, zeros = np.full(n, -1, dtype=np.int32), np.zeros(n, dtype=np.float32)
    predictions = Predictions(
        nsd_id=ids,
        trial_id=np.arange(n, dtype=np.int32),
        global_trial=none,
        source=(truth + 1.7 * noise).astype(np.float32),
        target=None,
        cosine_pred_gt=zeros,
        nn_nsd_id=none,
        nn_cosine=zeros,
        drawn_from_nsd_id=ids,
    )
    folder = root / "run"
    folder.mkdir()
    write_predictions(folder / "predictions.parquet", predictions, {})
    names = {"index_root": "index", "betas": "betas", "preproc": "preproc", "clip_cache": "clip.parquet"}
    plain = {"subject": "subj01", **{name: str(root / place) for name, place in names.items()}}
    (folder / "predict.yaml").write_text(yaml.safe_dump({"data": {"init_args": plain}}))
    return folder


@pytest.fixture
def as_if_nsd(run, miniature, monkeypatch):
    """Let the miniature's own numbers be the published ones; returns a function that replaces some of them."""
    root = run.parent / "index"
    table = read_index(root, "subj01")
    test = table.of_split("test")
    facts = {
        "shape": (0, 0, 0),
        "sessions": int(table.session.max()),
        "nsdgeneral": 500,
        "stimuli": len(set(table.nsd_id.tolist())),
        "shared": len(set(test.nsd_id.tolist())),
        "shared_trials": len(test),
        "median_ncsnr": 0.36,
    }
    monkeypatch.setattr(published, "NSD_CATALOGUE", index_manifest(root, "subj01").config["n_catalogue"])
    monkeypatch.setattr(published, "NSD_TRIALS_PER_SESSION", int((table.session == 1).sum()))
    monkeypatch.setattr(expectations, "SPACE", "mini-source")
    for name, limits in (("MEAN_VECTOR_COSINE", (0.0, 1.0)), ("TOP1_OF_300", (0.0, 1.0)), ("COSINE_GAIN", (-1.0, 1.0))):
        monkeypatch.setattr(expectations, name, limits)

    def replace(**changed):
        monkeypatch.setitem(published.SUBJECTS, "subj01", published.PublishedSubject(**{**facts, **changed}))

    replace()
    return replace


def test_nothing_binds_a_simulated_run(run, capsys):
    doctor(expect=run)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert all(line.startswith("no figure") for line in lines)
    assert any("voxels: 500 (simulated)" in line for line in lines)


def test_the_right_figures_are_met(run, as_if_nsd, capsys):
    doctor(expect=run)
    assert all(line.startswith("ok") for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"nsdgeneral": 499}, "voxels"),
        ({"stimuli": 359}, "pictures"),
        ({"shared": 59}, "test pictures"),
        ({"shared_trials": 181}, "test trials"),
        ({"median_ncsnr": 0.25}, "median ncsnr"),
    ],
)
def test_a_wrong_figure_is_named(run, as_if_nsd, changed, name, capsys):
    as_if_nsd(**changed)
    with pytest.raises(BadInputError, match=f"1 figures are not what NSD lets expect: {name}"):
        doctor(expect=run)
    assert f"OUTSIDE   {name}: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"MEAN_VECTOR_COSINE": (0.999, 1.0)}, "mean-vector cosine"),
        ({"COSINE_GAIN": (0.9, 1.0)}, "cosine above the mean vector"),
        ({"TOP1_OF_300": (0.0, 0.001)}, "top-1 of 300, picture given brain"),
    ],
)
def test_decoding_outside_the_published_range_is_named(run, as_if_nsd, monkeypatch, limits, name):
    for constant, span in limits.items():
        monkeypatch.setattr(expectations, constant, span)
    with pytest.raises(BadInputError, match=f"expect: {name}"):
        doctor(expect=run)


def test_fewer_sessions_bind_only_what_they_can(run, as_if_nsd, capsys):
    as_if_nsd(sessions=40)
    doctor(expect=run)
    out = capsys.readouterr().out
    assert "ok        voxels: 500, expected 500" in out
    assert "no figure pictures: 360 (Allen et al. 2022, subj01; this index has 4 of 40 sessions)" in out


def test_the_published_table_adds_up():
    assert sum(subject.trials for subject in published.SUBJECTS.values()) == 213_000
    assert published.SUBJECTS["subj01"].nsdgeneral == 15_724
    assert published.published_subject("subj01", 73_000) is published.SUBJECTS["subj01"]
    assert published.published_subject("subj01", 672) is None
    assert published.published_subject("subj09", 73_000) is None
