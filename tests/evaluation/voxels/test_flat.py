"""Flat maps of a made-up surface: files written byte by byte here, a voxel found where the transform puts it."""

import struct

import nibabel
import numpy as np
import pytest

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.voxels.flat import flat_cortex, flatten, read_patch
from fmri_lightning.evaluation.voxels.maps import NativeSpace

SHAPE = (6, 8, 7)
SPACE = NativeSpace("func1pt8mm", "subj02", SHAPE, np.eye(4), np.argwhere(np.ones(SHAPE)), None)
SIDE = 9
"""Vertices of a hemisphere form a square grid of so many, 4 mm apart."""
N = SIDE * SIDE


def write_patch(path, vertices, x, y, border=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = b"".join(
        struct.pack(">ifff", -(v + 1) if v in border else v + 1, a, b, 0.5)
        for v, a, b in zip(vertices, x, y, strict=True)
    )
    path.write_bytes(struct.pack(">ii", -1, len(vertices)) + rows)


def write_mgz(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asarray(values, np.float32)
    shape = (len(values), 1, 1, *values.shape[1:])
    nibabel.save(nibabel.MGHImage(values.reshape(shape), np.eye(4)), path)


def grid():
    return 4.0 * (np.arange(N) % SIDE), 4.0 * (np.arange(N) // SIDE)


def voxel_of(vertex):
    """Where the planted transform puts a vertex, counted from 0."""
    return vertex % 6, (vertex // 6) % 8, (vertex // 48) % 7


@pytest.fixture
def tree(tmp_path):
    transforms = tmp_path / "nsddata/ppdata/subj02/transforms"
    centre = np.array([voxel_of(v) for v in range(N)]) + 1.0
    for hemisphere in ("lh", "rh"):
        for shift, layer in ((-0.3, "layerB1"), (0.0, "layerB2"), (0.3, "layerB3")):
            write_mgz(transforms / f"{hemisphere}.func1pt8-to-{layer}.mgz", centre + shift)
        write_patch(tmp_path / f"nsddata/freesurfer/subj02/surf/{hemisphere}.gEVC.flat.patch.3d", range(N), *grid())
    return tmp_path


def pixel_of(picture, vertex):
    x, y = grid()
    return picture[round(y.max() + 1 - y[vertex]), round(x[vertex] + 1)]


@pytest.mark.parametrize("vertex", [0, 8, 40, 72, 80])
def test_a_planted_voxel_is_drawn_where_its_vertex_lies(tree, vertex) -> None:
    cortex, why = flat_cortex(SPACE, tree)
    assert why == ""
    assert [side.layout for side in cortex] == ["subj02's own flat patch gEVC.flat.patch.3d"] * 2
    volume = np.full(SHAPE, np.nan, np.float32)
    volume[voxel_of(vertex)] = 3.0
    drawn = flatten(cortex, {"map": volume})
    for hemisphere in ("lh", "rh"):
        assert pixel_of(drawn[f"map.{hemisphere}"], vertex) == 3.0
        assert pixel_of(drawn[f"cortex.{hemisphere}"], vertex)
        hit = [v for v in range(N) if np.isfinite(pixel_of(drawn[f"map.{hemisphere}"], v))]
        assert hit == [v for v in range(N) if voxel_of(v) == voxel_of(vertex)]


def test_depths_are_averaged_over_those_that_have_a_value(tree) -> None:
    path = tree / "nsddata/ppdata/subj02/transforms/lh.func1pt8-to-layerB1.mgz"
    coordinates = np.array([voxel_of(v) for v in range(N)]) + 1.0
    coordinates[0] = [2, 1, 1]
    coordinates[1] = 9999
    coordinates[2] = [0.2, 1, 1]
    write_mgz(path, coordinates)
    volume = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    values = flat_cortex(SPACE, tree)[0][0].sample(volume)
    assert values[0] == pytest.approx((volume[1, 0, 0] + 2 * volume[0, 0, 0]) / 3)
    assert values[1] == volume[1, 0, 0]
    assert values[2] == volume[2, 0, 0]
    volume[0, 0, 0] = np.nan
    assert flat_cortex(SPACE, tree)[0][0].sample(volume)[0] == volume[1, 0, 0]


def test_the_standard_patch_is_reached_by_nsds_transform_only(tree) -> None:
    for hemisphere in ("lh", "rh"):
        (tree / f"nsddata/freesurfer/subj02/surf/{hemisphere}.gEVC.flat.patch.3d").unlink()
    cortex, why = flat_cortex(SPACE, tree)
    assert cortex == []
    assert "white-to-fsaverage.mgz" in why
    order = np.random.default_rng(0).permutation(N)
    for hemisphere in ("lh", "rh"):
        write_patch(tree / f"nsddata/freesurfer/fsaverage/surf/{hemisphere}.full.flat.patch.3d", range(N), *grid())
        write_mgz(tree / f"nsddata/ppdata/subj02/transforms/{hemisphere}.white-to-fsaverage.mgz", order + 1)
    cortex, _ = flat_cortex(SPACE, tree)
    assert "reached by NSD's transform" in cortex[0].layout
    volume = np.full(SHAPE, np.nan, np.float32)
    volume[voxel_of(order[13])] = 1.0
    drawn = flatten(cortex, {"map": volume})["map.lh"]
    assert pixel_of(drawn, 13) == 1.0


def test_a_missing_transform_is_named(tree) -> None:
    (tree / "nsddata/ppdata/subj02/transforms/rh.func1pt8-to-layerB2.mgz").unlink()
    cortex, why = flat_cortex(SPACE, tree)
    assert cortex == []
    assert why == "the NSD tree has no transforms/rh.func1pt8-to-layerB2.mgz of subj02"


def test_the_border_counts_and_damage_is_refused(tmp_path) -> None:
    x, y = grid()
    path = tmp_path / "lh.patch"
    write_patch(path, range(N), x, y, border={0, 5})
    vertices, place_mm = read_patch(path, N)
    assert vertices.tolist() == list(range(N))
    np.testing.assert_allclose(place_mm, np.stack([x, y], axis=1))
    with pytest.raises(BadInputError, match="they are of two subjects"):
        read_patch(path, N - 1)
    content = path.read_bytes()
    for broken in (content[:-16], content[:5], b"\0" * 8 + content[8:], content[:8] + b"\0" * 4 + content[12:]):
        path.write_bytes(broken)
        with pytest.raises(BadInputError, match="is no flat patch of FreeSurfer"):
            read_patch(path, N)


def test_damaged_transforms_are_refused(tree) -> None:
    path = tree / "nsddata/ppdata/subj02/transforms/lh.func1pt8-to-layerB1.mgz"
    write_mgz(path, np.ones((N, 2)))
    with pytest.raises(BadInputError, match="expected 3 numbers a vertex"):
        flat_cortex(SPACE, tree)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(BadInputError, match="cannot be read"):
        flat_cortex(SPACE, tree)
