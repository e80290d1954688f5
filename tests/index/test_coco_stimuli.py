import os

import numpy as np
import pytest
from PIL import Image

from fmri_lightning.errors import BadInputError
from fmri_lightning.index import coco_stimuli
from fmri_lightning.index.coco_stimuli import COCO, CocoStimuli, crop
from fmri_lightning.index.nsd import STIM_INFO
from fmri_lightning.index.stimuli import open_stimuli, stimuli_identity
from tests.index.tiny_coco import PHOTOS, write_catalogue, write_coco, write_nsd_stimuli

ALL = list(range(len(PHOTOS)))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """What NSD's own file would hold, uint8 (n, 425, 425, 3)."""
    root = tmp_path_factory.mktemp("nsd")
    write_nsd_stimuli(root)
    return open_stimuli(root=root).read(ALL)


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    write_coco(root)
    return root


@pytest.fixture
def own(tmp_path):
    """A tree that the test may damage."""
    write_coco(tmp_path)
    return tmp_path


def photograph(root, nsd_id):
    return root / COCO / PHOTOS[nsd_id].split / f"{PHOTOS[nsd_id].coco_id:012d}.jpg"


def require_equal(pictures, original):
    """JPEG at quality 100 and two roundings leave a few grey levels; a shift by one pixel leaves dozens."""
    difference = np.abs(pictures.astype(int) - original.astype(int))
    assert difference.mean() < 0.5
    assert difference.max() <= 6


def one_line(error):
    return len(str(error.value).splitlines()) == 1


def test_a_coco_folder_gives_the_pictures_of_the_stimulus_file(coco, original):
    source = open_stimuli(root=coco)
    assert isinstance(source, CocoStimuli)
    assert source.ids.tolist() == ALL
    assert source.ids.dtype == np.int32
    require_equal(source.read(ALL), original)
    shuffled = [4, 0, 6, 4, 1]
    require_equal(source.read(shuffled), original[shuffled])
    assert source.read([]).shape == (0, 425, 425, 3)


def swapped(order):
    return lambda picture, box: crop(picture, np.asarray(box)[list(order)])


def truncated(picture, box):
    height, width = picture.shape[:2]
    top, bottom, left, right = (
        int(share * side) for share, side in zip(box, (height,) * 2 + (width,) * 2, strict=True)
    )
    return picture[top : height - bottom, left : width - right]


def right_edge_only(picture, box):
    """All of a cut on one side, as a centre crop that starts at the corner would have it."""
    height, width = picture.shape[:2]
    side = min(height - round((box[0] + box[1]) * height), width - round((box[2] + box[3]) * width))
    return picture[:side, :side]


@pytest.mark.parametrize(
    ("wrong", "seen_in"),
    [
        (swapped((1, 0, 2, 3)), (1, 4, 5)),
        (swapped((0, 1, 3, 2)), (0, 2, 3, 5)),
        (truncated, (2, 3)),
        (right_edge_only, (0, 1, 2, 3, 4, 5)),
    ],
    ids=["top and bottom swapped", "left and right swapped", "truncated", "at the corner"],
)
def test_the_comparison_catches_a_wrong_crop(coco, original, monkeypatch, wrong, seen_in):
    monkeypatch.setattr(coco_stimuli, "crop", wrong)
    for nsd_id in seen_in:
        pictures = open_stimuli(root=coco).read([nsd_id])
        with pytest.raises(AssertionError):
            require_equal(pictures, original[[nsd_id]])


def test_a_fraction_that_floats_cannot_hold_still_cuts_whole_pixels():
    assert 0.29 * 100 < 29
    picture = np.arange(100 * 100 * 3).reshape(100, 100, 3) % 251
    assert np.array_equal(crop(picture, np.array([0.29, 0.0, 0.0, 0.29])), picture[29:, :71])


def test_the_size_is_a_parameter(coco):
    assert CocoStimuli(coco, size_px=64).read([3]).shape == (1, 64, 64, 3)


def test_an_orientation_in_the_metadata_is_not_applied(own, original):
    path = photograph(own, 0)
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(path, quality="keep", exif=exif)
    require_equal(open_stimuli(root=own).read([0]), original[[0]])


def test_the_original_file_is_read_where_both_are_there(own, original):
    folder_identity = stimuli_identity(root=own)
    write_nsd_stimuli(own)
    source = open_stimuli(root=own)
    assert np.array_equal(source.read(ALL), original)
    assert stimuli_identity(root=own) != folder_identity
    # Damaged, it is refused; the folder beside it does not take its place.
    source.path.write_bytes(source.path.read_bytes()[:1000])
    with pytest.raises(BadInputError, match=r"nsd_stimuli\.hdf5 cannot be read"):
        open_stimuli(root=own)


def test_identity_follows_crops_names_and_sizes(own):
    first = stimuli_identity(root=own)
    assert first.startswith("coco:")
    assert stimuli_identity(root=own) == first
    (own / COCO / "train2017" / "000000000001.jpg").write_bytes(b"not of the catalogue")
    assert stimuli_identity(root=own) == first
    text = (own / STIM_INFO).read_text()
    (own / STIM_INFO).write_text(text.replace("0.1671875", "0.171875"))
    assert stimuli_identity(root=own) != first
    (own / STIM_INFO).write_text(text)
    photograph(own, 4).write_bytes(photograph(own, 4).read_bytes() + b" ")
    longer = stimuli_identity(root=own)
    photograph(own, 4).unlink()
    assert len({first, longer, stimuli_identity(root=own)}) == 3


