"""doctor --show: every artefact of a real run says what it is, whether it is whole, and what it was made from."""

import json
import shutil

import numpy as np
import pytest
import torch

from fmri_lightning.cli import main
from fmri_lightning.doctor.lineage import verify
from fmri_lightning.doctor.show import show_lines
from fmri_lightning.embeddings.packaged import packaged_path
from fmri_lightning.errors import BadInputError
from tests.doctor.leaks.small_run import copy_of, edit_checkpoint, edit_json


def shown(path, verify=False):
    return list(show_lines(path, verify))


def branch(lines, *names):
    """Follow names down the tree; gives the line of the last one."""
    depth, start = -1, next(i for i, line in enumerate(lines) if line.startswith("inputs")) + 1
    for name in names:
        for number in range(start, len(lines)):
            before, _, text = lines[number].partition("─ ")
            here = len(before) // 3 - 1
            assert here > depth, f"{name} is not below {names}"
            if here == depth + 1 and text.startswith(f"{name} "):
                depth, start, found = here, number + 1, lines[number]
                break
        else:
            raise AssertionError(f"no {name} in {lines}")
    return found


def test_a_run_shows_the_whole_branch_down_to_raw_files(parts, run):
    lines = shown(run)
    assert lines[0] == f"reconstructions  {run}"
    text = "\n".join(lines)
    assert json.loads((run / "manifest.json").read_text())["content_hash"] in text
    assert "6 pictures are as recorded" in " ".join(text.split())
    assert "fmri_lightning 0" in text
    assert "seed 42" in text
    assert branch(lines, "encoder").endswith(str(parts.ridge))
    assert branch(lines, "encoder", "preproc").endswith(str(parts.folder / "preproc" / "subj01"))
    assert branch(lines, "encoder", "preproc", "betas").endswith(str(parts.folder / "betas" / "subj01"))
    assert branch(lines, "encoder", "preproc", "betas", "index").endswith(
        str(parts.folder / "index" / "subject=subj01")
    )
    assert branch(lines, "encoder", "preproc", "betas", "index", "3").endswith(": all there")
    assert branch(lines, "adapter").endswith(str(parts.adapter))
    assert branch(lines, "adapter", "target_cache").endswith("target.parquet")
    assert branch(lines, "decoder").endswith(str(parts.generator))
    assert "NOT FOUND" not in text
    assert "not found" not in text


def test_a_calibration_belongs_to_its_encoder(parts, network_run):
    lines = shown(network_run)
    assert branch(lines, "calibration")
    lines = shown(parts.folder / "calibration")
    assert lines[0].startswith("calibration ")
    assert "matches its tensors" in " ".join(lines)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("index/subject=subj01", "index", "matches index.parquet"),
        ("betas/subj01", "betas", "matches betas.npy and the voxels"),
        ("betas/subj01/betas.npy", "betas", "matches betas.npy and the voxels"),
        ("preproc/subj01", "preproc", "matches preproc.safetensors"),
        ("clip.parquet", "clip_cache", "matches the"),
        ("generator", "generator", "no model card"),
        ("run/predictions.parquet", "reconstructions", "matches settings and inputs"),
    ],
)
def test_every_artefact_is_recognised_and_hashed(parts, run, name, kind, words):
    lines = shown(parts.folder / name)
    assert lines[0].startswith(f"{kind}  ")
    assert words in " ".join(" ".join(lines).split())


def test_checkpoints_and_out_of_fold_predictions_are_recognised(parts):
    for path, kind in ((parts.ridge, "encoder"), (parts.mlp, "encoder"), (parts.adapter, "adapter")):
        lines = shown(path)
        assert lines[0] == f"{kind}  {path}"
        assert "matches weights and description" in " ".join(" ".join(lines).split())
        assert branch(lines, "split")
    lines = shown(parts.ridge.parent / "out_of_fold")
    assert lines[0].startswith("out_of_fold  ")
    assert "its parts match" in " ".join(" ".join(lines).split())


def test_a_checkpoint_of_training_and_a_simulated_root_are_told_as_what_they_are(tmp_path):
    state = {"pytorch-lightning_version": "2.6.6", "epoch": 3, "global_step": 40, "hyper_parameters": {"lr": 0.1}}
    torch.save(state, tmp_path / "last.ckpt")
    text = "\n".join(shown(tmp_path / "last.ckpt"))
    assert text.startswith("training checkpoint  ")
    assert "epoch 3, global_step 40, lr 0.1" in text
    assert text.endswith("none recorded")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(BadInputError, match="is no Lightning checkpoint"):
        shown(tmp_path / "foreign.ckpt")
    (tmp_path / "SIMULATED.json").write_text('{"simulated": true, "seed": 7}')
    assert "simulated true, seed 7" in "\n".join(shown(tmp_path))


def test_the_shipped_models_match_their_cards(tmp_path):
    for name in ("generator", "target_encoder"):
        assert "match the model card" in " ".join(" ".join(shown(packaged_path(f"checkpoints/mini/{name}"))).split())
    shutil.copytree(packaged_path("checkpoints/mini/source_encoder"), tmp_path / "copy")
    with open(tmp_path / "copy" / "model.safetensors", "r+b") as handle:
        handle.seek(-1, 2)
        handle.write(b"?")
    with pytest.raises(BadInputError, match="is not the file that its model card lists"):
        shown(tmp_path / "copy")


