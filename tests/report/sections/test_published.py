"""Published numbers stand in the open only beside runs that are comparable with them."""

import pytest

from fmri_lightning.evaluation.literature.literature import load_literature
from fmri_lightning.report.runs import read_runs
from fmri_lightning.report.sections import published
from fmri_lightning.report.sections.section import Material
from fmri_lightning.report.verdict import verdict
from tests.report.sections.written import (
    METRICS_OF_MINDEYE,
    Page,
    change,
    label_of,
    render,
    write_run,
    write_scores,
)

SYSTEMS = ("MindEye1", "MindEye2", "Brain-Diffuser", "Takagi")


@pytest.fixture(scope="module")
def comparable(tmp_path_factory):
    """A measured run on the 982 pictures of the protocol; its folder and summary."""
    run = write_run(tmp_path_factory.mktemp("runs") / "mlp_diffusion", simulated=False, diffusion_model="unclip")
    return run, write_scores(run, "mindeye", METRICS_OF_MINDEYE, n=982, embeddings=False)


def read(run, **changed):
    (found,) = read_runs([run])
    for evaluation in found.evaluations.values():
        evaluation.summary.update(changed)
    return found


def page_of(*runs):
    section = published.build(Material(list(runs), "mindeye"))
    return None if section is None else Page(render(section))


def expected(protocol, test_set):
    """Systems that may stand beside scores by a protocol, with their values; read from the table itself."""
    return [
        cell
        for cell in load_literature()
        if (cell.protocol, cell.test_set) == (protocol, test_set)
        and cell.trial_mode != "single"
        and cell.metric in METRICS_OF_MINDEYE
        and (len(cell.subjects) > 1 or cell.subjects == ("subj01",))
    ]


def test_a_comparable_run_stands_above_published_rows_of_its_kind(comparable):
    folder, summary = comparable
    page = page_of(read(folder))
    beside, rest = page.tables
    assert not beside.folded
    assert rest.folded
    own = beside.row("mlp (this page)")
    for metric in METRICS_OF_MINDEYE:
        at = next(i for i, said in enumerate(beside.columns) if said.startswith(label_of(metric)))
        assert float(own[at][1]) == summary["metrics"][metric]["value"]
    cells = expected("mindeye", 982)
    assert {cell.title for cell in cells} == {line[0][0] for line in beside.rows[2:]}
    for cell in cells:
        at = next(i for i, said in enumerate(beside.columns) if said.startswith(label_of(cell.metric)))
        line = next(x for x in beside.rows if x[0][0] == cell.title and x[1][0] == cell.subject_words)
        assert float(line[at][1]) == cell.value
        assert cell.source in line[-1][0]
    at = beside.columns.index("comparable?")
    assert {line[at][0] for line in beside.rows[1:]} == {"yes"}


def test_what_differs_is_folded_away_with_the_reason_on_every_row(comparable):
    rest = page_of(read(comparable[0])).tables[1]
    at = rest.columns.index("comparable?")
    why = {line[0][0]: line[at][0] for line in rest.rows[1:]}
    assert "1000 pictures, ours 982" in why["MindEye2, 40 h, refined and blended (2024)"]
    assert "scored by brain_diffuser" in why["Brain-Diffuser (2023)"]
    assert "number of pictures unknown" in why["Takagi & Nishimoto, re-scored by the MindEye2 authors (2023)"]
    assert "yes" not in why.values()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"comparable": False, "not_comparable_because": ["partial 16/1000", "not comparable"]}, "partial 16/1000"),
        ({"simulated": True}, "simulated brain"),
        ({"comparable": False}, "does not say that these are the protocol's full test set"),
        ({"n": 500}, "nothing is published by protocol mindeye on 500 pictures"),
    ],
)
def test_a_run_that_is_not_comparable_never_stands_beside_them_in_the_open(comparable, changed, said):
    run = read(comparable[0], **changed)
    page = page_of(run)
    assert [table.folded for table in page.tables] == [True]
    assert page.summaries[0].startswith("Published numbers, for orientation only: this run is not comparable because:")
    assert said in page.summaries[0]
    assert not any(system in verdict(run, "mindeye").text for system in SYSTEMS)
    assert not any(system in page.open_text for system in SYSTEMS)


def test_a_simulated_run_is_told_by_its_own_summary_too(comparable, tmp_path):
    run = write_run(tmp_path / "mlp_diffusion", simulated=True)
    write_scores(run, "mindeye", METRICS_OF_MINDEYE, n=30, embeddings=False, comparable=True)
    assert [table.folded for table in page_of(read(run)).tables] == [True]


def test_a_comparable_and_another_run_keep_apart(comparable, tmp_path):
    other = write_run(tmp_path / "ridge_diffusion", encoder="ridge", simulated=False)
    write_scores(other, "mindeye", METRICS_OF_MINDEYE, n=30, embeddings=False)
    page = page_of(read(comparable[0]), read(other))
    assert [table.folded for table in page.tables] == [False, True, True]
    assert "ridge" not in " ".join(line[0][0] for line in page.tables[0].rows)
    assert "ridge is not comparable because: partial 30/1000" in page.summaries[-1]


def test_nothing_in_common_means_no_section(tmp_path):
    run = write_run(tmp_path / "mlp_diffusion")
    write_scores(run, metrics=("judge2_two_way",), embeddings=False)
    assert page_of(read(run)) is None


def test_the_verdict_names_a_published_value_of_the_same_metric_and_pictures(comparable):
    text = verdict(read(comparable[0], headline="alexnet5_two_way"), "mindeye").text
    of_subject = [c for c in expected("mindeye", 982) if c.metric == "alexnet5_two_way" and c.subjects == ("subj01",)]
    best = max(of_subject, key=lambda cell: cell.value)
    assert f"Published on the same 982 pictures: {best.title}, {100 * best.value:.1f} % (subj01)." in text
    assert "simulation" not in text
    lower = verdict(read(comparable[0], headline="swav_distance"), "mindeye").text
    distances = [cell.value for cell in expected("mindeye", 982) if cell.metric == "swav_distance"]
    assert (f"{min(distances):.3f}" in lower) if distances else ("Published" not in lower)


def test_the_verdict_of_a_simulation_says_so_and_what_the_score_means(tmp_path):
    run = write_run(tmp_path / "mlp_diffusion")
    summary = write_scores(run)
    found = verdict(read(run), "demo")
    entry = summary["metrics"]["judge2_two_way"]
    assert found.tone == "good"
    assert (
        f"The right picture is preferred to a random other one in {100 * entry['value']:.0f} % of pairs." in found.text
    )
    assert f"chance 50.0 %, shuffled control {100 * entry['null']:.1f} %" in found.text
    assert "This is a simulation: no brain was measured. The pictures follow the simulated brain." in found.text
    change(run / "decode_summary.json", simulated=False)
    assert "simulat" not in verdict(read(run, simulated=False), "demo").text


def test_the_verdict_claims_nothing_while_the_intervals_touch(tmp_path):
    run = write_run(tmp_path / "mlp_diffusion")
    summary = write_scores(run)
    entry = summary["metrics"]["judge2_two_way"]
    entry["rows"]["shuffled"]["ci_high"] = entry["ci_low"]
    found = verdict(read(run, metrics=summary["metrics"]), "demo")
    assert found.tone == "bad"
    assert "is not shown" in found.text
