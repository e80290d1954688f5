"""All sections together: their order, and nothing empty among them."""

import json

import pytest

from fmri_lightning.report.runs import read_runs
from fmri_lightning.report.sections.order import build_sections
from tests.report.sections.test_brain import write_brain
from tests.report.sections.test_parts import BRAIN_CORRELATION, CALIBRATION, RATINGS
from tests.report.sections.written import Page, change, render, write_run, write_scores

ORDER = [
    "ladder",
    "scores",
    "published",
    "comparisons",
    "distributions",
    "categories",
    "calibration",
    "brain-correlation",
    "brain",
    "ratings",
    "provenance",
]


@pytest.fixture
def full(tmp_path):
    """Two runs of one subject with everything but ratings and brain correlation; the second has calibration."""
    folders = [write_run(tmp_path / f"{name}_diffusion", encoder=name) for name in ("mlp", "ridge")]
    for seed, folder in enumerate(folders):
        write_scores(folder, seed=seed)
        change(folder / "evaluation/demo/summary.json", calibration=CALIBRATION if seed else None)
    return folders


def test_sections_come_in_order_and_are_left_out_where_empty(full, tmp_path):
    sections = build_sections(read_runs(full), "demo")
    assert [section.anchor for section in sections] == [
        x for x in ORDER if x not in ("brain-correlation", "brain", "ratings")
    ]
    change(full[0] / "evaluation/demo/summary.json", brain_correlation=BRAIN_CORRELATION)
    write_brain(full[0])
    (full[1] / "ratings/scores").mkdir(parents=True)
    (full[1] / "ratings/scores/summary.json").write_text(json.dumps(RATINGS))
    assert [section.anchor for section in build_sections(read_runs(full), "demo")] == ORDER
    unscored = write_run(tmp_path / "new_diffusion")
    assert [section.anchor for section in build_sections(read_runs([unscored]), None)] == ["scores", "provenance"]


def test_every_part_is_accessible_and_nothing_is_empty(full):
    ids = []
    for section in build_sections(read_runs(full), "demo"):
        page = Page(render(section))
        assert len(page.text) > 40
        assert all(page.headings)
        assert not {"h1", "h2", "h4", "script", "img", "link", "style"} & set(page.tags)
        assert all(figure["role"] == "img" and figure["aria-label"] for figure in page.figures)
        assert all(table.caption and table.download.endswith(".csv") and len(table.rows) > 1 for table in page.tables)
        ids += page.ids
    assert len(set(ids)) == len(ids)


def test_words_of_files_cannot_become_markup(full):
    evil = '<script>alert("x")</script>'
    for folder in full:
        change(folder / "decode_summary.json", encoder=f"{evil}{folder.name}", test_set=evil, subject=evil)
        change(folder / "evaluation/demo/summary.json", skipped={evil: evil}, test_set=evil, retrieval_note=evil)
        (folder / "predict.yaml").write_text(f"a: {evil}")
    for section in build_sections(read_runs(full), "demo"):
        assert "<script" not in render(section)


def test_the_leading_protocol_leads_and_the_others_keep_their_tables(full):
    write_scores(full[0], "mindeye", ("pixcorr", "ssim"), embeddings=False)
    sections = {section.anchor: section for section in build_sections(read_runs(full), "demo")}
    downloads = [table.download for table in Page(render(sections["scores"])).tables]
    assert downloads == ["scores-demo.csv", "further-demo.csv", "scores-mindeye.csv"]
    assert "two-way, judge layer 2" in Page(render(sections["ladder"])).text


def test_a_part_that_only_another_protocol_has_is_shown(full):
    write_scores(full[0], "mindeye", ("pixcorr", "ssim"), embeddings=False, brain_correlation=BRAIN_CORRELATION)
    assert "brain-correlation" in [section.anchor for section in build_sections(read_runs(full), "demo")]


def test_runs_of_one_name_are_told_apart_by_few_folders(tmp_path):
    folders = [write_run(tmp_path / place / "subj01/mlp_diffusion") for place in ("old", "new")]
    assert [run.label for run in read_runs(folders)] == ["old/subj01/mlp_diffusion", "new/subj01/mlp_diffusion"]
