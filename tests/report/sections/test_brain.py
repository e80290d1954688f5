"""The section of voxels: what was written is what is said, on the right side, and nothing of anybody's disk."""

import base64
import io
import json
import re

import nibabel
import numpy as np
import pytest
from PIL import Image

from fmri_lightning.errors import BadInputError
from fmri_lightning.report.runs import read_runs
from fmri_lightning.report.sections import brain
from fmri_lightning.report.sections.section import Material
from fmri_lightning.report.slices import chosen_slices, draw_flat, draw_slices, mosaic, read_native
from tests.report.sections.written import Page, render, write_run

SHAPE = (7, 9, 6)


def entry(value, n=20, spread=0.05):
    of_voxels = {"median": value - 0.01, "q25": value - 0.1, "q75": value + 0.1}
    return {"n_voxels": n, "value": value, "ci_low": value - spread, "ci_high": value + spread} | of_voxels


def of_set(value, controls, difference=None):
    found = {"value": value, "ci_low": value - 0.1, "ci_high": value + 0.1, "controls": controls, "p": 0.25}
    if difference is not None:
        found["difference"] = {"value": difference, "ci_low": difference - 0.05, "ci_high": difference + 0.05}
    return {"centred_cosine": found, "two_way": found}


def write_brain(run, maps=True, flat=False, **changes):
    """Write what the brain command leaves, with one bright voxel in the left, front and upper corner of the store."""
    folder = run / "brain/maps"
    folder.mkdir(parents=True)
    nothing = {"n_voxels": 0} | dict.fromkeys(("value", "ci_low", "ci_high", "median", "q25", "q75"))
    summary = {
        "subject": "subj01",
        "encoder": "mlp",
        "simulated": True,
        "n_voxels": 50,
        "n_read": 40,
        "space": "native func1pt8mm of subj01",
        "maps": ["pattern", "encoding_r", "encoding_of_ceiling"] if maps else [],
        "no_maps": None if maps else "the beta store of subj01 has no voxel positions",
        "flat": ["lh: subj01's own flat patch", "rh: subj01's own flat patch"] if flat else [],
        "no_flat": None if flat else "the NSD tree has no transforms/lh.func1pt8-to-layerB1.mgz of subj01",
        "patterns": {"n_trials": 300, "n_components": 12, "share_of_decoded_variance": 0.95, "linear": False},
        "encoding": {
            "n_train": 100,
            "n_test": 30,
            "mean_repeats": 3.0,
            "n_permutations": 500,
            "n_tested": 40,
            "n_significant": 13,
            "has_ceiling": True,
        },
        "ablation": {
            "n_train": 100,
            "n_test": 30,
            "n_voxels": 40,
            "n_controls": 3,
            "controls_from": "outside",
            "full": of_set(0.5, []),
            "regions": {
                "V1": {"n_voxels": 12, "keep": of_set(0.2, [0.1, 0.3, 0.2]), "drop": of_set(0.4, [-0.02] * 3, -0.1)},
                "huge": {
                    "n_voxels": 36,
                    "keep": of_set(0.45, []),
                    "not_dropped": "without it 4 voxels are left, fewer than 10",
                    "no_controls": "fewer than 36 voxels are left to draw as many from",
                },
            },
        },
        "regions": {
            "pattern": {"all voxels": entry(0.3, 40), "V1": entry(0.21, 12)},
            "encoding_r": {"all voxels": entry(0.25, 40), "V1": entry(0.125, 12)},
            "encoding_of_ceiling": {"all voxels": entry(0.4, 30), "V1": nothing},
        },
        "skipped": {"faces": "2 voxels that the encoder reads, fewer than 10"},
        "resamples": 200,
        "seed": 0,
    } | changes
    (run / "brain/summary.json").write_text(json.dumps(summary))
    if maps:
        write_maps(folder)
    if flat:
        cortex = np.ones((30, 40), bool)
        values = np.full((30, 40), np.nan, np.float32)
        values[3, 5] = 0.5
        (run / "brain/flat").mkdir()
        arrays = {f"{name}.{side}": values for name in brain.ON_SLICES for side in ("lh", "rh")}
        np.savez(run / "brain/flat/flat.npz", **arrays, **{"cortex.lh": cortex, "cortex.rh": cortex})
    return run


def write_maps(folder, flip=False):
    underlay = np.ones(SHAPE, np.uint8)
    underlay[1:6, 2:8, 1:5] = 2
    values = np.full(SHAPE, np.nan, np.float32)
    values[1:6, 2:8, 1:5] = 0.0
    values[1, 7, 4] = 1.0
    # A file whose first axis grows to the left holds the same brain mirrored.
    affine = np.diag([-1.8 if flip else 1.8, 1.8, 1.8, 1])
    order = slice(None, None, -1) if flip else slice(None)
    for name in ("pattern", "encoding_r", "encoding_of_ceiling"):
        nibabel.save(nibabel.Nifti1Image(values[order], affine), folder / f"{name}.nii.gz")
    nibabel.save(nibabel.Nifti1Image(underlay[order], affine), folder / "underlay.nii.gz")


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "mlp_diffusion")


def page_of(run, share=False):
    section = brain.build(Material(read_runs([run]), "demo", share))
    return None if section is None else Page(render(section))


def test_no_section_where_the_command_was_not_run(run):
    assert page_of(run) is None


