"""Captions and objects of cropped photographs, against counts of whole pixels and against drawn masks."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from fmri_lightning.errors import BadInputError
from fmri_lightning.index import annotations as module
from fmri_lightning.index.annotations import read_coco, read_curated, stimulus_size
from fmri_lightning.index.coco_stimuli import COCO, CocoStimuli, crop, cuts_px
from fmri_lightning.index.shown_objects import Window, shown_box
from tests.index.tiny_annotations import WITHOUT_OBJECTS, captions_of, entries, expected_objects, write_files
from tests.index.tiny_coco import PHOTOS, write_catalogue

ALL = np.arange(len(PHOTOS))
SIZE_PX = 425


def write_root(root):
    write_catalogue(root, [(i, photo.split, photo.coco_id, photo.shares) for i, photo in enumerate(PHOTOS)])
    write_files(root / "annotations", entries())
    return root


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return write_root(tmp_path_factory.mktemp("annotated"))


@pytest.fixture
def own(tmp_path):
    return write_root(tmp_path)


def require_right(root):
    found, inputs, size_px = read_coco(root, root / "annotations", ALL)
    assert size_px == SIZE_PX
    assert len(inputs) == 4
    assert found.nsd_ids.tolist() == ALL.tolist()
    for number in ALL:
        assert found.captions_of()[number] == captions_of(number)
        told = found.objects_of()[number]
        wanted = expected_objects(number, SIZE_PX)
        assert [one.category for one in told] == [name for name, *_ in wanted]
        for one, (_, box, area, left) in zip(told, wanted, strict=True):
            assert one.box.bbox_px == pytest.approx(box, abs=1e-9)
            assert one.box.area_share == pytest.approx(area, abs=1e-12)
            assert one.box.left_share == pytest.approx(left, abs=1e-12)


def test_pictures_get_the_captions_and_objects_of_their_own_photograph(coco):
    require_right(coco)
    found, _, _ = read_coco(coco, coco / "annotations", ALL)
    assert found.objects_of()[WITHOUT_OBJECTS] == []
    assert {one.category for objects in found.objects for one in objects} == {"person", "cat", "dog"}
    assert {one.supercategory for objects in found.objects for one in objects} == {"person", "animal"}
    assert all(one.is_crowd == (one.category == "person") for objects in found.objects for one in objects)


def test_the_same_number_in_both_splits_is_two_photographs(coco):
    assert (PHOTOS[0].coco_id, PHOTOS[0].split) == (PHOTOS[1].coco_id, "train2017")
    found, _, _ = read_coco(coco, coco / "annotations", np.array([1, 0, 1]))
    assert found.nsd_ids.tolist() == [0, 1]
    assert found.captions == [captions_of(0), captions_of(1)]


def axes(order):
    return lambda box, height, width: tuple(
        np.array(cuts_px(np.asarray(box), height, width))[list(order)].tolist()
    )  # fmt: skip


def other_split(folder, kind, split):
    return folder / f"{kind}_{'val2017' if split == 'train2017' else 'train2017'}.json"


def merged(path, kind, wanted):
    """Both splits in one dictionary, as if the number alone were the photograph."""
    from fmri_lightning.index.coco_annotations import read_coco_file

    ids = [entry.coco_id for entry in entries() if entry.split in path.name]
    mine = read_coco_file(path, kind, ids)
    other = path.with_name(f"{kind}_{'val2017' if 'train2017' in path.name else 'train2017'}.json")
    theirs = read_coco_file(other, kind, [entry.coco_id for entry in entries() if entry.split in other.name])
    return dataclasses.replace(mine, captions=mine.captions | theirs.captions, objects=mine.objects | theirs.objects)


def not_clipped(bbox, window):
    inside = shown_box(bbox, window)
    if inside is not None:
        return inside
    return shown_box(bbox, dataclasses.replace(window, top=-9999, left=-9999, height=99999, width=99999))


def neighbours(path):
    from fmri_lightning.index.coco_stimuli import read_crop_table

    table = read_crop_table(path)
    return dataclasses.replace(table, names=table.names[1:] + table.names[:1], boxes=np.roll(table.boxes, -1, axis=0))


FAULTS = {
    "left, right, top, bottom": ("cuts_px", axes((2, 3, 0, 1))),
    "bottom before top": ("cuts_px", axes((1, 0, 2, 3))),
    "right before left": ("cuts_px", axes((0, 1, 3, 2))),
    "no crop": ("_window", lambda file, coco, *_: Window(0, 0, *file.sizes[coco], SIZE_PX)),
    "looked up in the other split": ("annotation_file", other_split),
    "all looked up in train2017": ("annotation_file", lambda folder, kind, _: folder / f"{kind}_train2017.json"),
    "number alone": ("read_coco_file", merged),
    "cut-off things listed": ("shown_box", not_clipped),
    "not rescaled": ("shown_box", lambda bbox, w: shown_box(bbox, dataclasses.replace(w, size_px=w.width))),
    "not shifted": ("shown_box", lambda bbox, w: shown_box(bbox, dataclasses.replace(w, top=0, left=0))),
    "the neighbour's": ("read_crop_table", neighbours),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_caught(coco, monkeypatch, fault):
    monkeypatch.setattr(module, *FAULTS[fault])
    with pytest.raises((AssertionError, BadInputError)):
        require_right(coco)


def test_half_a_pixel_is_rounded_as_the_pictures_are():
    for share, height, expected in ((0.5 / 480, 480, 0), (1.5 / 480, 480, 2), (2.5 / 480, 480, 2), (0.29, 100, 29)):
        assert cuts_px(np.array([share, 0, 0, share]), height, height) == (expected, 0, 0, expected)


def test_a_box_in_closed_form():
    window = Window(top=0, left=107, height=480, width=480, size_px=425)
    inside = shown_box((155, 48, 96, 240), window)
    assert inside.bbox_px == pytest.approx((42.5, 42.5, 85, 212.5))
    assert (inside.area_share, inside.left_share) == (pytest.approx(0.1), 1)
    across = shown_box((97, 470, 40, 20), window)  # a quarter to the left and a half below are cut off
    assert across.bbox_px == pytest.approx((0, 470 * 425 / 480, 30 * 425 / 480, 10 * 425 / 480))
    assert across.left_share == pytest.approx(0.375)
    assert shown_box((0, 0, 640, 480), window).bbox_px == (0, 0, 425, 425)
    assert shown_box((0, 0, 107, 480), window) is None
    assert shown_box((10.1, 0, 96.9, 480), window) is None, "rounding of a sum leaves no sliver"
    assert shown_box((200, 100, 0, 50), window) is None
    assert shown_box((600, 0, 40, 480), window) is None


@pytest.mark.parametrize("number", ALL)
def test_boxes_are_where_the_pictures_own_crop_puts_a_drawn_mask(number):
    photo, rng = PHOTOS[number], np.random.default_rng(number)
    shares = np.asarray(photo.shares, dtype=float)
    top, bottom, left, right = cuts_px(shares, photo.height, photo.width)
    rows, columns = photo.height - top - bottom, photo.width - left - right
    window = Window(top, left, rows, columns, SIZE_PX)
    met = set()
    for _ in range(200):
        x, y = rng.integers(0, photo.width - 1), rng.integers(0, photo.height - 1)
        width, height = (int(min(rng.geometric(1 / 60), end - at)) for end, at in ((photo.width, x), (photo.height, y)))
        mask = np.zeros((photo.height, photo.width, 3), np.uint8)
        mask[y : y + height, x : x + width] = 255
        left_over = crop(mask, shares)[..., 0] > 0
        found = shown_box((float(x), float(y), float(width), float(height)), window)
        met.add(found is None)
        if found is None:
            assert not left_over.any()
            continue
        at_y, at_x = np.flatnonzero(left_over.any(1)), np.flatnonzero(left_over.any(0))
        assert found.bbox_px == pytest.approx(
            (
                at_x[0] * SIZE_PX / columns,
                at_y[0] * SIZE_PX / rows,
                len(at_x) * SIZE_PX / columns,
                len(at_y) * SIZE_PX / rows,
            )
        )
        assert found.area_share == pytest.approx(left_over.mean())
        assert found.left_share == pytest.approx(left_over.sum() / (width * height))
    assert met == ({False} if number == WITHOUT_OBJECTS else {True, False})


def test_boxes_lie_on_the_things_of_the_shown_pictures(own):
    """End to end: a white box is drawn on each photograph, cut and resized by the reader of stimuli."""
    for number, photo in enumerate(PHOTOS):
        path = own / COCO / photo.split / f"{photo.coco_id:012d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        top, _, left, _ = photo.cuts_px
        picture = np.zeros((photo.height, photo.width, 3), np.uint8)
        picture[top + 60 + number : top + 150 + number, left + 40 : left + 160] = 255
        Image.fromarray(picture).save(path, quality=95)
    assert stimulus_size(own) == SIZE_PX
    objects = read_coco(own, own / "annotations", ALL)[0].objects_of()
    for number, picture in enumerate(CocoStimuli(own).read(ALL)):
        if number == WITHOUT_OBJECTS:
            continue
        white = picture[..., 0] > 127
        rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
        x, y, width, height = objects[number][0].box.bbox_px
        assert np.abs([columns[0] - x, columns[-1] + 1 - x - width]).max() <= 1
        assert np.abs([rows[0] - y, rows[-1] + 1 - y - height]).max() <= 1


def test_a_kind_that_is_not_there_is_unknown_and_not_empty(own):
    for file in (own / "annotations").glob("captions_*"):
        file.unlink()
    found, inputs, _ = read_coco(own, own / "annotations", ALL)
    assert found.captions is None
    assert sorted(inputs) == ["instances_train2017.json", "instances_val2017.json"]


def test_only_the_splits_that_are_needed_are_read(own):
    (own / "annotations/captions_val2017.json").unlink()
    (own / "annotations/instances_val2017.json").unlink()
    train = np.array([i for i, photo in enumerate(PHOTOS) if photo.split == "train2017"])
    assert read_coco(own, own / "annotations", train)[0].captions[0] == captions_of(0)
    with pytest.raises(BadInputError, match=r"captions_val2017.json is missing.*both splits"):
        read_coco(own, own / "annotations", ALL)


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        (
            "captions_train2017.json",
            '"id": 77,',
            '"id": 78,',
            "does not list 1 of 4 photographs of its split, image 77",
        ),
        ("captions_val2017.json", '"caption"', '"text"', "an entry of annotations is not as in COCO's captions files"),
        (
            "instances_val2017.json",
            '"bbox": [',
            '"bbox": [7, ',
            "an entry of annotations is not as in COCO's instances",
        ),
        (
            "instances_val2017.json",
            '"id": 17, "name"',
            '"id": 19, "name"',
            "category 17 of image .* is not in its list",
        ),
        ("instances_train2017.json", '"height": 480, "width": 640', '"height": 640, "width": 640', "expected a square"),
        ("instances_train2017.json", '"categories"', '"categ', "cannot be read as JSON"),
    ],
)
def test_damage_is_named_with_its_file(own, file, old, new, complaint):
    change(own / "annotations" / file, old, new)
    with pytest.raises(BadInputError, match=complaint) as error:
        read_coco(own, own / "annotations", ALL)
    assert file in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_folder_without_files_and_a_picture_beyond_the_catalogue_are_refused(coco, tmp_path):
    with pytest.raises(BadInputError, match="holds neither captions_train2017"):
        read_coco(coco, tmp_path, ALL)
    with pytest.raises(BadInputError, match=r"has 7 pictures, the index names nsd_id 7"):
        read_coco(coco, coco / "annotations", np.array([7]))


def curated(path, n=6, columns=5, shift=0):
    texts = [
        [f" picture {row + shift}, sentence {k} " if k != row % 5 else "" for k in range(columns)] for row in range(n)
    ]
    np.save(path, np.array(texts))
    return path


def test_curated_captions_belong_to_the_row_of_their_id(tmp_path):
    found = read_curated(curated(tmp_path / "a.npy"), np.array([4, 2, 4]), 6)
    assert found.nsd_ids.tolist() == [2, 4]
    assert found.captions == [[f"picture {row}, sentence {k}" for k in range(5) if k != row] for row in (2, 4)]
    assert found.objects is None
    shifted = read_curated(curated(tmp_path / "b.npy", shift=1), np.array([4, 2, 4]), 6)
    assert shifted.captions != found.captions


@pytest.mark.parametrize("wrong", [{"n": 7}, {"n": 5}, {"columns": 4}])
def test_an_array_of_another_catalogue_is_refused(tmp_path, wrong):
    with pytest.raises(BadInputError, match=r"expected text \(6, 5\)"):
        read_curated(curated(tmp_path / "a.npy", **wrong), np.array([2]), 6)


def test_what_is_no_array_of_text_is_refused(tmp_path):
    np.save(tmp_path / "numbers.npy", np.zeros((6, 5)))
    with pytest.raises(BadInputError, match="expected text"):
        read_curated(tmp_path / "numbers.npy", np.array([2]), 6)
    np.save(tmp_path / "objects.npy", np.array([["a", None]], dtype=object), allow_pickle=True)
    with pytest.raises(BadInputError, match="cannot be read as an array"):
        read_curated(tmp_path / "objects.npy", np.array([2]), 6)
    (tmp_path / "cut.npy").write_bytes(curated(tmp_path / "a.npy").read_bytes()[:200])
    with pytest.raises(BadInputError, match="cannot be read as an array"):
        read_curated(tmp_path / "cut.npy", np.array([2]), 6)
