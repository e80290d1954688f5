"""Catalogues of scenes and of photographs."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmri_lightning.errors import BadInputError
from fmri_lightning.simulate.command import simulate
from fmri_lightning.simulate.pictures import photograph_source, scene_source


@pytest.fixture
def folder(tmp_path):
    """Twelve painted rectangles in three classes."""
    rng = np.random.default_rng(0)
    for kind in ("apple", "boat", "cup"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for number in range(4):
            picture = np.broadcast_to(rng.integers(0, 256, 3, dtype=np.uint8), (40, 60, 3))
            Image.fromarray(np.ascontiguousarray(picture)).save(tmp_path / "photos" / kind / f"image_{number}.png")
    return tmp_path / "photos"


def test_scene_catalogue_does_not_depend_on_the_blocks_it_is_read_in():
    source = scene_source(0, 16)
    whole, meaning = source.read(np.arange(6))
    part, part_meaning = source.read(np.arange(4, 6))
    assert (whole[4:] == part).all()
    assert (meaning.attributes[4:] == part_meaning.attributes).all()
    assert (meaning.domains[4:] == part_meaning.domains).all()


def test_folder_tar_and_folder_of_tars_hold_the_same_pictures(folder, tmp_path):
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(folder, arcname=".")
    tars = tmp_path / "tars"
    tars.mkdir()
    (tmp_path / "photos.tar").rename(tars / "photos.tar")
    catalogues = [
        photograph_source(path, 12, 0, 16).read(np.arange(12)) for path in (folder, tars / "photos.tar", tars)
    ]
    for pictures, meaning in catalogues[1:]:
        assert (pictures == catalogues[0][0]).all()
        assert (meaning.attributes == catalogues[0][1].attributes).all()
    assert catalogues[0][0].shape == (12, 16, 16, 3)


def test_photographs_of_a_class_share_their_code(folder):
    source = photograph_source(folder, 12, 0, 16)
    codes = source.read(np.arange(12))[1].attributes[:, :24]
    assert len(np.unique(codes, axis=0)) == 3


def test_a_broken_photograph_is_named(folder):
    (folder / "apple/image_0.png").write_bytes(b"not a picture")
    with pytest.raises(BadInputError, match=r"apple/image_0\.png is not a readable picture"):
        photograph_source(folder, 12, 0, 16).read(np.arange(12))


def test_a_file_that_is_no_tar_is_refused(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"nothing")
    with pytest.raises(BadInputError, match="neither a folder nor an uncompressed tar"):
        photograph_source(tmp_path / "x.tar", 1, 0, 16)


@pytest.mark.photographs
def test_real_photographs_make_a_whole_tree(tmp_path):
    simulate(
        tmp_path / "nsd",
        subjects="1",
        images=Path(os.environ["FMRI_LIGHTNING_PHOTOGRAPHS"]),
        shared=12,
        unique=60,
        sessions=3,
        nsdgeneral_voxels=100,
    )
    source = photograph_source(Path(os.environ["FMRI_LIGHTNING_PHOTOGRAPHS"]), 75, 0, 64)
    pictures, meaning = source.read(np.arange(75))
    assert pictures.std() > 20
    assert len(np.unique(meaning.attributes[:, :24], axis=0)) > 10
    assert np.isfinite(meaning.attributes).all()
