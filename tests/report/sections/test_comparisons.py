"""Runs against each other, against what evaluate's own tables say."""

import csv

import pytest

from fmri_lightning.evaluation.tables.writing import write_tables
from fmri_lightning.report.runs import read_runs
from fmri_lightning.report.sections import comparisons
from fmri_lightning.report.sections.section import Material
from tests.report.sections.written import METRICS_OF_DEMO, Page, label_of, render, write_run, write_scores


def page_of(*folders):
    section = comparisons.build(Material(read_runs(list(folders)), "demo"))
    return None if section is None else Page(render(section))


def table_of(out, folders):
    write_tables([folder / "evaluation/demo" for folder in folders], out, literature=False, n_resamples=200, seed=0)
    with open(out / "comparisons.csv", newline="") as handle:
        comparisons_written = list(csv.DictReader(handle))
    with open(out / "table.csv", newline="") as handle:
        return comparisons_written, list(csv.DictReader(handle))


@pytest.fixture
def two(tmp_path):
    ridge, mlp = write_run(tmp_path / "ridge_diffusion", encoder="ridge"), write_run(tmp_path / "mlp_diffusion")
    write_scores(ridge, seed=1)
    write_scores(mlp, seed=2, lead=0.2)
    return ridge, mlp


def test_paired_tests_are_those_of_evaluate(two, tmp_path):
    (table,) = page_of(*two).tables
    written, _ = table_of(tmp_path / "tables", two)
    assert {one["first"] for one in written} == {"mlp + mini"}
    assert table.caption == "subj01, protocol demo: mlp minus ridge"
    assert len(table.rows) == len(written) + 1
    for one in written:
        (_, difference, interval, better, p, p_holm, n, _) = table.row(label_of(one["metric"]))
        low, high = float(one["ci_low"]), float(one["ci_high"])
        assert float(difference[1]) == pytest.approx(float(one["difference"]), abs=1e-12)
        assert [float(end) for end in interval[1].split(" to ")] == pytest.approx([low, high], abs=1e-12)
        assert (float(p[1]), float(p_holm[1]), n[0]) == (float(one["p"]), float(one["p_holm"]), one["n"])
        # The lead is a lead in two metrics and a lag in the distance.
        assert better[0] == ("ridge" if one["metric"] == "judge_distance" else "mlp")
        assert low > 0


def test_runs_that_are_alike_are_not_told_apart(two):
    write_scores(two[1], seed=1)
    (table,) = page_of(*two).tables
    assert {cells[3][0] for cells in table.rows[1:]} == {"not told apart"}


def test_one_run_is_compared_with_nothing(two):
    assert page_of(two[0]) is None


def test_several_subjects_have_a_mean_and_no_paired_test(tmp_path):
    runs = [write_run(tmp_path / name / "mlp_diffusion", subject=name) for name in ("subj01", "subj02")]
    for seed, run in enumerate(runs):
        write_scores(run, seed=seed)
    page = page_of(*runs)
    (table,) = page.tables
    _, written = table_of(tmp_path / "tables", runs)
    mean = table.rows[-1]
    assert mean[1][0] == "mean of 2 subjects"
    for metric in METRICS_OF_DEMO:
        at = next(i for i, said in enumerate(table.columns) if said.startswith(label_of(metric)))
        (value,) = [
            float(one["value"])
            for one in written
            if (one["metric"], one["subject"], one["source"]) == (metric, "mean of 2 subjects", "run")
        ]
        assert float(mean[at][1]) == pytest.approx(value, abs=1e-12)
    assert "it speaks of other stimuli, not of other subjects" in page.text


def test_runs_that_do_not_belong_in_one_table_are_refused_in_a_line(two, tmp_path):
    other = write_run(tmp_path / "other_diffusion", encoder="other")
    write_scores(other, test_set="shared982")
    page = page_of(two[0], other)
    assert page.tables == []
    assert "Not compared by protocol demo" in page.text
    assert "test set" in page.text
    assert str(tmp_path) not in page.text
