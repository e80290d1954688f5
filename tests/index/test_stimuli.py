import h5py
import numpy as np
import pytest
from PIL import Image

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.stimuli import STIMULI, open_stimuli


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
    with pytest.raises(BadInputError, match="is missing"):
        open_stimuli(root=tmp_path)
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
