"""Eight simulated subjects go through one command to one table; one that is broken is named, and seven finish.

Most of the time is the start of Python, once a command.
"""

import csv
import json
import os
import shutil
import subprocess
import sys

import pytest

from fmri_lightning.cli import main

pytestmark = pytest.mark.slow
SUBJECTS = [f"subj{number:02d}" for number in range(1, 9)]
BROKEN = "subj03"
SMALL = {"shared": "24", "unique": "96", "sessions": "4", "missing_sessions": "1", "nsdgeneral_voxels": "200"}
FEW_VOXELS_AND_TRIALS = "--betas_options=--mask roi"
QUICK = "--evaluate_options=--resamples 200"


def simulate(root, subjects):
    words = [word for name, value in SMALL.items() for word in (f"--{name}", value)]
    assert main(["simulate", "--out", str(root), "--subjects", subjects, "--nifti", "none", *words]) == 0


def study(folder, *words):
    """Run the command as one would, in a process of its own, its children sharing compiled modules."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
    given = [sys.executable, "-m", "fmri_lightning", "subjects", "--root", "nsd", FEW_VOXELS_AND_TRIALS, QUICK, *words]
    return subprocess.run(given, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def table_of(folder, name):
    with (folder / "outputs" / "subjects" / name / "table" / "demo" / "table.csv").open(newline="") as handle:
        found = [row for row in csv.DictReader(handle) if row["source"] == "run" and row["metric"] == "pixcorr"]
    return {row["subject"]: row for row in found}


def test_eight_subjects_and_one_of_them_broken(tmp_path):
    simulate(tmp_path / "nsd", ",".join(map(str, range(1, 9))))
    (session,) = (tmp_path / "nsd" / "nsddata_betas" / "ppdata" / BROKEN).rglob("betas_session02.hdf5")
    session.write_bytes(session.read_bytes()[:20000])
    words = ("--decoder", "nearest_neighbour", "--space", "mini-source", "--predict_options=--data.limit 8")
    done = study(tmp_path, *words)

    assert done.returncode == 1, done.stdout + done.stderr
    assert f"1 of 8 subjects are missing: {BROKEN}: betas failed (exit code 3)" in done.stderr
    assert f"{session.relative_to(tmp_path)} is not a whole HDF5 file" in done.stdout
    rows = table_of(tmp_path, "ridge_nearest_neighbour")
    assert list(rows) == [*SUBJECTS, "mean of 7 subjects"]
    finished = [subject for subject in SUBJECTS if subject != BROKEN]
    values = {subject: float(rows[subject]["value"]) for subject in finished}
    for subject in finished:
        run = tmp_path / "outputs" / "recon" / subject / "ridge_nearest_neighbour"
        scored = json.loads((run / "evaluation" / "demo" / "summary.json").read_text())
        assert scored["subject"] == subject
        assert values[subject] == pytest.approx(scored["metrics"]["pixcorr"]["value"])
    assert len(set(values.values())) == 7, "seven brains, seven scores"
    assert rows[BROKEN]["value"] == ""
    assert "betas failed (exit code 3)" in rows[BROKEN]["caveat"]
    mean = rows["mean of 7 subjects"]
    assert float(mean["value"]) == pytest.approx(sum(values.values()) / 7)
    assert float(mean["ci_low"]) < float(mean["value"]) < float(mean["ci_high"])
    page = (tmp_path / "outputs/subjects/ridge_nearest_neighbour/report/index.html").read_text()
    assert f"Missing: {BROKEN}: betas failed (exit code 3)." in page
    assert all(subject in page for subject in finished)


def test_one_subject_through_every_step_and_again(tmp_path):
    """Adapter, calibration and controls too, drawn by the mini generator; the second time nothing is fitted."""
    simulate(tmp_path / "nsd", "1")
    words = (
        "--decoder", "mini", "--calibrate", "--conditions", "predicted,shuffled",
        "--predict_options=--data.limit 4 --model.num_inference_steps 2", "--adapter_options=--trainer.max_epochs 2",
    )  # fmt: skip
    done = study(tmp_path, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "outputs" / "recon" / "subj01" / "ridge_diffusion"
    summary = json.loads((run / "evaluation" / "demo" / "summary.json").read_text())
    assert summary["metrics"]["pixcorr"]["rows"]["shuffled"]["from"] is None, "its own control was scored beside it"
    assert (tmp_path / "checkpoints" / "ridge_diffusion" / "calibration" / "ridge" / "subj01").is_dir()
    assert list(table_of(tmp_path, "ridge_diffusion")) == ["subj01"]

    scored = (run / "evaluation" / "demo" / "manifest.json").read_bytes()
    shutil.rmtree(tmp_path / "outputs" / "subjects" / "ridge_diffusion" / "table")
    again = study(tmp_path, *words, "--steps", "index,betas,fit,adapter,calibrate,evaluate,table")
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("done before, taken as it is") == 4, again.stdout
    assert (run / "evaluation" / "demo" / "manifest.json").read_bytes() == scored
    assert list(table_of(tmp_path, "ridge_diffusion")) == ["subj01"]
