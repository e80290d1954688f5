"""The written table: its numbers, its reasons, what is refused, and when the literature may stand below."""

import csv
import itertools
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.evaluation.tables import write_tables
from fmri_lightning.evaluation.tables.aggregate import aggregate
from fmri_lightning.evaluation.tables.latex import escape
from fmri_lightning.evaluation.tables.layout import format_value
from fmri_lightning.evaluation.tables.scored import load_scored

FILES = ["comparisons.csv", "comparisons.parquet", "table.csv", "table.md", "table.parquet", "table.tex"]
PUBLISHED = PROTOCOLS["mindeye"].picture_metrics
NOT_COMPARABLE = "not comparable with published numbers"


def rows_of(out, name="table"):
    with (out / f"{name}.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def write(folders, out, literature=True):
    return write_tables(folders, out, literature, 200, 0)


def cell(table, system, subject, metric, kind="run"):
    found = [r for r in table.rows if (r.system, r.subject, r.kind) == (system, subject, kind)]
    assert len(found) == 1
    return found[0].cells.get(metric)


def real(written, name, n=982, subject="subj01", **changes):
    """A comparable run of the mindeye protocol."""
    rng = np.random.default_rng(len(name))
    scores = {metric: rng.uniform(size=n) for metric in PUBLISHED}
    return written.run(
        name, scores, subject=subject, protocol="mindeye", **({"comparable": True, "simulated": False} | changes)
    )


def test_mean_over_subjects_is_the_mean_of_their_scores(written) -> None:
    folders = [
        written.run("mlp", {"pixcorr": [0.1, 0.3], "ssim": [0.5, 0.7]}, subject="subj01"),
        written.run("mlp", {"pixcorr": [0.6, 0.6, 0.9], "ssim": [0.2] * 3}, subject="subj02"),
        written.run("ridge", {"pixcorr": [0.2, 0.2]}, subject="subj01"),
    ]
    table = aggregate(load_scored(folders), True, 300, 0)
    runs = [(row.system, row.subject) for row in table.rows if row.kind == "run"]
    assert runs == [
        ("mlp + mini", "subj01"),
        ("mlp + mini", "subj02"),
        ("mlp + mini", "mean of 2 subjects"),
        ("ridge + mini", "subj01"),
    ]
    mean = cell(table, "mlp + mini", "mean of 2 subjects", "pixcorr")
    assert mean.value == pytest.approx((0.2 + 0.7) / 2)
    assert mean.n == 5
    assert 0.35 <= mean.low <= mean.value <= mean.high <= 0.6
    one = cell(table, "mlp + mini", "subj01", "pixcorr")
    assert (one.value, one.low, one.high, one.n) == pytest.approx((0.2, 0.15, 0.25, 2))
    assert table.n == (2, 3)
    assert any("2 to 3 pictures" in remark for remark in table.remarks)


def test_rows_beside_the_score(written) -> None:
    beside = {"shuffled": {"pixcorr": [0.0, 0.1]}, "true_target": {"pixcorr": [0.8, 0.9]}}
    entries = {"pixcorr": {"chance": 0.02, "ceiling": 0.85, "ceiling_kind": "true_target", "ceiling_ci": [0.8, 0.9]}}
    repeats = {"source_cosine": {"ceiling": 0.7, "ceiling_kind": "repeat_reliability", "ceiling_ci": [0.6, 0.8]}}
    scores = {"pixcorr": [0.3, 0.5], "source_cosine": [0.1, 0.3]}
    folders = [
        written.run("mlp", scores, subject=s, beside=beside, entries=entries | repeats) for s in ("subj01", "subj02")
    ]
    table = aggregate(load_scored(folders), True, 200, 0)
    assert cell(table, "mlp + mini", "subj01", "pixcorr", "shuffled").value == pytest.approx(0.05)
    assert cell(table, "mlp + mini", "mean of 2 subjects", "pixcorr", "ceiling").value == pytest.approx(0.85)
    assert cell(table, "mlp + mini", "mean of 2 subjects", "pixcorr", "ceiling").low is not None
    assert cell(table, "mlp + mini", "subj02", "pixcorr", "chance").value == 0.02
    assert cell(table, "mlp + mini", "subj02", "ssim", "chance") is None
    reliability = cell(table, "mlp + mini", "subj01", "source_cosine", "ceiling")
    assert (reliability.value, reliability.low) == (0.7, 0.6)
    assert "repeat reliability" in reliability.notes[0]
    assert cell(table, "mlp + mini", "mean of 2 subjects", "source_cosine", "ceiling").low is None
    assert [row.kind for row in table.rows if row.kind == "first_sample"] == []


def test_missing_undefined_and_circular_are_said(written, tmp_path) -> None:
    why = "not computed: needs torchvision"
    full = written.run("mlp", {"pixcorr": [0.1, np.nan, 0.3], "ssim": [0.1, 0.2, 0.3], "source_cosine": [0.1] * 3},
                       ids=[7, 8, 9], entries={"source_cosine": {"circular": True}})  # fmt: skip
    less = written.run(
        "ridge", {"pixcorr": [0.2] * 3, "source_cosine": [0.1] * 3}, ids=[7, 8, 9], skipped={"ssim": why}
    )
    write([full, less], tmp_path)
    markdown = (tmp_path / "table.md").read_text()
    assert "undefined for 1 of 3 items, left out: nsd8" in markdown
    assert why in markdown
    assert re.search(r"embedding cosine ↑<sup>1</sup>", markdown)
    assert "circular: scored in the space" in markdown
    ridge = next(r for r in rows_of(tmp_path) if r["system"] == "ridge + mini" and r["metric"] == "ssim")
    assert (ridge["value"], ridge["caveat"]) == ("", f"{why}; simulated brain")
    line = next(line for line in markdown.splitlines() if line.startswith("| ridge"))
    assert "–<sup>" in line
    counts = {r["metric"]: (r["n"], r["n_undefined"]) for r in rows_of(tmp_path, "comparisons")}
    assert counts == {"pixcorr": ("2", "1"), "source_cosine": ("3", "0")}
    assert {r["protocol"] for r in rows_of(tmp_path, "comparisons")} == {"demo"}
    assert all(r["caveat"].endswith("simulated brain") for r in rows_of(tmp_path, "comparisons"))
    assert "correlated" in markdown


def test_a_mean_is_not_taken_over_fewer_subjects(written) -> None:
    folders = [
        written.run("mlp", {"pixcorr": [0.1, 0.3], "ssim": [0.5, 0.7]}, subject="subj01"),
        written.run("mlp", {"pixcorr": [0.1, 0.3]}, subject="subj02"),
    ]
    mean = cell(aggregate(load_scored(folders), True, 200, 0), "mlp + mini", "mean of 2 subjects", "ssim")
    assert mean.value is None
    assert mean.notes == ("no mean over subjects: none for subj02",)


def test_order_of_runs_does_not_matter(written, tmp_path) -> None:
    rng = np.random.default_rng(1)
    folders = [
        written.run(name, {"pixcorr": rng.uniform(size=5), "ssim": rng.uniform(size=5)}, subject=subject)
        for name, subject in (("mlp", "subj01"), ("mlp", "subj02"), ("ridge", "subj01"))
    ]
    seen = set()
    for i, order in enumerate(itertools.permutations(folders)):
        files = write(list(order), tmp_path / str(i))
        assert [file.name for file in files] == FILES
        assert sorted(file.name for file in (tmp_path / str(i)).iterdir()) == FILES
        seen.add(tuple(file.read_bytes() for file in files))
    assert len(seen) == 1


@pytest.mark.parametrize("name", ["table", "comparisons"])
def test_csv_and_parquet_hold_the_same(written, tmp_path, name) -> None:
    write([real(written, "mlp"), real(written, "ridge", subject="subj01")], tmp_path)
    parquet = pq.read_table(tmp_path / f"{name}.parquet").to_pylist()
    plain = rows_of(tmp_path, name)
    assert len(parquet) == len(plain) >= 8
    for one, other in zip(parquet, plain, strict=True):
        assert {k: "" if v is None else v for k, v in one.items()} == {
            k: type(one[k])(v) if one[k] is not None else v for k, v in other.items()
        }


def test_demo_and_simulated_runs_never_get_literature(written, tmp_path) -> None:
    demo = written.run("mlp", {"pixcorr": np.full(982, 0.5)}, comparable=True, simulated=False)
    write([demo], tmp_path / "demo")
    simulated = real(written, "ridge", simulated=True)
    write([simulated], tmp_path / "simulated")
    partial = real(
        written, "part", n=16, comparable=False, not_comparable_because=["partial 16/1000", "not comparable"]
    )
    write([partial], tmp_path / "partial")
    silent = real(written, "old")
    text = (silent / "summary.json").read_text().replace('"comparable": true, ', "")
    (silent / "summary.json").write_text(text)
    write([silent], tmp_path / "silent")
    for name, why in (
        ("demo", "nothing is published by protocol demo"),
        ("simulated", "simulated brain"),
        ("partial", "partial 16/1000"),
        ("silent", "does not say"),
    ):
        markdown = (tmp_path / name / "table.md").read_text()
        assert re.search(f"{NOT_COMPARABLE}: .*{why}", markdown), name
        assert "MindEye1" not in markdown
        assert not [r for r in rows_of(tmp_path / name) if r["source"].startswith("published")]
        assert NOT_COMPARABLE in (tmp_path / name / "table.tex").read_text()


def test_literature_stands_below_comparable_runs(written, tmp_path) -> None:
    folder = real(written, "mlp")
    write([folder], tmp_path / "with")
    published = [r for r in rows_of(tmp_path / "with") if r["source"].startswith("published")]
    assert {r["n"] for r in published} == {"982"}
    assert {r["system"].split(",")[0].split(" (")[0] for r in published} == {"MindEye1"}
    assert all("voxels of repeats averaged" in r["caveat"] for r in published)
    markdown = (tmp_path / "with" / "table.md").read_text()
    assert NOT_COMPARABLE not in markdown
    assert markdown.index("**published**") > markdown.index("mlp + mini")
    line = next(line for line in markdown.splitlines() if line.startswith("| MindEye1 (2023) | mean of"))
    assert re.search(r"\| 0\.309 \\\[S\\\]<sup>\d+</sup> \|", line)
    assert r"\emph{published}" in (tmp_path / "with" / "table.tex").read_text()
    write([folder], tmp_path / "without", literature=False)
    assert "MindEye1" not in (tmp_path / "without" / "table.md").read_text()
    assert "left out, as asked" in (tmp_path / "without" / "table.md").read_text()


def test_one_run_that_is_not_comparable_keeps_the_literature_out(written, tmp_path) -> None:
    write([real(written, "mlp"), real(written, "ridge", comparable=False)], tmp_path)
    assert NOT_COMPARABLE in (tmp_path / "table.md").read_text()
    write([real(written, "a"), real(written, "b", n=1000)], tmp_path)
    assert "different numbers of pictures" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"test_set": "515"}, "test set '515'"),
        ({"trial_mode": "single"}, "trial mode 'single'"),
        ({"simulated": False}, "simulated"),
        ({"protocol_name": "mindeye"}, "protocol 'mindeye'"),
        ({"protocol_settings": {"name": "demo", "ssim": "columns"}}, "other settings"),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(written, tmp_path, changes, word) -> None:
    good = written.run("mlp", {"pixcorr": [0.1, 0.2]})
    other = written.run("ridge", {"pixcorr": [0.1, 0.2]}, **changes)
    with pytest.raises(BadInputError, match=word) as error:
        write([good, other], tmp_path / "out")
    assert "ridge" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_folders_that_are_not_whole_are_refused(written, tmp_path) -> None:
    folder = written.run("mlp", {"pixcorr": [0.1, 0.2]})
    for folders, word in (([], "at least one"), ([folder, folder / ".." / folder.name], "twice")):
        with pytest.raises(BadInputError, match=word):
            load_scored(folders)
    (folder / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadInputError, match="cannot be read"):
        load_scored([folder])
    (folder / "manifest.json").unlink()
    with pytest.raises(BadInputError, match="no evaluation at"):
        load_scored([folder])


