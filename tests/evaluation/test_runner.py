"""Runs scored end to end: the ladder, the rows beside the score, and what is refused."""

import json

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.evaluation.command import evaluate
from fmri_lightning.evaluation.describe import describe_run
from fmri_lightning.evaluation.embedding_scores import tell_collapse
from fmri_lightning.evaluation.ladder import ladder
from fmri_lightning.evaluation.pictures import PictureFiles
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.evaluation.results import Evaluation, Row
from fmri_lightning.evaluation.runs import Run
from fmri_lightning.manifest import read_manifest
from fmri_lightning.metrics.bootstrap import bootstrap_interval
from fmri_lightning.metrics.cosine import cosine, cosine_matrix

from .conftest import ANCHORS, N_DRAWN, N_TEST, N_TRAIN, write_pictures


def summary_of(folder, protocol="demo"):
    return json.loads((folder / "evaluation" / protocol / "summary.json").read_text())


def edit_summary(folder, **changes):
    file = folder / "decode_summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.fixture(scope="module")
def scored(world, judge, tmp_path_factory):
    """An mlp run with controls and a ridge run without, evaluated together."""
    base = tmp_path_factory.mktemp("recon")
    mlp, ridge = world.write_ladder(base / "mlp_diffusion"), world.write_run(base / "ridge_diffusion")
    evaluate(run=[ridge, mlp], resamples=500)
    return ridge, mlp


def test_the_ladder_stands(scored) -> None:
    _, mlp = scored
    found = ladder(mlp)
    values = [found["rungs"][rung]["value"] for rung in ("true_target", "predicted", "shuffled")]
    assert values[0] > values[1] > values[2]
    assert values[0] > 0.95
    assert found["checks"] == {
        "predicted_above_shuffled": True,
        "shuffled_at_chance": True,
        "as_drawn_equals_predicted": True,
    }
    assert (found["metric"], found["chance"], found["n"], found["simulated"]) == (
        "judge2_two_way",
        0.5,
        N_DRAWN,
        True,
    )


def test_summary_has_the_contracts_fields(scored) -> None:
    _, mlp = scored
    summary = summary_of(mlp)
    assert {"metrics", "skipped", "n", "test_set", "protocol", "simulated"} <= set(summary)
    assert summary["protocol"] == f"demo, {N_DRAWN} of {N_TEST}"
    for name, entry in summary["metrics"].items():
        assert {"value", "ci_low", "ci_high", "chance", "null", "ceiling"} <= set(entry), name
        assert entry["ci_low"] <= entry["value"] <= entry["ci_high"], name
        assert entry["null"] == entry["rows"]["shuffled"]["value"]
    assert summary["metrics"]["judge2_two_way"]["p_against_null"] < 0.01
    networks = read_manifest(mlp / "evaluation/demo", "evaluation").config["networks"]
    assert set(networks["judge"]) >= {"weights", "hash", "torch"}
    assert summary["metrics"]["judge2_two_way"]["stand_in_for"] == "AlexNet(2)"
    assert summary["metrics"]["source_cosine"]["ceiling"] is None
    circular = {name for name, entry in summary["metrics"].items() if entry["circular"]}
    assert {"source_cosine", "picture_from_brain_top1"} <= circular
    assert not circular & {"judge2_two_way", "pixcorr"}
    assert "16" in summary["skipped"]["picture_from_brain_top1_of_300"]


def test_embedding_scores_equal_numpy(scored, world) -> None:
    _, mlp = scored
    metrics = summary_of(mlp)["metrics"]
    ids = ANCHORS[:N_DRAWN]
    predicted = np.stack([world.predicted_embedding(i) for i in ids])
    truth, mean = world.embeddings[ids], world.embeddings[:N_TRAIN].mean(axis=0)
    assert metrics["source_cosine"]["value"] == pytest.approx(cosine(predicted, truth).mean(), abs=1e-9)
    centred = cosine(predicted - mean, truth - mean).mean()
    assert metrics["source_centred_cosine"]["value"] == pytest.approx(centred, abs=1e-6)
    floor = cosine(np.tile(mean, (N_DRAWN, 1)), truth).mean()
    assert metrics["source_cosine"]["mean_vector"] == pytest.approx(floor, abs=1e-6)
    # Sixteen brains are looked up among all 24 test pictures, and sixteen pictures among sixteen brains.
    to_all = cosine_matrix(predicted, world.embeddings[ANCHORS])
    assert metrics["picture_from_brain_top1"]["value"] == (to_all.argmax(axis=1) == np.arange(N_DRAWN)).mean()
    assert metrics["picture_from_brain_top1"]["chance"] == 1 / N_TEST
    back = cosine_matrix(truth, predicted)
    assert metrics["brain_from_picture_top1"]["value"] == (back.argmax(axis=1) == np.arange(N_DRAWN)).mean()
    assert metrics["brain_from_picture_top1"]["chance"] == 1 / N_DRAWN