def test_part_of_coco_will_do(own, original):
    photograph(own, 2).unlink()
    photograph(own, 5).unlink()
    (photograph(own, 1).parent / "elsewhere.jpg").write_bytes(photograph(own, 1).read_bytes())
    photograph(own, 1).unlink()
    photograph(own, 1).symlink_to("elsewhere.jpg")
    source = open_stimuli(root=own)
    assert source.ids.tolist() == ALL
    require_equal(source.read([0, 1, 3, 4, 6]), original[[0, 1, 3, 4, 6]])
    with pytest.raises(
        BadInputError, match=r"000000000009\.jpg \(nsd_id 2\) is missing, one of 2 missing among the 7"
    ) as e:
        source.read([0, 2])
    assert one_line(e)


@pytest.mark.parametrize("damage", ["cut off", "a folder", "text", "empty", "link to nothing"])
def test_a_damaged_photograph_is_named(own, damage):
    path = photograph(own, 3)
    data = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage == "link to nothing":
        os.symlink("nowhere.jpg", path)
    else:
        path.write_bytes({"cut off": data[: len(data) // 2], "text": b"<html>", "empty": b""}[damage])
    expected = {"a folder": "is a folder, expected a JPEG", "link to nothing": "is missing"}
    with pytest.raises(
        BadInputError, match=rf"{path.name}.*{expected.get(damage, 'cannot be read as a picture')}"
    ) as e:
        open_stimuli(root=own).read([3])
    assert one_line(e)


@pytest.mark.parametrize(
    "box",
    [
        "",
        "None",
        "0.1, 0.1, 0, 0",
        "(0, 0, 0.1)",
        "(0, 0, 0.1, 0.1, 0)",
        "(a, 0, 0, 0)",
        "(nan, 0, 0, 0)",
        "(0, 0, 1.0, 0)",
        "(0, 0, -0.1, 0.1)",
        "(0, 0, 0.6, 0.4)",
        "(0.5, 0.5, 0, 0)",
        "(0, 0, 0, __import__('os'))",
    ],
)
def test_a_crop_that_is_none_is_refused_on_opening(own, box):
    write_catalogue(own, [(0, "val2017", 285, "(0, 0, 0, 0)"), (1, "val2017", 9, box)])
    with pytest.raises(BadInputError, match=r"nsd_stim_info_merged\.csv: cropBox of nsdId 1 is .* expected \(top") as e:
        open_stimuli(root=own)
    assert one_line(e)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((0, "test2017", 285, "(0, 0, 0, 0)"), "cocoSplit 'test2017'"),
        ((0, "../val2017", 285, "(0, 0, 0, 0)"), "cocoSplit '../val2017'"),
        ((0, "val2017", "28x", "(0, 0, 0, 0)"), "cocoId '28x'"),
        ((1, "val2017", 285, "(0, 0, 0, 0)"), "has nsdId '1', expected 0"),
    ],
)
def test_another_catalogue_is_refused(own, row, message):
    write_catalogue(own, [row])
    with pytest.raises(BadInputError, match=message) as e:
        open_stimuli(root=own)
    assert one_line(e)


def test_a_crop_that_leaves_no_square_is_refused(own):
    boxes = ["(0, 0, 0.1, 0.1)", "(0.5, 0.4999, 0, 0)", "(0, 0, 0.001, 0)", "(0, 0, 0.0033, 0)"]
    write_catalogue(own, [(i, "val2017", 285, box) for i, box in enumerate(boxes)])
    source = open_stimuli(root=own)
    for nsd_id, size in ((0, "490 x 612"), (1, "612 x 0"), (3, "610 x 612")):
        with pytest.raises(
            BadInputError, match=rf"000000000285\.jpg is 612 x 612 .* leaves {size}, expected a sq"
        ) as e:
            source.read([nsd_id])
        assert one_line(e)
    assert source.read([2]).shape == (1, 425, 425, 3)


def test_folder_or_catalogue_missing(own):
    with pytest.raises(BadInputError, match=r"lacks 2 of the pictures asked for, first \[-1, 7\]"):
        open_stimuli(root=own).read([-1, 0, 7])
    (own / STIM_INFO).unlink()
    with pytest.raises(BadInputError, match=r"nsd_stim_info_merged\.csv is missing") as e:
        open_stimuli(root=own)
    assert one_line(e)
    (own / STIM_INFO).mkdir()
    with pytest.raises(BadInputError, match=r"nsd_stim_info_merged\.csv is a folder"):
        open_stimuli(root=own)
    for split in ("train2017", "val2017"):
        (own / COCO / split).rename(own / COCO / f"{split}_elsewhere")
    with pytest.raises(BadInputError, match="has no folder train2017 or val2017"):
        open_stimuli(root=own)
