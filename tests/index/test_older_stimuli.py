"""Pictures of MindEye1's samples and of brain-diffuser's arrays, by nsd_id."""

import shutil

import h5py
import numpy as np
import pytest

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.stimuli import STIMULI, open_stimuli, stimuli_identity
from tests.index.tiny_brain_diffuser import path, write_tiny_brain_diffuser
from tests.index.tiny_mindeye1 import FOLDER, npy, read_tar, unpack, write_tar, write_tiny_mindeye1
from tests.index.tiny_nsd import write_tiny_nsd


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    place = tmp_path_factory.mktemp("tiny")
    tiny = write_tiny_nsd(place / "nsd", n_shared=8, nifti=False, edge_voxels=False)
    return tiny, write_tiny_mindeye1(place / "mindeye1", tiny), write_tiny_brain_diffuser(place / "data", tiny)


def shown(tiny):
    return np.unique(np.concatenate(list(tiny.nsd_ids.values()))).tolist()


@pytest.mark.parametrize("form", ["tars", "unpacked"])
def test_samples_give_the_picture_of_each_id_in_the_order_asked_for(roots, tmp_path, form):
    root = shutil.copytree(roots[1], tmp_path / "copy")
    if form == "unpacked":
        unpack(root)
    source = open_stimuli(root=root)
    assert source.ids.tolist() == shown(roots[0])
    wanted = [source.ids[5], source.ids[0], source.ids[5]]
    pictures = source.read(wanted)
    assert pictures.shape == (3, 8, 8, 3)
    # The tiny writer paints the id into red; JPEG keeps an even colour to about two levels.
    assert np.abs(pictures[:, :, :, 0].astype(int) - np.array(wanted)[:, None, None]).max() <= 2
    assert source.read([]).shape == (0, 8, 8, 3)
    unseen = next(i for i in range(200) if i not in source.ids)
    with pytest.raises(BadInputError, match=rf"lacks 1 of the pictures asked for, first \[{unseen}\]"):
        source.read([unseen])


def test_arrays_give_the_picture_of_each_id_exactly(roots):
    tiny, _, root = roots
    source = open_stimuli(root=root)
    with h5py.File(tiny.root / STIMULI) as handle:
        brick = handle["imgBrick"][:]
    assert source.ids.tolist() == shown(tiny)
    wanted = [*source.ids[::-1], source.ids[3]]
    assert np.array_equal(source.read(wanted), brick[wanted])
    assert source.read([]).shape == (0, 7, 7, 3)


def test_identity_tells_one_set_from_another(roots, tmp_path):
    _, samples, arrays = roots
    first = {name: stimuli_identity(root=root) for name, root in (("mindeye1", samples), ("brain_diffuser", arrays))}
    for name, text in first.items():
        assert text.startswith(f"{name}:")
    other = shutil.copytree(arrays, tmp_path / "arrays")
    file = path(other, "subj01", "test", "stim")
    np.save(file, 255 - np.load(file))
    assert stimuli_identity(root=other) != first["brain_diffuser"]
    other = shutil.copytree(samples, tmp_path / "samples")
    assert stimuli_identity(root=other) == first["mindeye1"]
    tar = other / FOLDER / "train/train_subj01_0.tar"
    members = read_tar(tar)
    name = next(name for name in members if name.endswith("coco73k.npy"))
    write_tar(tar, {**members, name: npy(np.array([199]))})
    assert stimuli_identity(root=other) != first["mindeye1"]


def test_nsds_own_pictures_are_read_where_they_lie_beside(roots, tmp_path):
    tiny, _, arrays = roots
    root = shutil.copytree(arrays, tmp_path / "arrays")
    (root / STIMULI).parent.mkdir(parents=True)
    shutil.copy(tiny.root / STIMULI, root / STIMULI)
    assert len(open_stimuli(root=root).ids) == tiny.catalogue


def test_two_older_forms_in_one_root_are_refused(roots, tmp_path):
    root = shutil.copytree(roots[2], tmp_path / "both")
    shutil.copytree(roots[1] / FOLDER, root / FOLDER)
    with pytest.raises(BadInputError, match="holds pictures in two forms, webdataset_avg_split and processed_data"):
        open_stimuli(root=root)


def test_a_damaged_jpeg_is_named(roots, tmp_path):
    root = shutil.copytree(roots[1], tmp_path / "copy")
    tar = root / FOLDER / "train/train_subj01_0.tar"
    members = read_tar(tar)
    name = next(name for name in members if name.endswith(".jpg"))
    nsd_id = int(np.frombuffer(members[name.replace("jpg", "coco73k.npy")][-8:], dtype="<i8")[0])
    write_tar(tar, {**members, name: members[name][:100]})
    with pytest.raises(BadInputError, match=rf"train_subj01_0\.tar: picture {nsd_id} cannot be read"):
        open_stimuli(root=root).read([nsd_id])
    members.pop(name)
    write_tar(tar, members)
    with pytest.raises(BadInputError, match=r"has no picture or no coco73k\.npy"):
        open_stimuli(root=root)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (lambda a: a * 2, "expected .* and 0 to 255"),
        (lambda a: np.where(a > 250, np.nan, a), "expected .* and 0 to 255"),
        (lambda a: a[:-1], "no number of first sessions shows subj01 so many pictures"),
        (lambda a: a.transpose(0, 3, 1, 2), r"expected float64 \(pictures, height, width, 3\)"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(roots, tmp_path, content, match):
    root = shutil.copytree(roots[2], tmp_path / "copy")
    file = path(root, "subj01", "train", "stim")
    np.save(file, content(np.load(file)))
    everything = open_stimuli(root=roots[2]).ids
    with pytest.raises(BadInputError, match=match):
        open_stimuli(root=root).read(everything)


def test_a_root_without_any_pictures_says_so(roots, tmp_path):
    root = shutil.copytree(roots[2], tmp_path / "copy", ignore=shutil.ignore_patterns("*_stim_*"))
    with pytest.raises(BadInputError, match="holds no pictures"):
        open_stimuli(root=root)
    (tmp_path / "empty" / FOLDER).mkdir(parents=True)
    with pytest.raises(BadInputError, match="holds no samples of any subject"):
        open_stimuli(root=tmp_path / "empty")
