"""Ladder, histograms, categories, calibration, brain correlation and ratings against what was written."""

import json
from statistics import median

import pytest

from fmri_lightning.report.runs import read_runs
from fmri_lightning.report.sections import brain_correlation, calibration, categories, distributions, ladder, ratings
from fmri_lightning.report.sections.section import Material
from tests.report.sections.written import CATEGORIES, METRICS_OF_DEMO, Page, change, render, write_run, write_scores


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "mlp_diffusion")


def page_of(part, *folders):
    section = part.build(Material(read_runs(list(folders)), "demo"))
    return None if section is None else Page(render(section))


def numbers(cells):
    return [None if raw is None else float(raw) for _, raw, _ in cells]


def test_the_ladder_holds_every_rung_and_its_interval(run):
    summary = write_scores(run)
    page = page_of(ladder, run)
    entry = summary["metrics"]["judge2_two_way"]
    said = {cells[1][0]: cells[2:] for cells in page.tables[0].rows[1:]}
    rungs = {
        "real embedding": entry["rows"]["true_target"],
        "from the brain": entry,
        "shuffled, against its source": entry["rows"]["shuffled_as_drawn"],
        "nearest training picture": entry["rows"]["nearest_training"],
        "shuffled": entry["rows"]["shuffled"],
    }
    assert list(said) == list(rungs)
    for name, row in rungs.items():
        assert float(said[name][0][1]) == row["value"]
        assert said[name][1][1] == f"{row['ci_low']!r} to {row['ci_high']!r}"
        assert f"{name}: {100 * row['value']:.1f} %" in page.figures[0]["aria-label"]
    assert "Good looks like:" in page.open_text
    assert "touches chance (50.0 %)" in page.open_text


def test_rungs_that_were_not_scored_are_told_and_not_explained(run):
    write_scores(run, rows=())
    page = page_of(ladder, run)
    assert [cells[1][0] for cells in page.tables[0].rows[1:]] == ["from the brain"]
    assert "Not scored: shuffled, of mlp; run fmri-lightning predict --model.condition shuffled" in page.text
    assert "Nearest training picture" not in page.text
    write_run(run / "controls/shuffled")
    assert "the pictures are there: run fmri-lightning evaluate again" in page_of(ladder, run).text


def test_histograms_tell_the_medians_of_the_stimuli(run):
    write_scores(run)
    page = page_of(distributions, run)
    (one,) = read_runs([run])
    assert page.headings[0] == "two-way, judge layer 2"
    assert page.summaries == ["PixCorr", "judge distance", "centred embedding cosine"]
    for metric, form in (("judge2_two_way", "{:.1f} %"), ("pixcorr", "{:.3f}")):
        for condition, said in (("predicted", "from the brain"), ("shuffled", "shuffled")):
            middle = median(one.evaluations["demo"].values(metric, condition).values())
            assert f"{said} {form.format(100 * middle if '%' in form else middle)}" in page.text
    assert "Chance: 50.0 %." in page.text
    (run / "evaluation/demo/scores.parquet").unlink()
    assert page_of(distributions, run) is None


def test_categories_are_those_of_the_summary_and_escaped(run):
    summary = write_scores(run)
    section = categories.build(Material(read_runs([run]), "demo"))
    html = render(section)
    assert "<b>&" not in html
    table = Page(html).tables[0]
    for name in CATEGORIES:
        cells = table.row(name)
        entries = [summary["metrics"][metric]["groups"][name] for metric in (*METRICS_OF_DEMO, "source_centred_cosine")]
        assert cells[1][0] == "10"
        assert numbers(cells[2:]) == [entry["value"] for entry in entries]
    assert numbers(table.row("all")[2:3]) == [summary["metrics"]["judge2_two_way"]["value"]]
    label = Page(html).figures[0]["aria-label"]
    order = sorted(CATEGORIES, key=lambda name: -summary["metrics"]["judge2_two_way"]["groups"][name]["value"])
    assert label.index(order[0]) < label.index(order[1])


def test_many_categories_are_drawn_from_both_ends_and_listed_in_full(run):
    summary = write_scores(run)
    entry = {"ci_low": 0.1, "ci_high": 0.9, "n": 5, "n_undefined": 0}
    groups = {f"kind{i:03}": {"value": i / 100, **entry} for i in range(60)}
    summary["metrics"]["judge2_two_way"]["groups"] = groups
    change(run / "evaluation/demo/summary.json", metrics=summary["metrics"])
    page = page_of(categories, run)
    label = page.figures[0]["aria-label"]
    assert "kind059" in label
    assert "kind000" in label
    assert "kind030" not in label
    assert "20 in between" in page.text
    assert page.tables[0].row("kind030")[2][0].startswith("30.0 %")


