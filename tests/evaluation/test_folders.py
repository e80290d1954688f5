"""Any folder of pictures against its originals: what matches, and everything else reported by name."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from fmri_lightning.cli import main
from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.command import evaluate
from fmri_lightning.evaluation.folders import read_folders
from fmri_lightning.evaluation.foreign_pictures import read_any
from fmri_lightning.evaluation.truth import open_truth

from .conftest import write_pictures

IDS = [3, 10, 7, 22, 40]


@pytest.fixture
def folders(world, tmp_path):
    """Reconstructions and originals of five stimuli under names of different widths."""
    write_pictures(tmp_path / "ours", [world.predicted_picture(i) for i in IDS], [f"nsd{i}_generated.png" for i in IDS])
    write_pictures(tmp_path / "truth", [world.stimuli[i] for i in IDS], [f"nsd{i:05d}.png" for i in IDS])
    return tmp_path / "ours", tmp_path / "truth"


def caveats(pair):
    return {caveat.kind: caveat for caveat in pair.caveats}


def repaint(path, mode, change=lambda picture: picture):
    change(Image.open(path).convert(mode)).save(path)


def test_digits_after_nsd_pair_the_files(folders, world) -> None:
    pair = read_folders(*folders)
    assert pair.ids.tolist() == [3, 7, 10, 22, 40]
    assert pair.names[:2] == ("nsd3", "nsd7")
    assert np.array_equal(pair.truth.read(0, 5), world.stimuli[[3, 7, 10, 22, 40]])
    assert np.array_equal(pair.generated.read(1, 2)[0], world.predicted_picture(7))
    assert pair.caveats == []


def test_a_tree_serves_as_truth(folders, world) -> None:
    by_folder, by_tree = folders[0].parent / "a", folders[0].parent / "b"
    evaluate(generated=folders[0], truth=folders[1], out=by_folder, protocol="mindeye", resamples=100)
    evaluate(generated=folders[0], truth=world.base / "nsd", out=by_tree, protocol="mindeye", resamples=100)
    first, second = ((base / "mindeye/scores.parquet").read_bytes() for base in (by_folder, by_tree))
    assert first == second
    summary = json.loads((by_folder / "mindeye/summary.json").read_text())
    assert summary["n"] == 5
    assert summary["simulated"] is None
    assert summary["comparable"] is False
    assert "no predictions" in summary["skipped"]["source_cosine"]


def test_ids_that_a_tree_lacks_are_extra(folders, world) -> None:
    (folders[0] / "nsd72999.png").write_bytes((folders[0] / "nsd7_generated.png").read_bytes())
    assert caveats(read_folders(folders[0], world.base / "nsd"))["extra"].names == ("nsd72999.png",)


def test_other_names_pair_when_equal(world, tmp_path) -> None:
    write_pictures(tmp_path / "ours", world.stimuli[[1, 0]], ["dog_generated.png", "cat_generated.png"])
    write_pictures(tmp_path / "truth", world.stimuli[[0, 1]], ["cat.png", "dog.png"])
    evaluate(generated=tmp_path / "ours", truth=tmp_path / "truth", out=tmp_path / "out", resamples=100)
    metrics = json.loads((tmp_path / "out/demo/summary.json").read_text())["metrics"]
    assert metrics["pixcorr"]["value"] == pytest.approx(1.0, abs=1e-12)
    assert metrics["pixcorr_two_way"]["value"] == 1.0
    assert read_folders(tmp_path / "ours", tmp_path / "truth").names == ("cat", "dog")


def test_lonely_pictures_are_named_and_the_rest_is_scored(folders, capsys) -> None:
    ours, truth = folders
    (truth / "nsd00007.png").unlink()
    (ours / "nsd22_generated.png").unlink()
    (ours / "cover.png").write_bytes((ours / "nsd3_generated.png").read_bytes())
    command = ["evaluate", "--generated", str(ours), "--truth", str(truth), "--out", str(ours.parent / "out")]
    assert main([*command, "--protocol", "mindeye", "--resamples", "100"]) == 0
    printed = capsys.readouterr().out
    assert "missing: 1 picture (nsd00022.png)" in printed
    assert "extra: 2 pictures (cover.png, nsd7_generated.png)" in printed
    summary = json.loads((ours.parent / "out/mindeye/summary.json").read_text())
    assert summary["n"] == 3
    assert {caveat["kind"] for caveat in summary["caveats"]} == {"missing", "extra"}
    assert "not comparable" in summary["protocol"]


def test_broken_files_are_left_out_on_either_side(folders) -> None:
    ours, truth = folders
    (ours / "nsd3_generated.png").write_bytes(b"no picture")
    torn = (truth / "nsd00010.png").read_bytes()
    (truth / "nsd00010.png").write_bytes(torn[: len(torn) // 2])
    pair = read_folders(ours, truth)
    assert pair.ids.tolist() == [7, 22, 40]
    assert [c.names for c in pair.caveats if c.kind == "unreadable"] == [("nsd3_generated.png",), ("nsd00010.png",)]


def test_pictures_of_another_size_are_brought_to_that_of_the_others(folders, world) -> None:
    ours, _ = folders
    repaint(ours / "nsd10_generated.png", "RGB", lambda picture: picture.resize((128, 96)))
    pair = read_folders(*folders)
    assert pair.generated.read(0, 5).shape == (5, 64, 64, 3)
    found = caveats(pair)["resized"]
    assert found.names == ("nsd10_generated.png",)
    assert "are not 64 x 64 px as the others (128 x 96)" in found.sentence


def test_pictures_that_are_not_square_are_said(folders) -> None:
    for path in folders[0].iterdir():
        repaint(path, "RGB", lambda picture: picture.resize((80, 64)))
    assert "80 x 64 px, not square" in caveats(read_folders(*folders))["resized"].sentence


def test_transparent_pixels_are_laid_on_white_and_an_opaque_alpha_is_dropped(folders, world) -> None:
    ours, _ = folders
    repaint(ours / "nsd3_generated.png", "RGBA")
    assert read_folders(*folders).caveats == []

    def half(picture):
        picture.putalpha(128)
        return picture

    repaint(ours / "nsd3_generated.png", "RGBA", half)
    pair = read_folders(*folders)
    assert caveats(pair)["transparent"].names == ("nsd3_generated.png",)
    expected = 255 + (world.predicted_picture(3).astype(float) - 255) * 128 / 255
    assert np.abs(pair.generated.read(0, 1)[0] - expected).max() <= 1


def test_pictures_of_one_colour_are_kept_and_named(folders) -> None:
    Image.new("RGB", (64, 64), (9, 200, 9)).save(folders[0] / "nsd7_generated.png")
    pair = read_folders(*folders)
    assert len(pair.ids) == 5
    assert caveats(pair)["constant"].names == ("nsd7_generated.png",)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1"])
def test_other_colour_modes_are_rgb(tmp_path, world, mode) -> None:
    file = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    Image.fromarray(world.stimuli[0]).convert(mode).save(file)
    pixels, transparent = read_any(file)
    assert pixels.shape == (64, 64, 3)
    assert not transparent
    assert np.array_equal(pixels, np.asarray(Image.open(file).convert("RGB")))


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path) -> None:
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "grey.png")
    pixels, _ = read_any(tmp_path / "grey.png")
    assert np.abs(pixels[:, :, 0] - values / 257).max() <= 0.51
    assert np.array_equal(pixels[:, :, 0], pixels[:, :, 2])


def test_numbers_without_a_known_range_are_no_pictures(tmp_path) -> None:
    for name, values in (("float.tif", np.ones((8, 8), np.float32)), ("int.tif", np.full((8, 8), 70000, np.int32))):
        Image.fromarray(values).save(tmp_path / name)
        with pytest.raises(BadInputError, match="whose range is not known; save it with 8 bits"):
            read_any(tmp_path / name)


def test_the_hash_is_of_what_is_scored(folders) -> None:
    ours, truth = folders
    before = read_folders(ours, truth)
    (truth / "nsd00010.png").unlink()
    without = read_folders(ours, truth)
    (truth / "nsd00010.png").write_bytes(b"no picture")
    unreadable = read_folders(ours, truth)
    assert unreadable.generated_hash == without.generated_hash != before.generated_hash
    assert unreadable.truth_hash == without.truth_hash != before.truth_hash


def test_spellings_of_nsd(folders, world) -> None:
    ours, _ = folders
    for old, new in (("nsd3_generated", "NSD-003"), ("nsd7_generated", "sub1_nsd_0007_recon")):
        (ours / f"{old}.png").rename(ours / f"{new}.png")
    assert read_folders(*folders).ids.tolist() == [3, 7, 10, 22, 40]


def test_names_are_cut_after_five(folders, world) -> None:
    write_pictures(folders[1], world.stimuli[:8], [f"nsd{100 + i}.png" for i in range(8)])
    assert "missing: 8 pictures (nsd100.png, nsd101.png, nsd102.png, nsd103.png, nsd104.png and 3 more)" in (
        caveats(read_folders(*folders))["missing"].sentence
    )


def test_two_files_of_one_stimulus_are_refused(folders) -> None:
    ours, _ = folders
    (ours / "nsd007.png").write_bytes((ours / "nsd7_generated.png").read_bytes())
    with pytest.raises(BadInputError, match="are both of nsd7"):
        read_folders(*folders)


def test_folders_without_anything_in_common_are_refused(folders, tmp_path, world) -> None:
    with pytest.raises(BadInputError, match="no folder"):
        read_folders(tmp_path / "nowhere", folders[1])
    with pytest.raises(BadInputError, match=f"holds no pictures .*give --generated {tmp_path}/ours"):
        read_folders(tmp_path, folders[1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="holds no pictures"):
        read_folders(folders[0], tmp_path / "empty")
    write_pictures(tmp_path / "others", world.stimuli[:2], ["nsd900.png", "nsd901.png"])
    with pytest.raises(BadInputError, match=r"nsd10_generated.png, .*nsd900.png, .*digits after nsd"):
        read_folders(folders[0], tmp_path / "others")
    (tmp_path / "others/nsd3.png").write_bytes((folders[1] / "nsd00003.png").read_bytes())
    with pytest.raises(BadInputError, match="have 1 readable pictures in common"):
        read_folders(folders[0], tmp_path / "others")


def test_nothing_else_of_ours_is_needed(folders, tmp_path, monkeypatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    relative = [os.path.relpath(folder) for folder in folders]
    assert main(["evaluate", "--generated", relative[0], "--truth", relative[1], "--resamples", "100"]) == 0
    assert (tmp_path / "elsewhere/outputs/evaluation/ours/demo/summary.json").is_file()


def test_truth_of_a_run_may_be_named(world, folders) -> None:
    assert np.array_equal(open_truth(None, folders[1]).read([7]), world.stimuli[[7]])
    assert np.array_equal(open_truth("gone", world.base / "nsd").read([7]), world.stimuli[[7]])
    with pytest.raises(BadInputError, match="--truth DIR"):
        open_truth(None, None)
