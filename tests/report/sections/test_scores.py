"""The table of scores against summary.json, number by number."""

import json

import pytest

from fmri_lightning.report.runs import read_runs
from fmri_lightning.report.sections import scores
from fmri_lightning.report.sections.section import Material
from tests.report.sections.written import METRICS_OF_DEMO, Page, change, label_of, render, write_run, write_scores


def page_of(*folders, share=False):
    runs = read_runs(list(folders))
    return Page(render(scores.build(Material(runs, "demo", share))))


def column(table, metric, name, nth=0):
    """Text and every digit of a cell, by the name of its column."""
    at = [i for i, said in enumerate(table.columns[-(len(table.row(label_of(metric))) - 1) :], 1) if said == name]
    text, raw, _ = table.row(label_of(metric))[at[nth]]
    return text, raw


def test_every_number_is_that_of_the_summary(tmp_path):
    run = write_run(tmp_path / "mlp_diffusion")
    summary = write_scores(run)
    (table, _) = page_of(run).tables
    assert not table.folded
    assert table.download == "scores-demo.csv"
    for metric in (*METRICS_OF_DEMO, "source_centred_cosine"):
        entry = summary["metrics"][metric]
        found = {name: column(table, metric, name)[1] for name in table.columns[1:]}
        assert float(found["value"]) == entry["value"]
        assert found["95 % interval"] == f"{entry['ci_low']!r} to {entry['ci_high']!r}"
        assert float(found["shuffled"]) == entry["null"]
        assert float(found["ceiling"]) == entry["ceiling"]
        assert float(found["nearest training picture"]) == entry["rows"]["nearest_training"]["value"]
        assert float(found["shuffled → ceiling"]) == entry["fraction"]
        chance = found["chance"]
        assert (None if chance is None else float(chance)) == entry["chance"]
    judge = summary["metrics"]["judge2_two_way"]
    assert column(table, "judge2_two_way", "value")[0] == f"{100 * judge['value']:.1f} %"
    low, high = (100 * end for end in judge["fraction_ci"])
    share = f"{100 * judge['fraction']:.0f} % {low:.0f} to {high:.0f}"
    assert column(table, "judge2_two_way", "shuffled → ceiling")[0] == share


def test_directions_ceilings_and_notes_are_told(tmp_path):
    run = write_run(tmp_path / "mlp_diffusion")
    write_scores(
        run, caveats=[{"kind": "missing", "sentence": "3 files of /data/jane/lab/x/y are missing", "names": []}]
    )
    page = page_of(run)
    table = page.tables[0]
    assert table.row("judge distance")[0][0] == "judge distance ↓stands in for LPIPS"
    assert table.row("two-way, judge layer 2")[0][0].startswith("two-way, judge layer 2 ↑")
    assert column(table, "pixcorr", "ceiling")[0].endswith("real embedding")
    assert column(table, "source_centred_cosine", "ceiling")[0] == "0.900 repeats"
    assert "circular" in table.row("centred embedding cosine")[0][0]
    assert "mlp must not be compared with published numbers: simulated brain" in page.text
    assert "mlp: 3 files of …/lab/x/y are missing" in page.text
    assert "Retrieval: picture_from_brain looks a picture up by a brain." in page.text
    assert "inception, LPIPS (needs the extra eval-nets)" in page.text


def test_variants_of_retrieval_are_folded_away(tmp_path):
    run = write_run(tmp_path / "mlp_diffusion")
    summary = write_scores(run)
    short, further = page_of(run).tables
    assert further.folded
    assert not any("CSLS" in cells[0][0] for cells in short.rows)
    value = column(further, "picture_from_brain_csls_top1", "value")[1]
    assert float(value) == summary["metrics"]["picture_from_brain_csls_top1"]["value"]


def test_columns_that_nobody_has_are_left_out(tmp_path):
    run = write_run(tmp_path / "mlp_diffusion")
    write_scores(run, rows=(), embeddings=False)
    (table,) = page_of(run).tables
    assert table.columns == ["metric", "value", "95 % interval", "chance"]


def test_runs_stand_side_by_side_with_dashes_where_one_has_nothing(tmp_path):
    ridge, mlp = write_run(tmp_path / "ridge_diffusion", encoder="ridge"), write_run(tmp_path / "mlp_diffusion")
    of_ridge = write_scores(ridge, metrics=METRICS_OF_DEMO[:1], seed=1)
    of_mlp = write_scores(mlp)
    table = page_of(ridge, mlp).tables[0]
    assert [text for text, _, _ in table.rows[0]] == ["metric", "ridge", "mlp"]
    for nth, summary in enumerate((of_ridge, of_mlp)):
        assert float(column(table, "judge2_two_way", "value", nth)[1]) == summary["metrics"]["judge2_two_way"]["value"]
    assert column(table, "pixcorr", "value", 0) == ("–", None)
    assert float(column(table, "pixcorr", "value", 1)[1]) == of_mlp["metrics"]["pixcorr"]["value"]


def test_borrowed_controls_and_undefined_scores_are_said(tmp_path):
    run = write_run(tmp_path / "mlp_diffusion")
    summary = write_scores(run)
    summary["metrics"]["pixcorr"] |= {"n_undefined": 2}
    summary["metrics"]["pixcorr"]["rows"]["shuffled"]["from"] = "ridge_diffusion"
    change(run / "evaluation/demo/summary.json", metrics=summary["metrics"])
    page = page_of(run)
    assert "undefined for 2 pictures" in page.tables[0].row("PixCorr")[0][0]
    assert "mlp stands beside controls that were drawn for ridge_diffusion" in page.text


def test_what_was_not_scored_is_said_with_its_command(tmp_path):
    unscored, scored = write_run(tmp_path / "ridge_diffusion", encoder="ridge"), write_run(tmp_path / "mlp_diffusion")
    write_scores(scored)
    summary = json.loads((scored / "evaluation/demo/summary.json").read_text())
    summary["skipped"]["brain_correlation"] = "asked for with --brain_correlation true"
    change(scored / "evaluation/demo/summary.json", skipped=summary["skipped"])
    text = page_of(unscored, scored).text
    assert "Not scored: ridge. Run fmri-lightning evaluate --run ridge_diffusion." in text
    assert "fmri-lightning evaluate --run mlp_diffusion --brain_correlation true" in text
    assert "fmri-lightning ratings --run mlp_diffusion" in text
    assert text.count("brain correlation") + text.count("brain_correlation") == 2
    assert "No calibration of mlp" in text
    assert "No scores by category" not in text


def test_a_page_without_scores_has_a_line_and_no_table(tmp_path):
    page = page_of(write_run(tmp_path / "mlp_diffusion"))
    assert page.tables == []
    assert page.headings == ["Not scored"]
    assert "Not scored: mlp." in page.text


@pytest.mark.parametrize(("share", "shown"), [(False, "…/lab/preproc"), (True, "preproc is not")])
def test_reasons_are_shown_without_the_folders_of_whoever_wrote_them(tmp_path, share, shown):
    run = write_run(tmp_path / "mlp_diffusion")
    write_scores(run)
    skipped = {"repeat_reliability": "/data/jane/lab/preproc is not the preprocessing of the run"}
    change(run / "evaluation/demo/summary.json", skipped=skipped)
    text = page_of(run, share=share).text
    assert shown in text
    assert "jane" not in text
