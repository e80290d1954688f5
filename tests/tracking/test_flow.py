"""From a fitted encoder to scores: adapter with panels, predict and evaluate, each read back from its offline run."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fmri_lightning.cli import main
from fmri_lightning.index.stimuli import open_stimuli
from fmri_lightning.index.table import read_index
from fmri_lightning.tracking.keys import keys_of
from fmri_lightning.tracking.pictures import CAPTION_PX
from tests.tracking.conftest import offline
from tests.tracking.fitting import config
from tests.tracking.read_back import alike, only_run, read_run, run_folders

pytestmark = pytest.mark.slow

JPEG = 6.0
"""Mean difference, of 255, that JPEG makes; another trial's picture differs by far more."""
WANDB = config("logger/wandb.yaml")


@pytest.fixture(scope="module")
def flow(miniature, tmp_path_factory):
    """Every stage of the miniature in one folder; its runs by job type."""
    import wandb

    folder = tmp_path_factory.mktemp("flow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("WANDB_MODE", "disabled")
        root, nsd = ["--root", str(miniature.root)], "outputs/nsd_index"
        caches = {name: f"outputs/clip_cache/{name}.parquet" for name in ("clip", "mini-target")}
        brain = ["--data.index_root", nsd, "--data.clip_cache", caches["clip"], "--trainer.accelerator", "cpu"]
        prepare = [
            ["index", *root, "--subject", "subj01"],
            ["betas", *root, "--subject", "subj01"],
            ["clip-cache", *root, "--space", "mini-source", "--out", caches["clip"]],
            ["clip-cache", *root, "--space", "mini-target", "--out", caches["mini-target"]],
            ["fit", *config("encoder/ridge.yaml"), *brain],
        ]
        for words in prepare:
            assert main(words) == 0, words
        offline(patch, folder / "wandb")
        adapter = "checkpoints/clip_adapter/subj01/mini-target/adapter.ckpt"
        watched = [
            ["fit", *config("adapter.yaml"), *WANDB, *config("logger/panels_adapter_mini.yaml"), *brain,
             "--data.target_cache", caches["mini-target"], "--trainer.max_epochs", "2"],
            ["predict", *config("predict.yaml", "decoder/mini.yaml"), *WANDB, *brain, "--model.adapter_ckpt", adapter,
             "--data.limit", "4", "--model.num_inference_steps", "2", "--model.batch_size", "2"],
            ["evaluate", "--run", "outputs/recon/subj01/ridge_diffusion", "--resamples", "100", "--wandb", "true",
             "--wandb_max_rows", "3"],
            ["evaluate", "--run", "outputs/recon/subj01/ridge_diffusion", "--resamples", "100", "--wandb", "true",
             "--wandb_stimuli", "false", "--out", "outputs/without"],
            ["report", "--run", "outputs/recon/subj01/ridge_diffusion", "--wandb", "true"],
        ]  # fmt: skip
        for words in watched:
            assert main(words) == 0, words
        wandb.teardown()
    aside = folder / "outputs/without"
    files = [path for path in run_folders(folder) if aside not in path.parents]
    runs = {run.about["job_type"]: run for run in map(read_run, files)}
    table = read_index(folder / nsd, "subj01")
    return SimpleNamespace(
        folder=folder, runs=runs, without=only_run(aside), table=table, stimuli=open_stimuli(root=miniature.root)
    )


def test_every_stage_is_one_finished_run_of_the_subject(flow):
    assert list(flow.runs) == ["fit-adapter", "predict", "evaluate", "report"]
    assert {run.about["run_group"] for run in flow.runs.values()} == {"subj01"}
    assert {run.exit_code for run in flow.runs.values()} == {0}
    assert {job: run.about["display_name"] for job, run in flow.runs.items()} == {
        "fit-adapter": "clip_adapter/subj01/mini-target",
        "predict": "subj01/ridge_diffusion",
        "evaluate": "subj01/ridge_diffusion",
        "report": "subj01/ridge",
    }
    assert flow.runs["predict"].config["model"]["init_args"]["decoder"]["family"] == "mini"
    home = [path for path in (flow.folder / "wandb/home").rglob("*") if path.is_file()]
    assert [path for path in home if "matplotlib" not in path.parts] == []


@pytest.mark.parametrize("job", ["fit-adapter", "predict", "evaluate", "report"])
def test_every_key_is_in_the_table_and_every_promised_key_is_there(flow, job):
    written, known = flow.runs[job].own_keys(), keys_of(job)
    assert {key for key in written if not any(k.matches(key) for k in known)} == set()
    absent = {
        "fit-adapter": {"val/predicted_centred_cosine"},  # no encoder is named
        "evaluate": {"eval/<metric>_published", "eval/<metric>_null", "eval/brain_correlation_<region>"},
    }.get(job, set())
    promised = [key for key in known if key.name not in absent]
    assert [key.name for key in promised if not any(key.matches(name) for name in written)] == []


def cells(sheet):
    """The pictures of a composite, without their words."""
    side = sheet.shape[0] - CAPTION_PX
    return [sheet[CAPTION_PX:, place : place + side] for place in range(0, sheet.shape[1], side)]


def enlarged(picture, side=128):
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def test_a_panel_shows_the_trials_that_it_names(flow):
    run = flow.runs["fit-adapter"]
    panels, captions = run.pictures("val/panel"), run.captions("val/panel")
    ids = np.unique(flow.table.nsd_id[flow.table.split == "val"])[:8]
    train = set(flow.table.nsd_id[flow.table.split == "train"].tolist())
    assert [int(text.split(",")[0].removeprefix("nsd")) for text in captions] == ids.tolist()
    seen = [enlarged(flow.stimuli.read([i])[0]) for i in ids]
    for place, sheet in enumerate(panels):
        shown = cells(sheet)
        assert len(shown) == 4
        assert alike(shown[0], seen[place]) < JPEG
        others = [alike(shown[0], other) for number, other in enumerate(seen) if number != place]
        assert min(others) > 2 * JPEG
    nearest = [cells(sheet)[3] for sheet in panels]
    everything = {i: enlarged(flow.stimuli.read([i])[0]) for i in train}
    assert all(min(alike(picture, other) for other in everything.values()) < JPEG for picture in nearest)
    assert 0 < run.summary["val/clip_cos_recon"]["max"] <= 1


def test_the_table_holds_the_pictures_and_scores_of_each_trial(flow):
    recon = flow.folder / "outputs/recon/subj01/ridge_diffusion"
    columns, rows = flow.runs["evaluate"].table("eval/per_image")
    assert columns[:4] == ["nsd_id", "ground_truth", "reconstruction", "nearest"]
    assert len(rows) == 3
    results = {result["nsdId"]: result for result in json.loads((recon / "decode_summary.json").read_text())["results"]}
    for row in rows:
        result = results[row[0]]
        drawn = np.asarray(Image.open(recon / result["image_path"]))
        assert alike(row[2], drawn) < JPEG
        assert min(alike(row[2], other[2]) for other in rows if other is not row) > 2 * JPEG
        (size,) = {row[1].shape[:2]}
        for shown, nsd_id in ((row[1], row[0]), (row[3], result["nn_nsdId"])):
            original = Image.fromarray(flow.stimuli.read([nsd_id])[0])
            original.thumbnail(size[::-1], Image.Resampling.LANCZOS)
            assert alike(shown, np.asarray(original)) < JPEG


def test_the_summary_is_that_of_the_file(flow):
    recon = flow.folder / "outputs/recon/subj01/ridge_diffusion"
    metrics = json.loads((recon / "evaluation/demo/summary.json").read_text())["metrics"]
    logged = flow.runs["evaluate"].summary
    for name, entry in metrics.items():
        assert logged.get(f"eval/{name}") == pytest.approx(entry["value"]), name
        for word in ("ci_low", "ci_high", "ceiling"):
            assert logged.get(f"eval/{name}_{word}") == pytest.approx(entry[word]), (name, word)
    assert not [key for key in logged if key.endswith("_published")], "a simulated brain stands beside no publication"


def test_predict_counts_its_pictures(flow):
    counts = [item["predict/done"] for item in flow.runs["predict"].history if "predict/done" in item]
    assert counts == [2, 4, 4]
    assert flow.runs["predict"].summary["predict/failed"] == 0


def test_pictures_lead_back_to_what_they_were_made_from(flow):
    about = {
        artifact["type"]: json.loads(artifact["metadata"])
        for run in flow.runs.values()
        for artifact in run.artifacts
        if artifact["type"] != "run_table"
    }
    assert list(about) == ["adapter", "reconstructions", "evaluation"]
    pictures, adapter = about["reconstructions"]["inputs"], about["adapter"]
    assert pictures["adapter"] == adapter["content_hash"]
    assert adapter["inputs"]["clip_cache"] == pictures["clip_cache"]
    assert {"index", "betas", "preproc", "split", "encoder"} <= set(pictures)
    assert flow.runs["predict"].config["inputs"] == pictures


def test_the_page_is_on_the_dashboard_as_it_was_written(flow):
    run = flow.runs["report"]
    (logged,) = (run.folder / "files").rglob("*.html")
    page = flow.folder / "outputs/recon/subj01/ridge_diffusion/report/index.html"
    assert logged.read_bytes() == page.read_bytes()


def test_stimuli_stay_here_where_they_are_not_to_be_sent(flow):
    columns, rows = flow.without.table("eval/per_image")
    assert columns[:2] == ["nsd_id", "reconstruction"]
    assert not {"ground_truth", "nearest"} & set(columns)
    with_them = {row[0]: row[2] for row in flow.runs["evaluate"].table("eval/per_image")[1]}
    shown = {row[0]: row[1] for row in rows}
    assert all(np.array_equal(shown[nsd_id], picture) for nsd_id, picture in with_them.items())
    assert sum(isinstance(value, np.ndarray) for row in rows for value in row) == len(rows) == 4