def test_an_evaluation_lies_in_its_run(run, tmp_path):
    from fmri_lightning.manifest import Manifest, content_hash, write_manifest

    copied = copy_of(run, tmp_path)
    folder = copied / "evaluation" / "demo"
    columns = {"nsd_id": np.arange(2, dtype=np.int32), "metric": np.array(["pixcorr", "ssim"])}
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    pq.write_table(pa.table({k: pa.array(v) for k, v in columns.items()}), folder / "scores.parquet")
    write_manifest(folder, Manifest("evaluation", content_hash(*columns.values()), inputs={"pictures": "a" * 64}))
    lines = shown(folder)
    assert "matches scores.parquet" in " ".join(lines)
    assert str(copied) in branch(lines, "run")
    assert branch(lines, "run", "encoder", "preproc", "betas")


def test_an_input_that_changed_or_went_is_not_found_by_its_old_place(parts, run, tmp_path):
    other = edit_checkpoint(parts.ridge, tmp_path / "ridge.ckpt", lambda state, about: about.update(fitted={"a": 1}))
    lines = shown(copy_of(run, tmp_path, model_encoder_ckpt=other, data_clip_cache=tmp_path / "gone.parquet"))
    assert "NOT FOUND HERE" in branch(lines, "encoder")
    assert branch(lines, "clip_cache").endswith("not found here")
    assert branch(lines, "preproc", "betas")


def test_an_input_is_found_beside_an_artefact_that_was_moved(parts, tmp_path):
    for name in ("betas", "preproc", "index"):
        shutil.copytree(parts.folder / name, tmp_path / "moved" / name)
    lines = shown(tmp_path / "moved" / "preproc" / "subj01")
    assert str(tmp_path / "moved" / "betas") in branch(lines, "betas")
    assert str(tmp_path / "moved" / "index") in branch(lines, "betas", "index")


def test_bytes_that_changed_are_told_after_the_rest_and_refused(parts, tmp_path, capsys):
    shutil.copytree(parts.folder / "betas" / "subj01", tmp_path / "betas" / "subj01")
    betas = np.load(tmp_path / "betas" / "subj01" / "betas.npy", mmap_mode="r+")
    betas[3, 4] += 1
    betas.flush()
    assert main(["doctor", "--show", str(tmp_path / "betas" / "subj01")]) == 3
    told = capsys.readouterr()
    assert "DOES NOT MATCH" in told.out
    assert "raw files" in told.out
    assert "is not the array its manifest describes" in told.err


def test_a_picture_that_changed_is_told(run, tmp_path):
    copied = copy_of(run, tmp_path)
    next((copied / "images").glob("*.png")).write_bytes(b"another picture")
    with pytest.raises(BadInputError, match="1 of 6 pictures"):
        shown(copied)


def test_large_payloads_are_hashed_on_request_only(parts, monkeypatch):
    monkeypatch.setattr(verify, "SMALL_BYTES", 10)
    path = parts.folder / "betas" / "subj01"
    assert "not hashed again" in " ".join(shown(path))
    assert "matches betas.npy" in " ".join(shown(path, verify=True))


def test_raw_files_are_compared_on_request(parts, tmp_path):
    tree = tmp_path / "nsd"
    shutil.copytree(parts.folder / "nsd", tree)
    shutil.copytree(parts.folder / "index", tmp_path / "index")
    folder = tmp_path / "index" / "subject=subj01"
    edit_json(folder / "manifest.json", lambda manifest: manifest["config"].update(root=str(tree)))
    responses = next(tree.rglob("responses.tsv"))
    responses.write_bytes(responses.read_bytes() + b"\n")
    assert branch(shown(folder), "3").endswith(": all there")
    assert "1 CHANGED, first nsddata/ppdata/subj01/behav/responses.tsv" in branch(shown(folder, verify=True), "3")
    responses.unlink()
    assert "1 not found here" in branch(shown(folder), "3")


def test_what_is_no_artefact_is_refused(parts, tmp_path):
    with pytest.raises(BadInputError, match="does not exist; give an index"):
        shown(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="holds no manifest of ours; give an index"):
        shown(tmp_path / "empty")
    with pytest.raises(BadInputError, match=r"give one of those inside: .*betas/subj01"):
        shown(parts.folder / "betas")
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(BadInputError, match="is no artefact of ours"):
        shown(tmp_path / "notes.txt")
    (tmp_path / "a.ckpt").write_text("no checkpoint")
    with pytest.raises(BadInputError, match="cannot be read as a checkpoint"):
        shown(tmp_path / "a.ckpt")
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(BadInputError, match="not a readable parquet file"):
        shown(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.update(kind="banana"), "its kind is 'banana'"),
        (lambda m: m.update(content_hash="123"), "content_hash '123' is no SHA-256"),
        (lambda m: m.update(inputs=[1]), "inputs is no dict"),
        (lambda m: m.pop("content_hash"), "is not a manifest of this version"),
    ],
)
def test_a_damaged_manifest_is_refused(parts, tmp_path, edit, message):
    shutil.copytree(parts.folder / "preproc" / "subj01", tmp_path / "preproc")
    edit_json(tmp_path / "preproc" / "manifest.json", edit)
    with pytest.raises(BadInputError, match=message):
        shown(tmp_path / "preproc")
    (tmp_path / "preproc" / "manifest.json").write_text('{"kind": "prep')
    with pytest.raises(BadInputError, match="cannot be read as JSON"):
        shown(tmp_path / "preproc")
