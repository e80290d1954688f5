"""The page as a whole: what it says, what it asks for, and what it refuses."""

import csv
import json
import re

import pytest

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.report.command import report
from tests.report.conftest import IDS, write_evaluation, write_run
from tests.report.reading import write_page


def test_page_fetches_nothing(scored_run, tmp_path):
    page = write_page([scored_run], tmp_path / "page")
    assert page.images
    assert all(address.startswith("data:") for address in page.fetched)
    assert "default-src 'none'" in page.html
    assert not re.search(r"url\((?!['\"]?(#|data:))", page.html)
    assert not any(script.get("src") or script.get("type") == "module" for script in page.scripts)


def test_scores_and_verdict_are_those_of_the_evaluation(scored_run, tmp_path):
    page = write_page([scored_run], tmp_path / "page")
    assert "80.0 % (95 % interval 70.0 to 90.0), chance 50.0 %, shuffled control 50.0 %" in page.text
    assert "The pictures follow the simulated brain." in page.text
    assert "0.312" in page.text
    assert "circular" in page.text
    assert "inception (needs the extra eval-nets)" in page.text


def test_the_page_says_what_is_simulated(scored_run, tmp_path):
    page = write_page([scored_run], tmp_path / "page")
    assert "Nothing on this page was measured on NSD." in page.text
    assert "The brain is simulated" in page.text
    assert "mini models" in page.text


def test_the_page_says_who_is_missing(scored_run, tmp_path):
    page = write_page([scored_run], tmp_path / "whole")
    assert "Not everybody" not in page.text
    page = write_page([scored_run], tmp_path / "page", missing=["subj03: betas failed", "subj05: <not> evaluated"])
    assert "Not everybody is on this page. Missing: subj03: betas failed; subj05: <not> evaluated." in page.text
    assert "<not>" not in page.html, "it is text and no markup"


def test_a_real_run_is_not_called_simulated(tmp_path, stimuli_root):
    provenance = {"root": str(stimuli_root), "decoder": {"family": "unclip"}, "spaces": {}}
    run = write_run(
        tmp_path / "run", stimuli_root, simulated=False, diffusion_model="some/unclip", provenance=provenance
    )
    page = write_page([run], tmp_path / "page")
    assert "Nothing on this page" not in page.text


def test_a_null_decoder_is_called_one_whatever_it_scores(tmp_path, stimuli_root):
    run = write_run(tmp_path / "run", stimuli_root, null_decoder="text only, the embedding is not used")
    write_evaluation(run, value=0.99, low=0.98, high=1.0, null=(0.5, 0.4, 0.6))
    page = write_page([run], tmp_path / "page")
    assert "Not every picture on this page was drawn from a brain." in page.text
    assert "mlp, null decoder is a null (text only, the embedding is not used)" in page.text
    assert "they follow no brain" in page.text
    assert "The pictures follow" not in page.text
    assert "drawn from a text, not from the brain" in page.html


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        ({"value": 0.52, "low": 0.47, "high": 0.58}, "is not shown"),
        ({"value": 0.8, "low": 0.7, "high": 0.9, "null": (0.75, 0.6, 0.85)}, "is not shown"),
        ({"value": 0.8, "low": None, "high": None}, "is not shown"),
        ({"value": 0.8, "low": 0.7, "high": 0.9, "null": None}, "the cause is not shown"),
    ],
)
def test_no_claim_without_evidence(tmp_path, stimuli_root, evaluation, said):
    run = write_run(tmp_path / "run", stimuli_root)
    write_evaluation(run, **evaluation)
    page = write_page([run], tmp_path / "page")
    assert said in page.text
    assert "The pictures follow" not in page.text


def test_a_collapsed_encoder_is_said_whatever_the_pictures_score(tmp_path, stimuli_root):
    run = write_run(tmp_path / "run", stimuli_root)
    write_evaluation(run, centred_low=-0.01)
    page = write_page([run], tmp_path / "page")
    assert "has not been shown to predict better than the mean training embedding does" in page.text
    assert "0.200 (95 % interval -0.010 to 0.300)" in page.text
    assert "The pictures follow" not in page.text


def test_runs_stand_side_by_side(scored_run, tmp_path, stimuli_root):
    ridge = write_run(tmp_path / "ridge_diffusion", stimuli_root, encoder="ridge")
    write_evaluation(ridge, value=0.7, low=0.6, high=0.75)
    page = write_page([ridge, scored_run], tmp_path / "page")
    assert {"ridge/generated", "mlp/generated"} <= {column["name"] for column in page.gallery["columns"]}
    assert "70.0 %" in page.text
    assert page.html.count("ridge: from the brain") >= 1
    assert "ridge has no control true_target" in page.text


def test_a_borrowed_control_is_named_and_measures_only_the_null(tmp_path, stimuli_root):
    ridge = write_run(tmp_path / "ridge_diffusion", stimuli_root, encoder="ridge")
    write_evaluation(ridge)
    path = ridge / "evaluation/demo/summary.json"
    summary = json.loads(path.read_text())
    rows = summary["metrics"]["judge2_two_way"]["rows"]
    rows["shuffled_as_drawn"] = {"value": 0.79, "ci_low": 0.7, "ci_high": 0.9}
    path.write_text(json.dumps(summary))
    page = write_page([ridge], tmp_path / "own")
    assert "ridge: shuffled, against its source" in page.html
    for row in (rows["shuffled"], rows["shuffled_as_drawn"]):
        row["from"] = "mlp_diffusion"
    path.write_text(json.dumps(summary))
    page = write_page([ridge], tmp_path / "borrowed")
    assert "shuffled control of mlp_diffusion 50.0 %" in page.text
    assert "its scores use that of mlp_diffusion" in page.text
    assert "ridge: shuffled, against its source" not in page.html


