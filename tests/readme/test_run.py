"""Every block marked ``run`` is executed with the miniature in NSD's place; what a guide promises must be there."""

from __future__ import annotations

import json

import pytest

from tests.readme.guides import GUIDES, PACKAGE, ROOT, Step, name_of, steps_of, whole_run

RUN = [guide for guide in GUIDES if whole_run(guide)]
pytestmark = pytest.mark.slow


def finished(runs, name):
    return runs.after(whole_run(ROOT / name))


def own_commands(name):
    return [step.words[0] for step in steps_of((ROOT / name).read_text()) if step.words]


@pytest.mark.parametrize("guide", RUN, ids=name_of)
def test_what_a_guide_shows_runs(runs, guide):
    assert runs.after(whole_run(guide)).folder.is_dir()


def test_the_first_page_goes_from_raw_files_to_a_page(runs):
    assert own_commands("README.md") == [
        "index", "betas", "clip-cache", "clip-cache", "fit", "fit", "fit", "predict", "evaluate", "report",
    ]  # fmt: skip
    run = finished(runs, "README.md").folder / "outputs" / "recon" / "subj01" / "ridge_diffusion"
    assert len(list((run / "images").glob("nsd*_generated.png"))) == 4
    assert (run / "report" / "index.html").is_file()


def test_a_generator_of_ones_own_draws_from_the_encoders_own_space(runs):
    """The guide of generation/training: no adapter between the encoder's 512-D prediction and the picture."""
    folder = finished(runs, "fmri_lightning/generation/training/README.md").folder
    run = folder / "outputs" / "recon" / "subj01" / "ridge_diffusion"
    assert len(list((run / "images").glob("nsd*_generated.png"))) == 4


def test_the_data_guide_checks_files_and_reads_them(runs):
    assert own_commands("fmri_lightning/index/README.md") == ["index", "doctor", "betas", "betas", "clip-cache"]
    done = finished(runs, "fmri_lightning/index/README.md")
    assert "FAILED" not in "".join(done.printed)
    assert (done.folder / "outputs" / "betas" / "subj01" / "betas.npy").is_file()
    assert (done.folder / "outputs" / "clip_cache" / "clip.parquet").is_file()


def test_encoders_adapter_and_calibration_are_left_where_the_guides_say(runs):
    assert own_commands("fmri_lightning/encoder/README.md") == ["fit"] * 4 + ["predict"]
    assert own_commands("fmri_lightning/adapter/README.md") == ["fit", "fit", "calibrate"]
    encoders = finished(runs, "fmri_lightning/encoder/README.md").folder
    adapters = finished(runs, "fmri_lightning/adapter/README.md").folder
    assert (encoders / "checkpoints/ridge/subj01/subj01_ridge.json").is_file()
    assert (encoders / "checkpoints/residual/subj01/residual.ckpt").is_file()
    assert (adapters / "checkpoints/calibration/ridge/subj01").is_dir()
    assert len(list((encoders / "outputs/recon/subj01/direct_diffusion/images").glob("nsd*_generated.png"))) == 4


def test_generation_says_what_it_would_draw_draws_samples_and_retrieves(runs):
    guide = PACKAGE / "generation" / "README.md"
    own = steps_of(guide.read_text())
    assert [step.words[0] for step in own] == ["predict"] * 3 + ["clip-cache", "fit", "predict"]
    done = runs.after(whole_run(guide))
    assert "4 pictures to draw (0 done)" in done.printed[-6]
    recon = done.folder / "outputs" / "recon" / "subj01"
    assert len(list((recon / "ridge_best_of_4" / "samples").glob("nsd*_k*.png"))) == 16
    assert len(list((recon / "ridge_nearest_neighbour" / "images").glob("nsd*_generated.png"))) == 4
    assert len(list((recon / "ridge_low_level" / "low_level").glob("nsd*_low_level.png"))) == 4
    assert not (recon / "ridge_diffusion").exists(), "a dry run leaves nothing"


def test_the_simulated_tree_is_one_that_index_takes(runs):
    done = finished(runs, "fmri_lightning/simulate/README.md")
    assert (done.folder / "nsd" / "SIMULATED.json").is_file()
    assert "already holds this simulation" in "".join(done.printed)


def test_the_guide_of_betas_shows_the_store_that_it_makes(runs):
    done = finished(runs, "fmri_lightning/betas/README.md")
    manifest = json.loads((done.folder / "outputs" / "preproc_t2" / "subj01" / "manifest.json").read_text())
    assert manifest["config"]["tier"] == "T2"
    assert str(manifest["config"]["n_features"]) in done.said


def test_two_folders_of_pictures_are_scored_and_shown_to_raters(runs):
    done = finished(runs, "fmri_lightning/evaluation/ratings/README.md")
    summary = json.loads((done.folder / "outputs/evaluation/their_pictures/mindeye/summary.json").read_text())
    assert summary["metrics"]["pixcorr"]["value"] > 0.5
    assert (done.folder / "blind" / "ratings.html").is_file()


def test_the_doctor_finds_nothing_in_the_run_of_the_first_page(runs):
    done = finished(runs, "fmri_lightning/doctor/README.md")
    assert "FAILED" not in "".join(done.printed)


def test_the_known_brain_is_scored_beside_its_ceilings(runs):
    done = finished(runs, "fmri_lightning/ceiling/README.md")
    modes = json.loads((done.folder / "outputs" / "ceiling" / "ceiling.json").read_text())["modes"]
    assert set(modes) == {"average", "single"}


def test_a_shared_beginning_is_executed_once(runs):
    """The first page's index is the beginning of several guides."""
    index = Step(words=("index", "--root", "$NSD", "--subject", "subj01"))
    users = [guide for guide in RUN if whole_run(guide)[0] == index]
    assert len(users) > 3
    for guide in users:
        runs.after(whole_run(guide))
    assert [step for step, _ in runs.executed].count(index) == 1


def test_a_step_that_fails_is_named(runs):
    with pytest.raises(AssertionError, match="here:1 ended with 3: index --root gone"):
        runs.after([Step(words=("index", "--root", "gone"), place="here:1")])
