import h5py
import numpy as np
import pytest

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.mindeye_stimuli import MINDEYE_IMAGES
from fmri_lightning.index.stimuli import open_stimuli, stimuli_identity


def write(root, images, name="images"):
    root.mkdir(exist_ok=True)
    with h5py.File(root / MINDEYE_IMAGES, "w") as handle:
        handle.create_dataset(name, data=images)
    return root / MINDEYE_IMAGES


def floats(pictures):
    """Pictures (n, h, w, 3) as MindEye2 stores them."""
    return (pictures / 255.0).transpose(0, 3, 1, 2).astype(np.float16)


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 256, (150, 8, 11, 3), dtype=np.uint8)
    shown[3].flat[:256] = np.arange(256)
    return shown


def test_every_grey_level_comes_back_as_it_was(tmp_path):
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    pictures = np.concatenate([levels, 255 - levels, np.roll(levels, 77)], axis=-1)
    write(tmp_path, floats(pictures))
    assert np.array_equal(open_stimuli(root=tmp_path).read([0]), pictures)


def test_pictures_come_in_the_order_asked_for(tmp_path, pictures):
    write(tmp_path, floats(pictures))
    source = open_stimuli(root=tmp_path)
    assert source.ids.tolist() == list(range(150))
    wanted = [149, 3, 0, 3, 77]
    assert np.array_equal(source.read(wanted), pictures[wanted])
    assert np.array_equal(source.read(source.ids), pictures)
    assert source.read([]).shape == (0, 8, 11, 3)
    with pytest.raises(BadInputError, match=r"lacks 2 of the pictures asked for, first \[-1, 150\]"):
        source.read([-1, 4, 150])


def test_identity_is_that_of_the_file(tmp_path, pictures):
    write(tmp_path, floats(pictures))
    first = stimuli_identity(root=tmp_path)
    assert first.startswith("mindeye2:")
    write(tmp_path, floats(255 - pictures))
    assert stimuli_identity(root=tmp_path) != first


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 3, 4, 4), np.float32), r"images is float32 \(2, 3, 4, 4\), expected float16 \(n, 3"),
        (np.zeros((2, 3, 4, 4), np.uint8), "images is uint8"),
        (np.zeros((2, 4, 4, 3), np.float16), r"images is float16 \(2, 4, 4, 3\)"),
        (np.zeros((2, 3, 16), np.float16), r"images is float16 \(2, 3, 16\)"),
    ],
)
def test_another_layout_is_refused(tmp_path, images, message):
    write(tmp_path, images)
    with pytest.raises(BadInputError, match=rf"coco_images_224_float16\.hdf5: {message}"):
        open_stimuli(root=tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.1, -0.1, 200.0])
def test_values_that_are_no_grey_levels_are_refused(tmp_path, pictures, value):
    images = floats(pictures)
    images[7, 1, 2, 3] = value
    write(tmp_path, images)
    assert len(open_stimuli(root=tmp_path).read([6, 8])) == 2
    with pytest.raises(BadInputError, match=r"picture 7 holds values from .* expected 0 to 1") as error:
        open_stimuli(root=tmp_path).read([6, 7, 8])
    assert len(str(error.value).splitlines()) == 1


def test_a_damaged_file_is_named(tmp_path, pictures):
    path = write(tmp_path, floats(pictures), name="betas")
    with pytest.raises(BadInputError, match="has no dataset 'images', it holds betas"):
        open_stimuli(root=tmp_path)
    whole = write(tmp_path, floats(pictures)).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match=r"float16\.hdf5 cannot be read .*download it again") as error:
        open_stimuli(root=tmp_path)
    assert len(str(error.value).splitlines()) == 1
    path.unlink()
    path.mkdir()
    with pytest.raises(BadInputError, match="is a folder, expected a file"):
        open_stimuli(root=tmp_path)
