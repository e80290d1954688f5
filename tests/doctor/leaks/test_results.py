"""Faults of results, neighbours and baseline."""

import json

import numpy as np
import pytest

from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.metrics.cosine import mean_vector_cosine
from tests.doctor.leaks.small_run import (
    copy_of,
    edit_json,
    edit_predictions,
    ids_of,
    refused,
    trials_of,
)


def test_a_test_picture_among_the_neighbours_is_named(parts, run, tmp_path):
    leaked = int(ids_of(parts, "test")[5])
    copied = copy_of(run, tmp_path)
    edit_json(copied / "decode_summary.json", lambda s: s["results"][2].update(nn_nsdId=leaked))
    refused(
        copied,
        "decode_summary.json, nn_nsdId: not training stimuli of subj01, expected training stimuli only: 1 stimuli",
        rf"nsd_id {leaked} \(test, global_trial {trials_of(parts, leaked)}\); run fmri-lightning predict",
    )


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_foreign_neighbour_in_the_table_is_named(parts, run, tmp_path, split):
    leaked, copied = int(ids_of(parts, split)[1]), copy_of(run, tmp_path)
    edit_predictions(copied, lambda table, _: table.nn_nsd_id.__setitem__(1, leaked))
    refused(copied, rf"predictions.parquet, nn_nsd_id: not training stimuli .* nsd_id {leaked} \({split}")


def test_a_neighbour_that_is_not_the_nearest_is_refused(parts, run, tmp_path):
    copied = copy_of(run, tmp_path)

    def edit(table, _):
        table.nn_nsd_id[1] = ids_of(parts, "train")[0]

    edit_predictions(copied, edit)
    neighbour = int(ids_of(parts, "train")[0])
    edit_json(copied / "decode_summary.json", lambda s: s["results"][1].update(nn_nsdId=neighbour))
    refused(copied, f"the neighbours of 1 items are not the nearest of the 100 stimuli.*found {neighbour}, expected")


def test_a_training_picture_among_the_results_is_named(parts, run, tmp_path):
    leaked, copied = int(ids_of(parts, "train")[1]), copy_of(run, tmp_path)
    edit_json(copied / "decode_summary.json", lambda s: s["results"][0].update(nsdId=leaked))
    refused(copied, rf"decode_summary.json, nsdId: not test stimuli .* nsd_id {leaked} \(train, global_trial")


def test_summary_and_table_must_say_the_same(run, tmp_path):
    copied = copy_of(run, tmp_path)

    def edit(summary):
        first, second = summary["results"][:2]
        first["nn_nsdId"], second["nn_nsdId"] = second["nn_nsdId"], first["nn_nsdId"]
        if first["nn_nsdId"] == second["nn_nsdId"]:
            first["trial_id"], second["trial_id"] = second["trial_id"], first["trial_id"]

    edit_json(copied / "decode_summary.json", edit)
    refused(copied, r"nsdId and nn_nsdId of trial_id \d+ are .*, predictions.parquet has")


def test_a_gallery_of_another_size_is_refused(run, tmp_path):
    copied = copy_of(run, tmp_path)
    edit_json(copied / "decode_summary.json", lambda s: s["gallery"].update(size=101))
    refused(copied, "the gallery held 101 stimuli, expected 100 training stimuli")


@pytest.mark.parametrize("where", ["predictions.parquet", "decode_summary.json"])
def test_a_baseline_whose_mean_saw_test_pictures_is_refused(parts, run, tmp_path, where):
    copied, cache = copy_of(run, tmp_path), EmbeddingCache.open(parts.brain["clip_cache"])
    results = json.loads((copied / "decode_summary.json").read_text())["results"]
    truth = cache.rows(np.array([result["nsdId"] for result in results]))
    leaky = float(mean_vector_cosine(cache.rows(ids_of(parts, "train", "test")).mean(axis=0), truth).mean())
    if where == "predictions.parquet":
        edit_predictions(copied, lambda _, about: about.update(mean_vector_cosine=leaky))
    else:
        edit_json(copied / where, lambda s: s.update(mean_vector_cosine=leaky))
    refused(copied, f"{where}: mean_vector_cosine is {leaky:.6f}, that of the mean of the .* saw other stimuli")