def test_a_collapsed_encoder_is_said(scored) -> None:
    summary = summary_of(scored[1])
    assert tell_collapse(summary) is None
    summary["metrics"]["source_centred_cosine"] |= {"value": 0.01, "ci_low": 0.0, "ci_high": 0.02}
    assert "centred cosine is 0.010 (95 % interval 0.000 to 0.020)" in tell_collapse(summary)
    del summary["metrics"]["source_centred_cosine"]
    assert tell_collapse(summary) is None


def test_pictures_as_drawn_are_scored_against_who_drew_them(scored) -> None:
    _, mlp = scored
    rows = summary_of(mlp)["metrics"]["source_cosine"]["rows"]
    assert rows["shuffled_as_drawn"]["value"] > rows["shuffled"]["value"] + 0.05
    table = pq.read_table(mlp / "evaluation/demo/scores.parquet").to_pydict()
    drawn = [i for i, m in zip(table["nsd_id"], table["metric"], strict=True) if m == "shuffled_as_drawn/pixcorr"]
    assert drawn == np.roll(ANCHORS, -5)[:N_DRAWN].tolist()


def test_scores_hold_what_the_summary_says(scored) -> None:
    _, mlp = scored
    table = pq.read_table(mlp / "evaluation/demo/scores.parquet")
    assert table.column_names == ["nsd_id", "sample", "metric", "value", "influence"]
    rows = table.to_pydict()
    summary = summary_of(mlp)
    for name, entry in summary["metrics"].items():
        values = [v for v, m in zip(rows["value"], rows["metric"], strict=True) if m == name]
        assert len(values) == N_DRAWN
        statistic = np.median if entry["statistic"] == "median" else np.mean
        assert entry["value"] == pytest.approx(statistic(values), abs=1e-12)


def test_intervals_of_pair_scores_draw_what_a_stimulus_adds_as_distractor_too(scored) -> None:
    _, mlp = scored
    table = pq.read_table(mlp / "evaluation/demo/scores.parquet").to_pydict()
    for metric in ("judge2_two_way", "pixcorr"):
        rows = [i for i, name in enumerate(table["metric"]) if name == metric]
        values, influence = (np.array([table[column][i] for i in rows]) for column in ("value", "influence"))
        entry = summary_of(mlp)["metrics"][metric]
        found = bootstrap_interval(influence, n_resamples=500)
        assert (entry["ci_low"], entry["ci_high"]) == (found.low, found.high)
        assert influence.mean() == pytest.approx(values.mean(), abs=1e-12)
        assert np.array_equal(values, influence) is (metric == "pixcorr")


def test_several_runs_give_one_table_in_the_folder_that_they_share(scored) -> None:
    ridge, mlp = scored
    place = mlp.parent / "evaluation/demo"
    assert {file.name for file in place.iterdir()} >= {"table.md", "table.tex", "table.csv", "comparisons.csv"}
    text = (place / "table.md").read_text()
    assert r"mlp\_diffusion + mini" in text
    assert "not comparable with published numbers" in text
    rows = pq.read_table(place / "comparisons.parquet").to_pydict()
    difference = rows["difference"][rows["metric"].index("pixcorr")]
    values = [summary_of(run)["metrics"]["pixcorr"]["value"] for run in (mlp, ridge)]
    assert abs(difference) == pytest.approx(abs(values[0] - values[1]), abs=1e-12)


