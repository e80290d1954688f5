"""Any folder of pictures against its originals: pairing by id or by name, and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.command import evaluate
from fmri_lightning.evaluation.truth import open_truth, pair_folders

from .conftest import write_pictures


@pytest.fixture
def folders(world, tmp_path):
    """Reconstructions and originals of five stimuli under names of different widths."""
    ids = [3, 10, 7, 22, 40]
    write_pictures(tmp_path / "ours", [world.predicted_picture(i) for i in ids], [f"nsd{i}_generated.png" for i in ids])
    write_pictures(tmp_path / "truth", [world.stimuli[i] for i in ids], [f"nsd{i:05d}.png" for i in ids])
    return tmp_path / "ours", tmp_path / "truth"


def test_digits_after_nsd_pair_the_files(folders) -> None:
    ids, recon, truth = pair_folders(*folders)
    assert ids.tolist() == [3, 7, 10, 22, 40]
    assert [path.name for path in recon.paths[:2]] == ["nsd3_generated.png", "nsd7_generated.png"]
    assert [path.name for path in truth.paths[:2]] == ["nsd00003.png", "nsd00007.png"]


def test_a_tree_serves_as_truth(folders, world) -> None:
    by_folder, by_tree = folders[0].parent / "a", folders[0].parent / "b"
    evaluate(generated=folders[0], truth=folders[1], out=by_folder, protocol="mindeye", resamples=100)
    evaluate(generated=folders[0], truth=world.base / "nsd", out=by_tree, protocol="mindeye", resamples=100)
    first, second = ((base / "mindeye/scores.parquet").read_bytes() for base in (by_folder, by_tree))
    assert first == second
    summary = json.loads((by_folder / "mindeye/summary.json").read_text())
    assert summary["n"] == 5
    assert summary["simulated"] is None
    assert "no predictions" in summary["skipped"]["source_cosine"]


def test_other_names_pair_when_equal(world, tmp_path) -> None:
    write_pictures(tmp_path / "ours", world.stimuli[[1, 0]], ["dog_generated.png", "cat_generated.png"])
    write_pictures(tmp_path / "truth", world.stimuli[[0, 1]], ["cat.png", "dog.png"])
    evaluate(generated=tmp_path / "ours", truth=tmp_path / "truth", out=tmp_path / "out", resamples=100)
    metrics = json.loads((tmp_path / "out/demo/summary.json").read_text())["metrics"]
    assert metrics["pixcorr"]["value"] == pytest.approx(1.0, abs=1e-12)
    assert metrics["pixcorr_two_way"]["value"] == 1.0


def test_lonely_pictures_are_named(folders) -> None:
    ours, truth = folders
    (truth / "nsd00007.png").unlink()
    (ours / "nsd22_generated.png").unlink()
    with pytest.raises(BadInputError, match=r"no partner in .*truth \(nsd7\).*no partner in .*ours \(nsd22\)"):
        evaluate(generated=ours, truth=truth)


def test_two_files_of_one_stimulus_are_refused(folders) -> None:
    ours, truth = folders
    (ours / "nsd007.png").write_bytes((ours / "nsd7_generated.png").read_bytes())
    with pytest.raises(BadInputError, match="are both of nsd7"):
        pair_folders(ours, truth)


def test_transparency_is_refused_and_an_opaque_alpha_is_not(folders) -> None:
    ours, truth = folders
    picture = Image.open(ours / "nsd3_generated.png").convert("RGBA")
    picture.save(ours / "nsd3_generated.png")
    assert pair_folders(ours, truth)[1].read(0, 1).shape == (1, 64, 64, 3)
    picture.putalpha(128)
    picture.save(ours / "nsd3_generated.png")
    with pytest.raises(BadInputError, match=r"nsd3_generated.png is partly transparent"):
        evaluate(generated=ours, truth=truth)


def test_missing_and_empty_folders_are_refused(folders, tmp_path) -> None:
    with pytest.raises(BadInputError, match="no folder"):
        pair_folders(tmp_path / "nowhere", folders[1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="holds no pictures"):
        pair_folders(folders[0], tmp_path / "empty")


def test_truth_of_a_run_may_be_named(world, folders) -> None:
    assert np.array_equal(open_truth(None, folders[1]).read([7]), world.stimuli[[7]])
    assert np.array_equal(open_truth("gone", world.base / "nsd").read([7]), world.stimuli[[7]])
    with pytest.raises(BadInputError, match="--truth DIR"):
        open_truth(None, None)