def test_numbers_are_those_that_were_written(run):
    page = page_of(write_brain(run))
    regions, sets = page.tables
    assert regions.download == "brain-regions-mlp.csv"
    v1 = regions.row("V1")
    assert [v1[1][0], v1[2][1], v1[4][1]] == ["12", "0.21", "0.125"]
    assert v1[3][0] == "0.200 (0.110 to 0.310)"
    assert v1[6][0] == "–"
    dropped = next(row for row in sets.rows if row[0][0] == "V1" and row[2][0] == "without it")
    assert [cell[1] for cell in dropped[3:]] == ["0.4", "-0.1", "-0.02", "0.25"]
    alone = next(row for row in sets.rows if row[0][0] == "V1" and row[2][0] == "alone")
    assert [cell[1] for cell in alone[3:6]] == ["0.2", None, repr((0.1 + 0.3 + 0.2) / 3)]
    labels = [figure["aria-label"] for figure in page.figures]
    assert "V1 0.210" in labels[0]
    assert any("V1 -0.100" in label for label in labels)
    assert all(figure["role"] == "img" for figure in page.figures)


def test_words_say_what_it_means_and_what_is_missing(run):
    text = page_of(write_brain(run)).open_text
    for said in (
        "they are not the encoder's weights",
        "None of them says that a region causes what is seen.",
        "The encoder is a network; its patterns are its best linear forward model.",
        "13 of 40 voxels are predicted (false discovery rate .05, 500 permutations)",
        "3 random sets a region, from voxels outside the region: p cannot be below 0.250",
        "whatever the run's own encoder",
        "huge: without it 4 voxels are left",
        "Left out: faces, 2 voxels",
        "native func1pt8mm of subj01, not a standard brain. L is the subject's left.",
        "No flat map: the NSD tree has no transforms/lh.func1pt8-to-layerB1.mgz of subj01.",
        "a simulated brain",
    ):
        assert said in text


def test_parts_that_were_not_computed_leave_no_trace(run):
    nothing = {"patterns": None, "encoding": None, "ablation": None, "regions": {}}
    page = page_of(write_brain(run, maps=False, **nothing))
    assert page.tables == []
    assert page.figures == []
    assert "No slices: the beta store of subj01 has no voxel positions." in page.text


def test_a_flat_map_is_drawn_and_says_what_laid_it_out(run):
    page = page_of(write_brain(run, flat=True))
    assert sum("flattened cortex" in figure["aria-label"] for figure in page.figures) == 2
    assert "laid out: lh: subj01's own flat patch" in page.text


def pictures_in(svg):
    found = re.findall(r'href="data:image/png;base64,([^"]*)"', svg)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in found]


@pytest.mark.parametrize("flip", [False, True])
def test_the_subjects_left_is_on_the_left_and_the_front_on_top(run, flip):
    write_brain(run)
    write_maps(run / "brain/maps", flip)
    values, underlay = (read_native(run / f"brain/maps/{name}.nii.gz") for name in ("pattern", "underlay"))
    slices = chosen_slices(underlay)
    assert slices == [1, 2, 3, 4]
    picture, corners = mosaic(values, underlay, slices, 1.0)
    bright = np.argwhere((picture[:, :, 0] > 0.9) & (picture[:, :, 2] < 0.3))
    column, row = corners[3]
    assert bright.tolist() == [[row + SHAPE[1] - 1 - 7, column + 1]]
    drawn = pictures_in(draw_slices(values, underlay, "label", "title"))[0]
    factor = drawn.shape[1] // picture.shape[1]
    assert drawn.shape[:2] == (picture.shape[0] * factor, picture.shape[1] * factor)
    yellow = np.argwhere((drawn[:, :, 0] > 230) & (drawn[:, :, 2] < 80))
    assert np.unique(yellow // factor, axis=0).tolist() == bright.tolist()


def test_the_brain_lies_under_its_voxels():
    """One voxel of the brain mask, in front and on the left, and nothing else."""
    values, underlay = np.full(SHAPE, np.nan), np.zeros(SHAPE, np.uint8)
    underlay[1, 7, 2] = 1
    picture, _ = mosaic(values, underlay, [2], 1.0)
    assert np.argwhere(picture[:, :, 3] > 0).tolist() == [[SHAPE[1] - 1 - 7, 1]]


def test_slices_are_those_that_hold_voxels_and_not_too_many():
    underlay = np.ones((4, 4, 60), np.uint8)
    underlay[1, 1, 10:50] = 2
    chosen = chosen_slices(underlay)
    assert chosen[0] == 10
    assert chosen[-1] == 49
    assert len(chosen) == 10
    assert draw_slices(np.full((4, 4, 60), np.nan), underlay, "", "") == ""


def test_a_page_to_share_names_no_folder(run, tmp_path):
    write_brain(run, maps=False, no_maps="the region volume is not in /data/jane/secret/nsd")
    text = page_of(run, share=True).text
    for word in ("jane", "secret", str(tmp_path)):
        assert word not in text


def test_damaged_files_are_refused(run):
    write_brain(run, flat=True)
    for name in ("maps/pattern.nii.gz", "flat/flat.npz"):
        whole = (run / "brain" / name).read_bytes()
        (run / "brain" / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(BadInputError, match="run fmri-lightning brain again"):
            page_of(run)
        (run / "brain" / name).write_bytes(whole)
    with pytest.raises(BadInputError, match="cannot be read"):
        draw_flat(run / "nothing.npz", "pattern", "", "")
    (run / "brain/summary.json").write_text("{}")
    with pytest.raises(BadInputError, match="is not of this version"):
        page_of(run)


def test_words_of_files_cannot_become_markup(run):
    evil = '<script>alert("x")</script>'
    regions = {"pattern": {evil: entry(0.2)}}
    write_brain(run, regions=regions, subject=evil, skipped={evil: evil}, space=evil)
    assert "<script" not in render(brain.build(Material(read_runs([run]), "demo")))
