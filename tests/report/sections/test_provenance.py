"""Where everything came from: without the folders, the hosts and the people behind it."""

import json

import pytest

from fmri_lightning.report.paths import short_path, shorten_in_yaml, shorten_paths
from fmri_lightning.report.runs import read_runs
from fmri_lightning.report.sections import provenance
from fmri_lightning.report.sections.order import build_sections
from fmri_lightning.report.sections.section import Material
from tests.report.sections.written import Page, change, render, write_run, write_scores

CONFIGURATION = """seed_everything: 42
data:
  root: /data/jane/lab/some where/nsd
  shards: ['/data/jane/a/b/c/d/e', 3]
model:
  model_id: someone/unclip
  output_dir: outputs/jane/recon/mlp
"""


@pytest.fixture
def run(tmp_path):
    folder = write_run(tmp_path / "recon/mlp_diffusion")
    (folder / "predict.yaml").write_text(CONFIGURATION)
    write_scores(folder)
    return folder


def page_of(*folders, share=False):
    return Page(render(provenance.build(Material(read_runs(list(folders)), "demo", share))))


def test_settings_inputs_and_seeds_are_listed(run):
    table = page_of(run).tables[0]
    said = {cells[0][0]: cells[1][0] for cells in table.rows}
    assert said["seed"] == "42"
    assert said["checkpoint"] == "…/lab/runs/mlp.ckpt"
    assert said["source space"] == "mini-source (512-D, raw)"
    assert said["hash of index"] == "abababababab"
    assert said["code version"] == "0.1.0"
    assert said["demo: bootstrap"] == "200 resamples, seed 0"
    manifest = json.loads((run / "evaluation/demo/manifest.json").read_text())
    assert said["demo: scored at"] == manifest["created"]


def test_runs_without_a_setting_have_a_dash(run, tmp_path):
    other = write_run(tmp_path / "recon/ridge_diffusion", encoder="ridge", n_samples=4)
    table = page_of(run, other).tables[0]
    assert [text for text, _, _ in table.row("samples")] == ["samples", "–", "4"]


def test_the_configuration_keeps_its_lines_and_loses_its_folders(run):
    page = page_of(run)
    assert "root: …/lab/some where/nsd" in page.text
    assert "model_id: someone/unclip" in page.text
    assert "['…/b/c/d/e', 3]" in page.text
    assert "output_dir: outputs/jane/recon/mlp" in page.text
    assert "secret-host" not in page.text


def test_commands_make_the_numbers_again(run):
    text = page_of(run).text
    assert "fmri-lightning predict --config …/" in text
    assert "mlp_diffusion/predict.yaml fmri-lightning evaluate --run …/" in text
    assert "--protocol demo --resamples 200 --seed 0 fmri-lightning report --run" in text
    assert "Paths are shortened" in text


def test_relative_commands_can_be_pasted(run, monkeypatch):
    monkeypatch.chdir(run.parents[1])
    text = page_of(run.relative_to(run.parents[1])).text
    assert "fmri-lightning evaluate --run recon/mlp_diffusion --protocol demo" in text
    assert "Paths are shortened" not in text


def test_a_shared_page_keeps_no_folder_of_any_path(run, tmp_path):
    other = write_run(tmp_path / "recon/ridge_diffusion", encoder="ridge")
    (other / "ratings").mkdir()
    change(run / "evaluation/demo/summary.json", skipped={"lpips": "no weights in /data/jane/cache/torch/hub"})
    sections = build_sections(read_runs([run, other]), "demo", share=True)
    text = " ".join(Page(render(section)).text for section in sections)
    parts = {"jane", "lab", "recon", "data", "cache", *tmp_path.parts[1:]}
    found = {part for part in parts if f"{part}/" in text or f"/{part}" in text}
    assert found == set()
    assert "jane" not in text
    assert "mlp.ckpt" in text
    assert "no weights in hub" in text


@pytest.mark.parametrize(
    ("path", "short", "shared"),
    [
        ("/data/jane/x/runs/a/b/mlp.ckpt", "…/runs/a/b/mlp.ckpt", "mlp.ckpt"),
        ("/disk/people/jane/mlp.ckpt", "…/mlp.ckpt", "mlp.ckpt"),
        ("/mnt/one/Users/jane/mlp.ckpt", "…/mlp.ckpt", "mlp.ckpt"),
        ("/data/jane", "…/jane", "jane"),
        ("checkpoints/mlp.ckpt", "checkpoints/mlp.ckpt", "mlp.ckpt"),
        ("/", "…", "…"),
    ],
)
def test_paths(path, short, shared):
    assert (short_path(path), short_path(path, share=True)) == (short, shared)


def test_sentences_keep_what_is_no_path():
    said = "16/1000 pictures and/or single trials, see /data/jane/a/b/c/d/e.json."
    assert shorten_paths(said) == "16/1000 pictures and/or single trials, see …/b/c/d/e.json."
    assert shorten_paths(said, share=True) == "16/1000 pictures and/or single trials, see e.json."
    assert shorten_in_yaml("a: 1\nb: 'x'", share=True) == "a: 1\nb: 'x'"
