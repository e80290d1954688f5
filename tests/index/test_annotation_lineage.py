"""Annotations as ``doctor --show`` sees them: an artefact of their own, that knows its index."""

import pyarrow.parquet as pq
import pytest

from fmri_lightning.cli import main
from fmri_lightning.index.annotation_table import annotations_folder
from fmri_lightning.index.command import index
from tests.index.test_annotation_table import annotate


@pytest.fixture
def folder(own, tmp_path):
    annotate(own)
    index(own.root, out=tmp_path / "nsd_index")
    return annotations_folder(tmp_path / "nsd_index", "subj01")


def test_they_match_and_lead_back_to_their_index(folder, capsys):
    assert main(["doctor", "--show", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "matches annotations.parquet and the index beside it" in " ".join(shown.split())
    line = next(line for line in shown.splitlines() if "index " in line and "─" in line)
    assert "not found" not in line


def test_a_table_that_was_changed_is_named(folder, capsys):
    table = pq.ParquetFile(folder / "annotations.parquet").read()
    pq.write_table(table.slice(1), folder / "annotations.parquet")
    assert main(["doctor", "--show", str(folder)]) != 0
    assert "is not the table its manifest describes" in " ".join("".join(capsys.readouterr()).split())