def test_two_runs_of_one_system_are_told_apart_by_their_folders(written) -> None:
    scores = {"pixcorr": [0.1, 0.2]}
    folders = [written.run(name, scores, subject=s, encoder="mlp") for name in ("a", "b") for s in ("subj01", "subj02")]
    systems = [run.system for run in load_scored(folders)]
    assert systems == ["mlp + mini [a]"] * 2 + ["mlp + mini [b]"] * 2
    assert load_scored([written.run("c", scores, n_samples=4)])[0].system == "c + mini, one of 4 samples"


def test_latex_is_balanced(written, tmp_path) -> None:
    nasty = "ml_p & 50% {x} $y^2$ \\ #1 ~|"
    shuffled = {"shuffled": {"pixcorr": [0.1, 0.2], "ssim": [-0.1, 0.2]}}
    scores = {"pixcorr": [-0.3, 0.2], "ssim": [0.1, 0.2], "source_cosine": [0.1, 0.2]}
    folders = [
        written.run(nasty.replace("/", ""), scores, beside=shuffled, encoder=nasty, skipped={"judge2_two_way": nasty}),
        written.run("ridge", scores),
    ]
    write(folders, tmp_path)
    text = (tmp_path / "table.tex").read_text()
    bare = re.sub(r"\\[\\{}%&$#_]", "", text.replace(r"\\", "\n"))
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert bare.count("#") == bare.count("~") == bare.count("^") == 0
    assert bare.count("%") == 1
    for name in ("table*", "threeparttable", "tabular", "tablenotes"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") == 2
    for tabular in re.findall(r"\\begin{tabular}{(l+r+)}(.*?)\\end{tabular}", text, re.DOTALL):
        rows = [line for line in tabular[1].splitlines() if line.endswith(r"\\")]
        assert rows
        assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {len(tabular[0]) - 1}
    assert escape("a_b & 5 %") == r"a\_b \& 5 \%"


def test_markdown_rows_have_as_many_cells_as_heads(written, tmp_path) -> None:
    write([written.run("ml|p", {"pixcorr": [0.3, 0.2]}), written.run("ridge", {"pixcorr": [0.3, 0.1]})], tmp_path)
    markdown = (tmp_path / "table.md").read_text()
    tables = re.findall(r"(?:^\|.*\|\n)+", markdown, re.MULTILINE)
    assert len(tables) == 2
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert "brain: simulated" in markdown
    assert "protocol: demo" in markdown
    assert "test set: shared1000 (2 items)" in markdown


def test_numbers_are_rounded_by_kind() -> None:
    texts = [format_value(*one) for one in (
        ("alexnet2_two_way", 0.9738), ("picture_from_brain_top1", 0.618), ("picture_from_brain_median_rank", 12.0),
        ("picture_from_brain_mrr", 0.25), ("ssim", -0.0314),
    )]  # fmt: skip
    assert texts == ["97.4", "61.8", "12.0", "0.250", "-0.031"]


def test_a_missing_subject_has_a_row_with_its_reason_and_no_part_in_the_mean(written, tmp_path) -> None:
    folders = [
        written.run("mlp", {"pixcorr": [0.1, 0.3]}, subject="subj01", beside={"shuffled": {"pixcorr": [0.0, 0.1]}}),
        written.run("mlp", {"pixcorr": [0.5, 0.7]}, subject="subj04", beside={"shuffled": {"pixcorr": [0.1, 0.0]}}),
    ]
    missing = {"subj07": "not evaluated", "subj03": "betas failed"}
    whole = aggregate(load_scored(folders), True, 300, 0)
    table = aggregate(load_scored(folders), True, 300, 0, missing)
    runs = [row.subject for row in table.rows if row.kind == "run"]
    assert runs == ["subj01", "subj03", "subj04", "subj07", "mean of 2 subjects"]
    for subject in ("mean of 2 subjects", "subj01"):
        assert cell(table, "mlp + mini", subject, "pixcorr") == cell(whole, "mlp + mini", subject, "pixcorr")
    assert cell(table, "mlp + mini", "subj03", "pixcorr").notes == ("betas failed",)
    assert [row.subject for row in table.rows if row.kind == "shuffled"] == ["subj01", "subj04", "mean of 2 subjects"]
    assert table.comparisons == whole.comparisons
    write_tables(folders, tmp_path / "out", True, 200, 0, missing)
    for name in ("table.md", "table.tex"):
        assert "missing: subj03 (betas failed), subj07 (not evaluated)" in (tmp_path / "out" / name).read_text()
    (row,) = [r for r in rows_of(tmp_path / "out") if r["subject"] == "subj03" and r["metric"] == "pixcorr"]
    assert (row["value"], row["caveat"]) == ("", "betas failed; simulated brain")


def test_without_missing_subjects_nothing_is_said_of_them(written, tmp_path) -> None:
    write([written.run("mlp", {"pixcorr": [0.1, 0.3]})], tmp_path / "out")
    assert "missing" not in (tmp_path / "out" / "table.md").read_text()
