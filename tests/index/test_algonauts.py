import shutil

import numpy as np
import pytest
from PIL import Image

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.command import index
from fmri_lightning.index.split import is_hashed_test, is_validation
from fmri_lightning.index.stimuli import holds_stimuli, open_stimuli, stimuli_identity
from fmri_lightning.index.table import index_manifest, read_index
from tests.index.tiny_algonauts import write_tiny_algonauts


@pytest.fixture
def tree(tmp_path):
    return write_tiny_algonauts(tmp_path / "challenge")


def made(tree):
    out = tree.root.parent / "index"
    index(tree.root, source="algonauts", out=out, overwrite=True)
    return read_index(out, "subj01"), index_manifest(out, "subj01").config


def refused(tree, match):
    with pytest.raises(BadInputError, match=match) as caught:
        made(tree)
    assert "\n" not in str(caught.value)
    assert not list(tree.root.parent.rglob("*.parquet"))


def test_a_row_is_a_picture_and_the_published_test_split_is_the_test_set(tree):
    table, facts = made(tree)
    train, test = tree.ids["training"], tree.ids["test"]
    assert table.nsd_id.tolist() == [*train, *test]
    assert table.beta_index.tolist() == [*range(len(train)), *range(len(test))]
    assert set(table.n_repeats.tolist()) == {1}
    expected = ["val" if is_validation(i) else "train" for i in train] + ["test"] * len(test)
    assert table.split.tolist() == expected
    assert table.trial_id_average.tolist() == [-1] * len(train) + list(range(len(test)))
    assert facts["normalised"] is True
    assert facts["arrived_as"].startswith("z-score per vertex and session over all its trials")
    assert facts["test_set"].startswith("Algonauts 2023 test split")
    assert facts["n_catalogue"] == len(train) + len(test)


def test_without_test_betas_a_hashed_tenth_is_the_test_set_and_says_that_it_does_not_compare(tree):
    shutil.rmtree(tree.root / "subj01/test_split/test_fmri")
    table, facts = made(tree)
    train = tree.ids["training"]
    assert table.nsd_id.tolist() == train.tolist()
    assert set(table.nsd_id[table.split == "test"].tolist()) == {i for i in train.tolist() if is_hashed_test(i)}
    assert "not comparable" in facts["test_set"]
    shutil.rmtree(tree.root / "subj01/test_split")
    assert made(tree)[0].nsd_id.tolist() == train.tolist()


def rename(folder, old, new):
    (folder / old).rename(folder / new)


def test_numbers_that_do_not_follow_the_ids_are_refused(tree):
    folder = tree.images("training")
    a, b = sorted(path.name for path in folder.iterdir())[3:5]
    rename(folder, a, "keep")
    rename(folder, b, f"train-0005_{a.split('_')[1]}")
    rename(folder, "keep", f"train-0004_{b.split('_')[1]}")
    refused(tree, r"train-0005_nsd-\d+\.png: nsd \d+ comes after nsd \d+, yet numbers follow the ids")


@pytest.mark.parametrize(
    ("which", "match"),
    [
        (4, r"training_images: picture 5 is missing or there twice, the next file is train-0006"),
        (0, r"picture 1 is missing"),
        (-1, r"lh_training_fmri\.npy has 60 rows, its split 59 pictures; a picture is missing, or another subject's"),
    ],
)
def test_a_missing_picture_is_named(tree, which, match):
    sorted(tree.images("training").iterdir())[which].unlink()
    refused(tree, match)


@pytest.mark.parametrize("name", ["train-0061_nsd-950.png", "test-0061_nsd-00950.png", "Thumbs.db", "train-0061.png"])
def test_a_file_of_another_name_is_refused(tree, name):
    Image.new("RGB", (6, 6)).save(tree.images("training") / name, format="png")
    refused(tree, r"is not named train-IIII_nsd-NNNNN\.png")


def test_a_picture_in_both_splits_is_refused(tree):
    last = max(int(tree.ids["training"][-1]), int(tree.ids["test"][-1])) + 1
    for split, prefix in (("training", "train"), ("test", "test")):
        number = len(tree.ids[split]) + 1
        Image.new("RGB", (6, 6)).save(tree.images(split) / f"{prefix}-{number:04d}_nsd-{last:05d}.png")
    refused(tree, rf"1 pictures are in training and test, first nsd {last}")


def damage(path, how):
    values = np.load(path)
    if how == "float64":
        np.save(path, values.astype(np.float64))
    elif how == "big-endian":
        np.save(path, values.astype(">f4"))
    elif how == "transposed":
        np.save(path, values.T)
    elif how == "three axes":
        np.save(path, values[None])
    elif how == "pickled":
        np.save(path, values.astype(object), allow_pickle=True)
    elif how == "cut off":
        path.write_bytes(path.read_bytes()[:-400])
    elif how == "missing":
        path.unlink()
    elif how == "a folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("split", ["training", "test"])
@pytest.mark.parametrize(
    ("how", "match"),
    [
        ("float64", r"is float64 .*, the challenge's betas are float32"),
        ("big-endian", r"is >f4 .*, the challenge's betas are float32"),
        ("three axes", r"is float32 \(1, .*, the challenge's betas are float32 \(pictures, vertices\)"),
        ("transposed", "rows, its split .* pictures; it is transposed"),
        ("pickled", "cannot be read as an array of numbers .*Python objects"),
        ("cut off", "cannot be read as an array of numbers"),
        ("missing", "is missing; it comes with the Algonauts 2023 challenge"),
        ("a folder", "is a folder, not a file"),
    ],
)
def test_betas_of_another_form_are_refused(tree, split, how, match):
    damage(tree.file(split, "rh"), how)
    refused(tree, rf"rh_{split}_fmri\.npy.*{match}")


def test_what_the_files_cannot_give_is_refused(tree, tmp_path):
    with pytest.raises(UsageError, match=r"--sessions 37: repeats are averaged over sessions"):
        index(tree.root, source="algonauts", sessions="37", out=tmp_path / "index")
    with pytest.raises(BadInputError, match=r"no subject 'subj02' under .*; present: subj01"):
        index(tree.root, source="algonauts", subject="subj02", out=tmp_path / "index")


def test_pictures_are_found_by_their_id_over_both_splits_and_all_subjects(tree):
    source = open_stimuli(root=tree.root)
    both = np.concatenate(list(tree.ids.values()))
    assert source.ids.tolist() == sorted(both.tolist())
    pictures = source.read(both)
    assert pictures.shape == (72, 6, 6, 3)
    assert pictures[:, 0, 0].tolist() == [[i % 256, i // 256, 7] for i in both.tolist()]
    assert holds_stimuli(tree.root)
    before = stimuli_identity(root=tree.root)
    shutil.copytree(tree.root / "subj01", tree.root / "subj02")
    again = open_stimuli(root=tree.root)
    assert again.ids.tolist() == source.ids.tolist()
    assert stimuli_identity(root=tree.root) != before
    shutil.rmtree(tree.root / "subj02")
    assert stimuli_identity(root=tree.root) == before
    sorted(tree.images("test").iterdir())[0].unlink()
    with pytest.raises(BadInputError, match="picture 1 is missing"):
        open_stimuli(root=tree.root)