CALIBRATION = {
    "confidence": "lead of the nearest test stimulus",
    "scores": {"pixcorr": {"spearman": 0.25, "selective": {"coverage": [1.0, 0.5], "score": [0.6, 0.7], "area": 0.6}}},
    "top1": {
        "auroc": 0.75,
        "expected_calibration_error": 0.0878,
        "hit_rate": 0.3,
        "mean_probability": 0.25,
        "curve": {"probability": [0.1, 0.3, 0.6], "hit_rate": [0.0, 0.4, 0.5], "n": [7, 7, 6]},
        "note": "temperatures are fitted on others",
    },
}


def test_calibration_says_its_numbers(run):
    write_scores(run)
    change(run / "evaluation/demo/summary.json", calibration=CALIBRATION)
    page = page_of(calibration, run)
    assert "in 75 % of pairs (AUROC" in page.text
    assert "promise 25.0 % right first guesses, and 30.0 % are right" in page.text
    assert "off by 8.8 points" in page.text
    assert "60 % stated, 50 % right" in page.figures[0]["aria-label"]
    assert numbers(page.tables[0].row("PixCorr")[2:]) == [0.25, 0.6, 0.7]
    never = CALIBRATION | {"top1": CALIBRATION["top1"] | {"hit_rate": 0.0, "auroc": None}}
    change(run / "evaluation/demo/summary.json", calibration=never)
    page = page_of(calibration, run)
    assert page.figures == []
    assert "AUROC" not in page.text


def entry(value):
    return {"value": value, "ci_low": value - 0.05, "ci_high": value + 0.05}


BRAIN_CORRELATION = {
    "network": "judge",
    "n_train": 1350,
    "regions": {
        "V1": entry(0.4) | {"n_voxels": 219, "rows": {"true_picture": entry(0.5), "shuffled": entry(0.01)}},
        "faces": {"value": None, "ci_low": None, "ci_high": None, "n_voxels": 12, "rows": {}},
    },
}


def test_brain_correlation_shows_every_region_beside_true_and_shuffled_pictures(run):
    write_scores(run)
    assert page_of(brain_correlation, run) is None
    change(run / "evaluation/demo/summary.json", brain_correlation=BRAIN_CORRELATION)
    page = page_of(brain_correlation, run)
    (table,) = page.tables
    assert table.columns == ["region", "voxels", "true pictures", "from the brain", "shuffled"]
    assert numbers(table.row("V1")[2:]) == [0.5, 0.4, 0.01]
    assert table.row("V1")[1][0] == "219"
    assert [text for text, _, _ in table.row("faces")[2:]] == ["–", "–", "–"]
    assert "fitted on 1350 training stimuli" in page.text


RATER = {"value": 0.9, "ci_low": 0.8, "ci_high": 1.0, "n": 30, "checks_right": 3, "checks": 3}
RATINGS = {
    "simulated": True,
    "identification": {
        "value": 0.867,
        "ci_low": 0.767,
        "ci_high": 0.956,
        "chance": 0.5,
        "p_above_chance": 0.0001,
        "resampled": ["raters", "stimuli"],
        "n_answers": 60,
    },
    "n_raters": 2,
    "n_stimuli": 30,
    "excluded": {"jane": "0 of 3 attention checks right, below 80%"},
    "incomplete": {},
    "agreement": {"pairwise": 0.76, "chance": 0.5, "alpha": 0.51},
    "raters": {"anna": RATER, "bert": RATER | {"value": 0.8}},
}


def test_ratings_are_told_without_the_codes_of_raters(run):
    assert page_of(ratings, run) is None
    path = run / "ratings/scores/summary.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(RATINGS))
    page = page_of(ratings, run)
    assert "in 86.7 % (95 % interval 76.7 to 95.6) of 60 answers about 30 stimuli; guessing gives 50 %" in page.text
    assert "Left out: 1 (0 of 3 attention checks right, below 80%)." in page.text
    assert [numbers(cells[1:2]) for cells in page.tables[0].rows[1:]] == [[0.9], [0.8]]
    assert not any(name in page.text for name in ("anna", "bert", "jane"))
