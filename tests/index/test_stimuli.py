import h5py
import numpy as np
import pytest
from PIL import Image

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.evaluation.truth import open_truth
from fmri_lightning.index.coco_stimuli import COCO
from fmri_lightning.index.mindeye_stimuli import MINDEYE_IMAGES
from fmri_lightning.index.stimuli import STIMULI, FolderStimuli, holds_stimuli, open_stimuli, stimuli_identity


def test_nsd_pictures_come_in_the_order_asked_for(tiny):
    source = open_stimuli(root=tiny.root)
    with h5py.File(tiny.root / STIMULI) as handle:
        brick = handle["imgBrick"][:]
    assert source.ids.tolist() == list(range(len(brick)))
    ids = [9, 2, 9, 150, 0]
    assert np.array_equal(source.read(ids), brick[ids])
    assert source.read([]).shape == (0, 7, 7, 3)
    with pytest.raises(BadInputError, match=r"lacks 2 of the pictures asked for, first \[-1, 200\]"):
        source.read([-1, 3, 200])


def save(folder, name, value, size=(5, 4), mode="RGB"):
    folder.mkdir(exist_ok=True)
    Image.new(mode, size, value).save(folder / name)


def test_a_folder_takes_ids_from_names(tmp_path):
    save(tmp_path / "f", "nsd00012.png", (1, 2, 3))
    save(tmp_path / "f", "nsd7_generated.png", (4, 5, 6))
    source = open_stimuli(images=tmp_path / "f")
    assert source.ids.tolist() == [7, 12]
    pictures = source.read([12, 7, 12])
    assert pictures.shape == (3, 4, 5, 3)
    assert pictures[:, 0, 0].tolist() == [[1, 2, 3], [4, 5, 6], [1, 2, 3]]


def test_a_folder_of_other_names_counts_in_sorted_order(tmp_path):
    for name, value in (("b.png", 20), ("a.png", 10), ("c.png", 30)):
        save(tmp_path / "f", name, value, mode="L")
    source = open_stimuli(images=tmp_path / "f")
    assert source.ids.tolist() == [0, 1, 2]
    assert source.read([2, 0])[:, 0, 0, 1].tolist() == [30, 10]
    save(tmp_path / "f" / "sub", "aa.png", 15)
    assert FolderStimuli(tmp_path / "f").id_of_name == {"a.png": 0, "b.png": 1, "c.png": 2, "sub/aa.png": 3}


def test_ambiguous_or_damaged_folders_are_refused(tmp_path):
    folder = tmp_path / "f"
    save(folder, "nsd1.png", 0)
    save(folder, "nsd001_again.png", 0)
    with pytest.raises(BadInputError, match="2 files claim nsd id 1"):
        open_stimuli(images=folder)
    (folder / "nsd001_again.png").unlink()
    save(folder, "other.png", 0)
    with pytest.raises(BadInputError, match=r"other\.png does not"):
        open_stimuli(images=folder)
    (folder / "other.png").unlink()
    save(folder, "nsd2.png", 0, size=(9, 9))
    with pytest.raises(BadInputError, match="bring all pictures to one size"):
        open_stimuli(images=folder).read([1, 2])
    (folder / "nsd2.png").write_bytes((folder / "nsd1.png").read_bytes()[:30])
    with pytest.raises(BadInputError, match=r"nsd2\.png cannot be read as a picture"):
        open_stimuli(images=folder).read([2])


def test_exactly_one_place_and_it_must_exist(tmp_path):
    with pytest.raises(UsageError):
        open_stimuli()
    with pytest.raises(UsageError):
        open_stimuli(root=tmp_path, images=tmp_path)
    with pytest.raises(BadInputError, match="no pictures in") as error:
        open_stimuli(root=tmp_path)
    assert all(place in str(error.value) for place in (STIMULI, COCO, MINDEYE_IMAGES))
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(BadInputError, match="no pictures in"):
        stimuli_identity(root=tmp_path)
    with pytest.raises(BadInputError, match="no folder"):
        open_stimuli(images=tmp_path / "nowhere")
    with pytest.raises(BadInputError, match="holds no pictures"):
        open_stimuli(images=tmp_path)


def test_another_hdf5_layout_is_refused(tmp_path):
    path = tmp_path / STIMULI
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as handle:
        handle["imgBrick"] = np.zeros((3, 2, 2), dtype=np.uint8)
    with pytest.raises(BadInputError, match="expected uint8"):
        open_stimuli(root=tmp_path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(BadInputError, match="cannot be read"):
        open_stimuli(root=tmp_path)


@pytest.mark.parametrize("kind", ["folder", "link to nothing", "no dataset", "group", "cut off in the pictures"])
def test_what_is_no_stimulus_file_is_named(tmp_path, kind):
    path = tmp_path / STIMULI
    path.parent.mkdir(parents=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "link to nothing":
        path.symlink_to("elsewhere.hdf5")
    else:
        with h5py.File(path, "w") as handle:
            if kind == "group":
                handle.create_group("imgBrick")
            else:
                pictures = np.zeros((50, 20, 20, 3), dtype=np.uint8)
                handle["images" if kind == "no dataset" else "imgBrick"] = pictures
        if kind == "cut off in the pictures":
            path.write_bytes(path.read_bytes()[:-5000])
    expected = {
        "folder": "is a folder, expected a file",
        "link to nothing": "a link to nothing",
        "no dataset": "has no dataset 'imgBrick', it holds images",
        "group": "has no dataset 'imgBrick', it holds imgBrick",
    }
    assert holds_stimuli(tmp_path)
    with pytest.raises(BadInputError, match=rf"nsd_stimuli\.hdf5 .*{expected.get(kind, 'cannot be read')}") as error:
        open_stimuli(root=tmp_path)
    assert len(str(error.value).splitlines()) == 1


def write_mindeye(root, n=3):
    with h5py.File(root / MINDEYE_IMAGES, "w") as handle:
        handle["images"] = np.full((n, 3, 4, 4), 0.2, dtype=np.float16)


def test_two_forms_without_the_original_are_not_chosen_between(tmp_path):
    write_mindeye(tmp_path)
    (tmp_path / COCO / "val2017").mkdir(parents=True)
    with pytest.raises(BadInputError, match=r"in two forms, .*coco and coco_images.*keep one of them"):
        open_stimuli(root=tmp_path)
    (tmp_path / STIMULI).parent.mkdir(parents=True)
    with h5py.File(tmp_path / STIMULI, "w") as handle:
        handle["imgBrick"] = np.zeros((5, 2, 2, 3), dtype=np.uint8)
    assert open_stimuli(root=tmp_path).read([4]).shape == (1, 2, 2, 3)


def test_ground_truth_takes_a_root_of_any_form(tmp_path):
    assert not holds_stimuli(tmp_path)
    write_mindeye(tmp_path)
    assert holds_stimuli(tmp_path)
    assert open_truth(None, tmp_path).read([2]).tolist() == np.full((1, 4, 4, 3), 51).tolist()