def test_two_runs_of_one_encoder_keep_apart(tmp_path, stimuli_root):
    runs = [write_run(tmp_path / name, stimuli_root) for name in ("mlp_diffusion", "mlp_nearest")]
    page = write_page(runs, tmp_path / "page")
    names = {column["name"] for column in page.gallery["columns"]}
    assert {"subj01 mlp_diffusion/generated", "subj01 mlp_nearest/generated"} <= names


def test_missing_scores_and_controls_are_said(tmp_path, stimuli_root):
    run = write_run(tmp_path / "run", stimuli_root)
    page = write_page([run], tmp_path / "page")
    assert "not scored yet" in page.text
    assert "mlp was not scored: run fmri-lightning evaluate" in page.text
    assert "no control shuffled" in page.text


def test_missing_ground_truth_is_said_and_never_replaced(scored_run, tmp_path, stimuli_root):
    summary = json.loads((scored_run / "decode_summary.json").read_text())
    summary["provenance"]["root"] = str(tmp_path / "gone")
    (scored_run / "decode_summary.json").write_text(json.dumps(summary))
    page = write_page([scored_run], tmp_path / "page")
    assert "No ground truth" in page.text
    assert not any(image["alt"].startswith("Stimulus") for image in page.images)
    page = write_page([scored_run], tmp_path / "page", root=stimuli_root)
    assert "No ground truth" not in page.text
    with pytest.raises(BadInputError, match="gone"):
        report(run=[scored_run], out=tmp_path / "page", root=tmp_path / "gone")


def test_failures_are_listed(tmp_path, stimuli_root):
    run = write_run(tmp_path / "run", stimuli_root, failures=[{"trial_id": 7, "nsdId": 77, "reason": "NaN latents"}])
    page = write_page([run], tmp_path / "page")
    assert "failed to draw 1 pictures: nsd77 (NaN latents)" in page.text


def test_csv_has_one_line_a_picture_with_its_scores(scored_run, tmp_path):
    write_page([scored_run], tmp_path / "page")
    with open(tmp_path / "page/data.csv", newline="") as handle:
        lines = list(csv.DictReader(handle))
    assert len(lines) == 3 * len(IDS)
    (line,) = [x for x in lines if x["condition"] == "predicted" and x["nsd_id"] == "9"]
    assert (line["trial_id"], line["nn_nsd_id"], float(line["judge2_two_way"])) == ("1", "2", 0.5)


def test_absolute_paths_are_shortened(tmp_path, stimuli_root):
    run = write_run(tmp_path / "run", stimuli_root, checkpoint="/data/somebody/secret/project/runs/a/b/mlp.ckpt")
    page = write_page([run], tmp_path / "page")
    assert "…/runs/a/b/mlp.ckpt" in page.text
    assert "somebody" not in page.html
    assert str(stimuli_root) not in page.html


def test_bad_input_is_refused_before_anything_is_written(tmp_path, stimuli_root, scored_run):
    with pytest.raises(BadInputError, match="no run folder"):
        report(run=[tmp_path / "none"], out=tmp_path / "page")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="predict has not finished"):
        report(run=[tmp_path / "empty"], out=tmp_path / "page")
    with pytest.raises(UsageError, match="--out"):
        report(run=[scored_run, scored_run])
    (scored_run / "images/nsd12_generated.png").unlink()
    with pytest.raises(BadInputError, match="nsd12_generated\\.png is missing"):
        report(run=[scored_run], out=tmp_path / "page")
    assert not (tmp_path / "page").exists()
    assert not (scored_run / "grids").exists()


def test_runs_on_different_data_are_not_mixed(tmp_path, scored_run):
    other = write_run(tmp_path / "other", tmp_path / "elsewhere", encoder="ridge")
    with pytest.raises(BadInputError, match="different data"):
        report(run=[scored_run, other], out=tmp_path / "page")


def test_dry_run_writes_nothing(scored_run, capsys):
    report(run=[scored_run], dry_run=True)
    assert "1 runs, 4 stimuli" in capsys.readouterr().out
    assert not (scored_run / "report").exists()
    assert not (scored_run / "grids").exists()


@pytest.mark.parametrize("inputs", [{"encoder": "ab", "split": "cd"}, {"split": "cd"}])
def test_held_out_is_said_of_encoders_that_predict_has_checked_only(tmp_path, stimuli_root, inputs):
    provenance = {"root": str(stimuli_root), "decoder": {"family": "mini"}, "spaces": {}, "inputs": inputs}
    run = write_run(tmp_path / "run", stimuli_root, provenance=provenance)
    page = write_page([run], tmp_path / "page")
    assert ("None of these stimuli was used to fit the map" in page.text) == ("encoder" in inputs)
