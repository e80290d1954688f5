"""The page inside a notebook, and its numbers as tables."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import fmri_lightning
from fmri_lightning import Report
from fmri_lightning.errors import BadInputError, UsageError
from tests.report.conftest import IDS, NEIGHBOURS, write_run
from tests.report.reading import write_page

EXAMPLE = Path(__file__).with_name("example.ipynb")


class Frame(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tag, self.attributes = tag, dict(attrs)


def test_a_notebook_shows_the_page_that_the_command_writes(scored_run, tmp_path):
    page = write_page([scored_run], tmp_path / "page")
    frame = Frame(Report(scored_run)._repr_html_())
    assert frame.tag == "iframe"
    assert frame.attributes["srcdoc"] == page.html


def test_saved_page_is_the_same(scored_run, tmp_path):
    page = write_page([scored_run], tmp_path / "page")
    path = Report([scored_run]).save(tmp_path / "saved")
    assert path.read_text() == page.html


def test_scores_are_those_of_the_summary(scored_run):
    rows = Report(scored_run).scores().to_pylist()
    (own,) = [row for row in rows if (row["metric"], row["condition"]) == ("judge2_two_way", "predicted")]
    assert (own["run"], own["subject"], own["protocol"], own["n"]) == ("mlp", "subj01", "demo", 4)
    assert (own["value"], own["ci_low"], own["ci_high"], own["chance"]) == (0.8, 0.7, 0.9, 0.5)
    (null,) = [row for row in rows if row["condition"] == "shuffled"]
    assert (null["value"], null["ci_low"], null["ci_high"]) == (0.5, 0.45, 0.55)
    assert {row["metric"] for row in rows} == {"judge2_two_way", "pixcorr", "source_centred_cosine", "source_cosine"}


def test_scores_per_stimulus_name_run_condition_and_stimulus(scored_run):
    rows = Report(scored_run).per_stimulus().to_pylist()
    assert {(row["condition"], row["nsd_id"], row["value"]) for row in rows} == {
        (condition, nsd_id, (k + 1) / 4) for condition in ("predicted", "shuffled") for k, nsd_id in enumerate(IDS)
    }


def test_pictures_are_files_of_the_run_and_its_controls(scored_run):
    rows = Report(scored_run).pictures().to_pylist()
    assert len(rows) == 3 * len(IDS)
    assert all(Path(row["path"]).is_file() for row in rows)
    (row,) = [row for row in rows if row["condition"] == "predicted" and row["nsd_id"] == 12]
    assert (row["nn_nsd_id"], row["cosine"]) == (NEIGHBOURS[12], 0.7)


def test_a_run_without_scores_has_empty_tables_and_says_so(tmp_path, stimuli_root):
    report = Report(write_run(tmp_path / "run", stimuli_root))
    assert report.scores().num_rows == report.per_stimulus().num_rows == 0
    assert "not scored yet" in report.verdicts()[0]


def test_outside_a_notebook_it_is_said_in_words(scored_run, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython.display", raising=False)
    Report(scored_run).show()
    assert "mlp: two-way" in capsys.readouterr().out


def test_bad_runs_are_refused(tmp_path):
    with pytest.raises(BadInputError, match="no run folder"):
        Report(tmp_path / "none")
    with pytest.raises(UsageError, match="name a folder"):
        Report([])


def test_the_package_stays_light_and_knows_its_names():
    code = "import sys, fmri_lightning; sys.exit(any(name in sys.modules for name in ('pyarrow', 'numpy', 'jinja2')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="Reprot"):
        fmri_lightning.Reprot  # noqa: B018


@pytest.mark.slow
def test_the_example_notebook_runs_from_top_to_bottom(scored_run, monkeypatch):
    """A kernel of its own runs the cells as they are, with the run in an environment variable."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("FMRI_LIGHTNING_RUN", str(scored_run))
    notebook = nbformat.read(EXAMPLE, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "the example is committed without outputs"
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [json.dumps(output) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("iframe" in text and "gallery-data" in text for text in outputs)
    assert any(re.search(r"two-way.*80\.0 %", text) for text in outputs)
    assert any("judge2_two_way" in text for text in outputs)