def test_categories_are_shown_apart_with_the_distractors_of_all(world, tmp_path) -> None:
    run = world.write_run(tmp_path / "run")
    lines = [f"{i},{'even' if i % 2 == 0 else 'odd'}" for i in ANCHORS]
    (tmp_path / "categories.csv").write_text("\n".join(["nsd_id,category", *lines, f"{ANCHORS[0]},rare"]))
    evaluate(run=[run], resamples=100, categories=tmp_path / "categories.csv")
    table = pq.read_table(run / "evaluation/demo/scores.parquet").to_pydict()
    for metric in ("pixcorr", "pixcorr_two_way"):
        groups = summary_of(run)["metrics"][metric]["groups"]
        assert list(groups) == ["even", "odd"]
        of_metric = [
            (i, v) for i, m, v in zip(table["nsd_id"], table["metric"], table["value"], strict=True) if m == metric
        ]
        assert groups["even"]["value"] == pytest.approx(np.mean([v for i, v in of_metric if i % 2 == 0]), abs=1e-12)
        assert groups["even"]["n"] + groups["odd"]["n"] == N_DRAWN


def test_a_network_that_conditions_the_pictures_makes_its_scores_circular(world, tmp_path) -> None:
    for target, circular in (("vit-l-14", True), ("vit-h-14", False)):
        provenance = {"spaces": {"source": {"name": "vit-b-32"}, "target": {"name": target}}}
        run = Run(tmp_path, {"provenance": provenance}, ANCHORS, ANCHORS, PictureFiles([]))
        values = {name: np.ones(N_TEST) for name in ("clip_two_way", "clip_cosine", "alexnet2_two_way")}
        evaluation = Evaluation(Row(ANCHORS, values), np.zeros(N_TEST, np.int16))
        describe_run(evaluation, PROTOCOLS["mindeye"], run)
        assert evaluation.circular == ({"clip_two_way", "clip_cosine"} if circular else set())


def test_a_run_without_controls_borrows_its_siblings(scored) -> None:
    ridge, _ = scored
    rows = summary_of(ridge)["metrics"]["judge2_two_way"]["rows"]
    assert {name: row["from"] for name, row in rows.items()} == {
        "true_target": "mlp_diffusion",
        "shuffled": "mlp_diffusion",
        "shuffled_as_drawn": "mlp_diffusion",
    }
    assert ladder(ridge)["checks"]["as_drawn_equals_predicted"] is None


def test_the_same_command_writes_the_same_bytes(scored) -> None:
    ridge, mlp = scored
    files = [run / "evaluation/demo" / name for run in scored for name in ("summary.json", "scores.parquet")]
    before = [file.read_bytes() for file in files]
    digest = read_manifest(mlp / "evaluation/demo", "evaluation").content_hash
    evaluate(run=[ridge, mlp], resamples=500)
    assert [file.read_bytes() for file in files] == before
    assert read_manifest(mlp / "evaluation/demo", "evaluation").content_hash == digest


def test_controls_of_another_decoder_are_not_borrowed(world, tmp_path) -> None:
    mlp = world.write_ladder(tmp_path / "mlp", guidance_scale=9.0)
    ridge = world.write_run(tmp_path / "ridge")
    evaluate(run=[ridge, mlp], resamples=100, protocol="mindeye")
    assert summary_of(ridge, "mindeye")["metrics"]["pixcorr"]["null"] is None


def test_mindeye_is_labelled_and_says_what_is_missing(world, tmp_path) -> None:
    run = world.write_run(tmp_path / "run")
    evaluate(run=[run], resamples=100, protocol="mindeye")
    summary = summary_of(run, "mindeye")
    assert summary["protocol"].startswith("mindeye, partial 16/1000")
    assert summary["protocol"].endswith("not comparable")
    assert {"alexnet2_two_way", "inception_two_way", "clip_two_way", "swav_distance"} <= set(summary["skipped"])
    assert "judge2_two_way" not in summary["metrics"]


def test_controls_that_do_not_fit_are_named(world, tmp_path) -> None:
    run = world.write_ladder(tmp_path / "run")
    edit_summary(run / "controls/shuffled", seed=7)
    world.write_run(run / "controls/mean", "mean", n=4)
    (run / "controls/unconditional").mkdir()
    evaluate(run=[run], resamples=100, protocol="mindeye")
    summary = summary_of(run, "mindeye")
    assert "drawn with seed 7" in summary["skipped"]["controls/shuffled"]
    assert "4 of the run's 16 items" in summary["skipped"]["controls/mean"]
    assert "no finished run" in summary["skipped"]["controls/unconditional"]
    assert summary["metrics"]["pixcorr"]["null"] is None
    assert summary["metrics"]["pixcorr"]["ceiling"] is not None


