"""The command itself: a subject that fails is named, the other is in the table, and the same command mends it."""

import csv
import json

import pytest

from fmri_lightning.cli import main
from tests.evaluation.tables.conftest import Written
from tests.index.tiny_nsd import write_tiny_nsd

NAME = "ridge_diffusion"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Two subjects with raw data, and with scores of an earlier run written by hand."""
    monkeypatch.chdir(tmp_path)
    write_tiny_nsd(tmp_path / "nsd")
    written = Written(tmp_path / "outputs" / "recon")
    for subject, scores in (("subj01", [0.1, 0.3]), ("subj02", [0.5, 0.7])):
        written.run(NAME, {"pixcorr": scores}, subject=subject)
        (tmp_path / "outputs/recon" / subject / NAME / "decode_summary.json").write_text("{}")
    return tmp_path


def subjects(*words):
    return main(["subjects", "--root", "nsd", "--betas_options=--mask roi", *words])


def rows(study):
    with (study / "outputs" / "subjects" / NAME / "table" / "demo" / "table.csv").open(newline="") as handle:
        found = [row for row in csv.DictReader(handle) if row["source"] == "run" and row["metric"] == "pixcorr"]
    return {row["subject"]: (row["value"] and float(row["value"]), row["caveat"]) for row in found}


def break_betas(study, subject):
    """Cut the last session's file short, as a download that was stopped; returns how to mend it."""
    files = sorted((study / "nsd/nsddata_betas/ppdata" / subject).rglob("betas_session*"))
    whole = {file: file.read_bytes() for file in files}
    for file in files:
        file.write_bytes(whole[file][:3000])
    return lambda: [file.write_bytes(content) for file, content in whole.items()]


def test_a_failed_subject_is_named_and_the_same_command_mends_it(study, capsys):
    mend = break_betas(study, "subj02")
    steps = ("--steps", "index,betas,table")
    assert subjects(*steps) == 1
    said = capsys.readouterr()
    assert "1 of 2 subjects are missing: subj02: betas failed (exit code 3)" in said.err
    assert "subj02: betas failed (exit code 3): nsd/nsddata_betas/ppdata/subj02" in said.out, "its last message"
    assert (study / "outputs/betas/subj01/manifest.json").is_file()
    found = rows(study)
    assert found["subj01"][0] == pytest.approx(0.2)
    assert found["subj02"][0] == "", "scores of before a failure are not those of this run"
    assert "betas failed (exit code 3)" in found["subj02"][1]
    assert "mean of 2 subjects" not in found
    table = (study / "outputs/subjects" / NAME / "table/demo/table.md").read_text()
    assert "- missing: subj02 (betas failed (exit code 3))" in table

    # The closing job of a cluster knows it from the record.
    assert main(["subjects", "--root", "nsd", "--steps", "table"]) == 1
    assert "subj02: betas failed" in capsys.readouterr().err

    mend()
    assert subjects(*steps, "--jobs", "2") == 0
    found = rows(study)
    assert found["subj02"][0] == pytest.approx(0.6)
    assert found["mean of 2 subjects"][0] == pytest.approx(0.4)
    log = (study / "outputs/subjects" / NAME / "subj01/log.txt").read_text()
    assert log.count("unchanged") == 1, "a finished stage recognises its work"


def test_who_was_never_evaluated_is_missing_too(study, capsys):
    (study / "outputs/recon/subj02" / NAME / "evaluation/demo/manifest.json").unlink()
    assert subjects("--steps", "table") == 1
    assert "subj02: not evaluated by protocol demo" in capsys.readouterr().err
    assert set(rows(study)) == {"subj01", "subj02"}


def test_a_closing_job_needs_no_data_of_subjects_that_are_named(study, capsys):
    assert main(["subjects", "--root", "gone", "--subjects", "1-3", "--steps", "table"]) == 1
    assert "1 of 3 subjects are missing: subj03" in capsys.readouterr().err


def test_nobody_makes_no_table(study, capsys):
    break_betas(study, "subj01")
    break_betas(study, "subj02")
    assert subjects("--steps", "index,betas,table") == 1
    assert "no table: there is nobody to put into it" in capsys.readouterr().out
    assert not (study / "outputs/subjects" / NAME / "table").exists()


def test_without_what_all_share_no_subject_is_begun(study, capsys):
    (study / "nsd/nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5").write_bytes(b"cut off")
    assert subjects("--steps", "clip-cache,index", "--space", "mini-source", "--target_space", "none") == 3
    assert "no subject was begun, clip-cache failed (exit code 3)" in capsys.readouterr().err
    assert not (study / "outputs/nsd_index").exists()


def test_a_page_that_fails_is_told_with_its_code(study, capsys):
    """The summaries of this study are empty, so report refuses them."""
    assert subjects("--steps", "table,report") == 3
    said = capsys.readouterr()
    assert "no page, report failed (exit code 3)" in said.err
    assert "table.md" in said.out, "the table was written before"


def test_runs_that_do_not_belong_in_one_table_are_refused(study, capsys):
    summary = study / "outputs/recon/subj02" / NAME / "evaluation/demo/summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"trial_mode": "single"}))
    assert subjects("--steps", "table") == 3
    assert "one table holds one trial mode" in capsys.readouterr().err
