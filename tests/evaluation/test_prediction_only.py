"""Scores of pictures of a side experiment: marked as comparable with nothing, and shown apart by set."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from fmri_lightning.evaluation.describe import _caveats
from fmri_lightning.evaluation.gallery import open_gallery
from fmri_lightning.evaluation.groups import categories_of, groups_of
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.evaluation.runs import Run, find_controls
from fmri_lightning.generation.predictions import read_predictions
from tests.generation.test_prediction_only import predict

ONLY = {"experiment": "nsd_imagery", "task": "vision", "in_words": "prediction only: nsd_imagery, seen trials"}


def run_of(folder, **summary) -> Run:
    table, about = read_predictions(folder / "predictions.parquet")
    provenance = {"inputs": about["inputs"], **summary.pop("provenance")}
    told = {
        "subject": "subj01",
        "test_set": "nsd_imagery",
        "prediction_only": ONLY,
        "provenance": provenance,
        **summary,
    }
    return Run(folder, told, table.nsd_id, table.trial_id, SimpleNamespace(paths=[None] * len(table)))


@pytest.fixture(scope="module")
def run(side_flow, tmp_path_factory):
    folder = predict(side_flow, "vision", tmp_path_factory.mktemp("evaluated") / "vision")
    data = side_flow.data("vision")
    places = {"root": str(side_flow.root), "index_root": data["index_root"], "clip_cache": data["clip_cache"]}
    return run_of(folder, provenance=places)


def test_no_protocol_calls_it_comparable():
    for protocol in PROTOCOLS.values():
        less = protocol.qualifications(18, 18, 18, False, prediction_only="nsd_imagery")
        assert less[0] == "stimuli of nsd_imagery"
        assert ("not comparable" in less) == (protocol.test_set is not None)
        # Not even where the numbers happen to agree.
        assert protocol.qualifications(982, 982, 982, False, prediction_only="nsd_synthetic") != []


def test_the_caveat_says_which_trials(run):
    assert [one["sentence"] for one in _caveats(run)] == [
        "prediction only: nsd_imagery, seen trials; a test set of its own, comparable with none of NSD's"
    ]


def test_another_sources_test_pictures_do_not_pass_for_nsds(run):
    """Algonauts' and one's own test pictures are drawn under the option that means the whole test split."""
    words = "Algonauts 2023 test split (shown in the last three sessions only)"
    summary = {**run.summary, "provenance": {**run.summary["provenance"], "own_test_set": words}}
    del summary["prediction_only"]
    (caveat,) = _caveats(dataclasses.replace(run, summary=summary))
    assert caveat["sentence"].endswith(f"not NSD's by that name: {words}")


def test_sets_are_shown_apart(run):
    groups = groups_of(run.ids, categories_of(run).categories)
    assert {name: members.sum() for name, members in groups.items()} == {
        "set A": 6, "set B": 6, "set C": 6, "vision": 18,
    }  # fmt: skip
    assert run.ids[groups["set B"]].tolist() == list(range(100_006, 100_012))


def test_the_gallery_is_the_experiment_and_its_mean_that_of_training(run, side_flow):
    from fmri_lightning.embeddings.cache import EmbeddingCache
    from fmri_lightning.index.table import read_index

    gallery = open_gallery(run, None)
    train = np.unique(read_index(side_flow.folder / "index", "subj01").of_split("train").nsd_id)
    mean = EmbeddingCache.open(side_flow.folder / "clip.parquet").rows(train).mean(axis=0, dtype=np.float64)
    assert gallery.ids.tolist() == list(range(100_000, 100_018))
    assert np.allclose(gallery.mean, mean, atol=1e-6)


def test_a_control_of_the_other_task_is_not_borrowed(run, tmp_path):
    """Equal in everything but the task: the shuffled control of seen trials says nothing of imagined ones."""
    (tmp_path / "controls" / "shuffled").mkdir(parents=True)
    other = Run(
        tmp_path, {**run.summary, "prediction_only": {**ONLY, "task": "imagery"}}, run.ids, run.trial_ids, run.pictures
    )
    assert find_controls(run, [other]) == ({}, {})
    same = Run(tmp_path, run.summary, run.ids, run.trial_ids, run.pictures)
    assert "controls/shuffled" in find_controls(run, [same])[1]  # it is looked into, and found unfinished