def test_controls_older_than_the_noise_mode_are_those_of_its_default(world, tmp_path) -> None:
    run = world.write_ladder(tmp_path / "run")
    for mode, fits in (("add", True), ("label_only", False)):
        edit_summary(run, noise_mode=mode)
        evaluate(run=[run], resamples=100, protocol="mindeye")
        skipped = summary_of(run, "mindeye")["skipped"]
        assert ("controls/shuffled" not in skipped) is fits
    assert "drawn with noise_mode 'add'" in skipped["controls/shuffled"]


def test_another_cache_or_index_is_not_compared_with(world, tmp_path) -> None:
    run = world.write_run(tmp_path / "run")
    provenance = json.loads((run / "decode_summary.json").read_text())["provenance"]
    edit_summary(run, provenance=provenance | {"inputs": {"clip_cache": "0" * 64}})
    evaluate(run=[run], resamples=100, protocol="mindeye")
    summary = summary_of(run, "mindeye")
    assert "is not the CLIP cache" in summary["skipped"]["source_cosine"]
    assert "source_cosine" not in summary["metrics"]


def test_the_nearest_training_pictures_are_scored_as_reconstructions(world, tmp_path) -> None:
    nearest = np.arange(N_DRAWN) % N_TRAIN
    run = world.write_run(tmp_path / "run", nearest=nearest)
    evaluate(run=[run], resamples=100)
    summary = summary_of(run)
    truth, shown = (world.stimuli[ids].reshape(N_DRAWN, -1) for ids in (ANCHORS[:N_DRAWN], nearest))
    expected = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(truth, shown, strict=True)])
    assert summary["metrics"]["pixcorr"]["rows"]["nearest_training"]["value"] == pytest.approx(expected, abs=1e-6)
    none = world.write_run(tmp_path / "none")
    evaluate(run=[none], resamples=100)
    assert "no gallery of training stimuli" in summary_of(none)["skipped"]["nearest_training"]


def test_equal_ids_of_two_data_roots_are_other_stimuli(world, tmp_path) -> None:
    nearest = np.arange(N_DRAWN) % N_TRAIN
    runs = [world.write_run(tmp_path / name, nearest=nearest) for name in ("here", "there")]
    (tmp_path / "tree/nsddata_stimuli/stimuli/nsd").mkdir(parents=True)
    with h5py.File(tmp_path / "tree/nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", "w") as handle:
        handle["imgBrick"] = world.stimuli[::-1]
    provenance = json.loads((runs[1] / "decode_summary.json").read_text())["provenance"]
    edit_summary(runs[1], provenance=provenance | {"root": str(tmp_path / "tree")})
    evaluate(run=runs, resamples=100)
    evaluate(run=[runs[1]], resamples=100, out=tmp_path / "alone")
    alone = json.loads((tmp_path / "alone/demo/summary.json").read_text())
    for metric in ("pixcorr", "ssim"):
        rows = [summary["metrics"][metric]["rows"]["nearest_training"] for summary in (summary_of(runs[1]), alone)]
        assert rows[0] == rows[1]


def test_the_fraction_of_the_way_from_null_to_ceiling_is_that_of_the_means(scored) -> None:
    for name in ("pixcorr", "judge2_two_way", "judge_distance"):
        entry = summary_of(scored[1])["metrics"][name]
        expected = (entry["value"] - entry["null"]) / (entry["ceiling"] - entry["null"])
        assert entry["fraction"] == pytest.approx(expected, abs=1e-9)
        assert entry["fraction_ci"][0] < entry["fraction"] < entry["fraction_ci"][1]
        assert entry["ceiling_kind"] == "true_target"


