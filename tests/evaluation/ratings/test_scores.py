"""From files that raters saved to scores, and files that are refused."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from fmri_lightning.cli import main
from fmri_lightning.manifest import read_manifest


@pytest.fixture
def score(written, tmp_path, capsys):
    """Score files and return exit code, output and summary."""

    def call(files, *words):
        out = tmp_path / "scores"
        code = main(["ratings", "--results", *map(str, files), "--key", str(written.key), "--out", str(out), *words])
        said, err = capsys.readouterr()
        summary = (
            json.loads((out / "summary.json").read_text()) if code == 0 and (out / "summary.json").exists() else None
        )
        return code, said + err, summary

    return call


def test_a_perfect_rater(written, score, tmp_path):
    code, said, summary = score([written.rate(tmp_path / "a.json", "aaaaaaaa", rater="anna")])
    assert code == 0
    found = summary["identification"]
    assert (found["value"], found["ci_low"], found["ci_high"]) == (1.0, 1.0, 1.0)
    assert found["resampled"] == ["stimuli"]
    assert found["p_above_chance"] < 0.002
    assert summary["simulated"] is True
    assert summary["agreement"] is None
    assert (summary["n_raters"], summary["n_stimuli"], summary["n_checks"]) == (1, 12, 2)
    assert summary["raters"]["anna"]["checks_right"] == 2
    assert "one rater" in said
    assert "(simulated brain)" in said


def test_guessers_cover_one_half_and_the_table_holds_everything(written, score, tmp_path):
    files = [written.rate(tmp_path / f"{c}.json", c * 8, right=0.5, rater=c) for c in "abcdefgh"]
    files.append(written.rate(tmp_path / "z.json", "zzzzzzzz", checks=0.0, rater="asleep"))
    code, said, summary = score(files)
    assert code == 0
    found = summary["identification"]
    assert found["ci_low"] <= 0.5 <= found["ci_high"]
    assert found["resampled"] == ["raters", "stimuli"]
    assert summary["excluded"] == {"asleep": "0 of 2 attention checks right, below 80%"}
    assert "excluded asleep" in said
    assert summary["n_raters"] == 8
    table = pq.read_table(tmp_path / "scores/ratings.parquet").to_pydict()
    assert list(table)[:6] == ["rater", "trial", "nsd_id", "distractor", "correct", "response_time_ms"]
    assert len(table["rater"]) == 9 * 14
    counted = np.array(table["counted"])
    assert counted.sum() == 8 * 12 == found["n_answers"]
    assert np.array(table["correct"])[counted].mean() == pytest.approx(found["value"])
    assert {r for r, c in zip(table["rater"], counted, strict=True) if c} == set("abcdefgh")
    times = np.array(table["response_time_ms"])[counted]
    assert summary["median_response_time_ms"] == pytest.approx(np.median(times))
    manifest = read_manifest(tmp_path / "scores", "ratings")
    assert len(manifest.inputs) == 10
    assert manifest.config["min_checks"] == 0.8


def test_one_rater_has_one_interval(written, score, tmp_path):
    _, _, summary = score([written.rate(tmp_path / "a.json", "aaaaaaaa", right=0.7, rater="anna")])
    for bound in ("value", "ci_low", "ci_high"):
        assert summary["identification"][bound] == summary["raters"]["anna"][bound]


def test_stimuli_are_scored_by_name(written, score, tmp_path):
    files = [written.rate(tmp_path / f"{c}.json", c * 8, right=r) for c, r in (("a", 1.0), ("b", 0.0))]
    _, _, summary = score(files)
    assert summary["identification"]["value"] == 0.5
    assert {one["value"] for one in summary["stimuli"].values()} == {0.5}
    assert summary["agreement"]["pairwise"] == 0.0
    assert all(name == f"nsd{one['nsd_id']}" for name, one in summary["stimuli"].items())


def test_the_share_of_checks_can_be_chosen(written, score, tmp_path):
    files = [written.rate(tmp_path / "z.json", "zzzzzzzz", checks=0.0)]
    code, said, _ = score(files)
    assert code == 3
    assert "none of 1 raters counts (rater-zzzzzzzz: 0 of 2 attention checks right" in said
    assert score(files, "--min_checks", "0")[0] == 0


def test_incomplete_files_count_and_are_named(written, score, tmp_path):
    files = [
        written.rate(tmp_path / "a.json", "aaaaaaaa"),
        written.rate(tmp_path / "b.json", "bbbbbbbb", n=13, rater="bert"),
        written.rate(tmp_path / "c.json", "cccccccc", n=0, rater="carl"),
    ]
    code, said, summary = score(files)
    assert code == 0
    assert summary["incomplete"] == {"bert": "13 of 14 trials"}
    assert summary["excluded"] == {"carl": "answered no trial"}
    assert "incomplete, counted as it is: bert, 13 of 14 trials" in said
    assert summary["identification"]["value"] == 1.0


def test_sessions_of_one_code_are_told(written, score, tmp_path):
    files = [written.rate(tmp_path / f"{c}.json", c * 8, rater="anna") for c in "ab"]
    _, said, summary = score(files)
    assert set(summary["raters"]) == {"anna-aaaaaaaa", "anna-bbbbbbbb"}
    assert summary["same_code"] == ["anna"]
    assert "several sessions carry the code anna" in said


def test_dry_run_tells_and_writes_nothing(written, score, tmp_path):
    code, said, _ = score([written.rate(tmp_path / "a.json", "aaaaaaaa")], "--dry_run")
    assert code == 0
    assert "identified 100.0%" in said
    assert not (tmp_path / "scores").exists()


def test_results_of_another_page_are_refused(written, score, tmp_path):
    code, said, _ = score([written.rate(tmp_path / "a.json", "aaaaaaaa", page="0" * 32)])
    assert code == 3
    assert "a.json holds ratings of another page" in said


def test_the_same_session_twice_is_refused(written, score, tmp_path):
    files = [written.rate(tmp_path / f"{c}.json", "aaaaaaaa") for c in "ab"]
    code, said, _ = score(files)
    assert code == 3
    assert "b.json and" in said
    assert "same session aaaaaaaa" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is no result file"),
        ('{"format": "other"}', "is no result file"),
    ],
)
def test_what_is_no_result_file(text, says, score, tmp_path):
    (tmp_path / "bad.json").write_text(text)
    code, said, _ = score([tmp_path / "bad.json"])
    assert code == 3
    assert says in said
    assert "bad.json" in said
    assert said.count("\n") == 1


FINE = {"trial": 0, "chosen": 0, "side": "left", "position": 0, "time_ms": 1.0}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"session": 5}, "no session id"),
        ({"rater": None}, "no readable rater code"),
        ({"rater": "x" * 500}, "no readable rater code"),
        ({"answers": None}, "no list of answers"),
        ({"answers": ["left"]}, "damaged at answer 1"),
        ({"answers": [FINE, FINE]}, "answers trial 0 twice"),
        ({"answers": [FINE | {"trial": 14}]}, "trial 14 of 14"),
        ({"answers": [FINE | {"trial": True}]}, "trial True"),
        ({"answers": [FINE | {"chosen": 2}]}, "neither 0 nor 1"),
        ({"answers": [FINE | {"side": "up"}]}, "side 'up'"),
        ({"answers": [FINE | {"position": -1}]}, "position -1"),
        ({"answers": [FINE | {"time_ms": -3}]}, "time_ms -3"),
        ({"answers": [FINE | {"time_ms": float("nan")}]}, "time_ms nan"),
        ({"answers": [FINE | {"revised": 1}]}, "revised 1"),
    ],
)
def test_damaged_files_are_refused_by_name(changes, says, written, score, tmp_path):
    code, said, _ = score([written.rate(tmp_path / "bad.json", "aaaaaaaa", **changes)])
    assert code == 3
    assert "bad.json" in said
    assert says in said


def test_a_file_that_is_no_key_is_refused(written, tmp_path, capsys):
    file = written.rate(tmp_path / "a.json", "aaaaaaaa")
    for text, says in (("{}", "is no key of a ratings page"), (written.key.read_text().replace('"answer"', '"a"'), "")):
        (tmp_path / "key.json").write_text(text)
        assert main(["ratings", "--results", str(file), "--key", str(tmp_path / "key.json")]) == 3
        err = capsys.readouterr().err
        assert "key.json" in err
        assert says in err