def test_constant_pictures_of_a_foreign_folder_are_counted_and_named(world, tmp_path) -> None:
    ids = ANCHORS[:6]
    pictures = [world.predicted_picture(i) for i in ids]
    pictures[2][:] = 90
    write_pictures(tmp_path / "ours", pictures, [f"nsd{i}.png" for i in ids])
    write_pictures(tmp_path / "truth", world.stimuli[ids], [f"nsd{i}.png" for i in ids])
    evaluate(generated=tmp_path / "ours", truth=tmp_path / "truth", out=tmp_path / "out", resamples=100)
    entry = json.loads((tmp_path / "out/demo/summary.json").read_text())["metrics"]["pixcorr"]
    assert entry["undefined"] == [ids[2]]
    assert (entry["n"], entry["n_undefined"]) == (5, 1)
    kept = [i for i in range(6) if i != 2]
    expected = np.mean([np.corrcoef(pictures[i].ravel(), world.stimuli[ids[i]].ravel())[0, 1] for i in kept])
    assert entry["value"] == pytest.approx(expected, abs=1e-6)


def test_first_samples_stand_beside_the_chosen(world, tmp_path) -> None:
    choices = [{"trial_id": t, "sample": t % 2} for t in range(N_DRAWN)]
    run = world.write_run(tmp_path / "run", n_samples=2, choices=choices)
    (run / "samples").mkdir()
    for i in ANCHORS[:N_DRAWN]:
        Image.fromarray(world.stimuli[i]).save(run / f"samples/nsd{i}_k0.png")
    evaluate(run=[run], resamples=100, protocol="mindeye")
    rows = summary_of(run, "mindeye")["metrics"]["pixcorr"]["rows"]
    assert rows["first_sample"]["value"] == pytest.approx(1.0, abs=1e-9)
    table = pq.read_table(run / "evaluation/mindeye/scores.parquet").to_pydict()
    assert table["sample"][:4] == [0, 1, 0, 1]


def spoil_missing(run):
    (run / f"images/nsd{ANCHORS[3]}_generated.png").unlink()


def spoil_torn(run):
    file = run / f"images/nsd{ANCHORS[3]}_generated.png"
    file.write_bytes(file.read_bytes()[:200])


def spoil_constant(run):
    Image.new("RGB", (64, 64), (9, 9, 9)).save(run / f"images/nsd{ANCHORS[3]}_generated.png")


def spoil_size(run):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(
        run / f"images/nsd{ANCHORS[3]}_generated.png"
    )


def spoil_count(run):
    edit_summary(run, n_generated=3)


def spoil_root(run):
    provenance = json.loads((run / "decode_summary.json").read_text())["provenance"]
    edit_summary(run, provenance=provenance | {"root": "gone"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_missing, r"1 of 16 pictures are missing \(nsd23_generated.png\)"),
        (spoil_torn, "nsd23_generated.png cannot be read"),
        (spoil_constant, r"1 of 16 pictures .* one flat colour .*nsd23_generated.png"),
        (spoil_size, "nsd23_generated.png is 32 x 32 px"),
        (spoil_count, "says 3 pictures and lists 16"),
        (spoil_root, "data root gone is not here"),
    ],
)
def test_spoilt_runs_are_refused_before_anything_is_written(world, tmp_path, spoil, message) -> None:
    good, bad = world.write_run(tmp_path / "good"), world.write_run(tmp_path / "bad")
    spoil(bad)
    with pytest.raises(BadInputError, match=message) as error:
        evaluate(run=[good, bad])
    assert error.value.exit_code == 3
    assert not list(tmp_path.rglob("evaluation"))


def test_a_folder_that_is_no_run_is_refused(tmp_path) -> None:
    with pytest.raises(BadInputError, match="fmri-lightning predict"):
        evaluate(run=[tmp_path])
    with pytest.raises(BadInputError, match="fmri-lightning evaluate"):
        ladder(tmp_path)


def test_dry_run_writes_nothing(world, tmp_path, capsys) -> None:
    run = world.write_run(tmp_path / "run")
    evaluate(run=[run], dry_run=True)
    assert "16 pictures" in capsys.readouterr().out
    assert not (run / "evaluation").exists()


def test_usage(tmp_path) -> None:
    for arguments in ({}, {"run": []}, {"run": [tmp_path], "generated": tmp_path}, {"generated": tmp_path}):
        with pytest.raises(UsageError):
            evaluate(**arguments)
    with pytest.raises(UsageError, match="choose demo, mindeye"):
        evaluate(run=[tmp_path], protocol="takagi")
    with pytest.raises(UsageError, match="at least 100"):
        evaluate(run=[tmp_path], resamples=5)
