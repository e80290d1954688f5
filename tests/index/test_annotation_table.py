"""Annotations beside an index: written with it, never into it, and gone when they no longer belong."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.annotation_table import annotations_folder, read_annotations
from fmri_lightning.index.annotations import ANNOTATIONS
from fmri_lightning.index.command import index
from fmri_lightning.index.nsd import read_stimulus_info
from fmri_lightning.index.table import read_index, table_hash
from fmri_lightning.manifest import file_sha256, read_manifest
from tests.index.tiny_annotations import Entry, write_files

SIZE_PX = 7  # of the pictures of tiny_nsd, which are cut from 640 x 480


def annotate(own, place=ANNOTATIONS, kinds=("captions", "instances")):
    info = read_stimulus_info(own.root, 1)
    entries = [
        Entry(split, int(coco), 480, 640, [f"picture {i}", f"again {i}"], [(17, 80.0 + i, 0.0, 96.0, 480.0, 0)])
        for i, (split, coco) in enumerate(zip(info.coco_split.tolist(), info.coco_id.tolist(), strict=True))
    ]
    write_files(own.root / place, entries, kinds)
    return own.root / place


def bytes_of(out):
    folder = out / "subject=subj01"
    return (folder / "index.parquet").read_bytes(), read_manifest(folder, "index").content_hash


def test_the_default_folder_is_read_and_the_index_stays_what_it_was(own, tmp_path, capsys):
    index(own.root, out=tmp_path / "plain")
    assert read_annotations(tmp_path / "plain", "subj01") is None
    folder = annotate(own)
    index(own.root, out=tmp_path / "annotated")
    assert bytes_of(tmp_path / "plain") == bytes_of(tmp_path / "annotated")
    table = read_index(tmp_path / "annotated", "subj01")
    found = read_annotations(tmp_path / "annotated", "subj01")
    assert found.nsd_ids.tolist() == sorted(set(table.nsd_id.tolist()))
    for nsd_id, captions in found.captions_of().items():
        assert captions == [f"picture {nsd_id}", f"again {nsd_id}"]
        (cat,) = found.objects_of()[nsd_id]
        # 80 of 640 columns are cut from either side.
        left, right = nsd_id, min(96 + nsd_id, 480)
        assert cat.box.bbox_px == pytest.approx((left * 7 / 480, 0, (right - left) * 7 / 480, 7))
    manifest = read_manifest(annotations_folder(tmp_path / "annotated", "subj01"), "annotations")
    assert manifest.inputs == {file.name: file_sha256(file) for file in folder.iterdir()} | {"index": table_hash(table)}
    assert manifest.config["size_px"] == SIZE_PX
    assert manifest.config["n_captions"] == 2 * len(found.nsd_ids)
    assert f"{manifest.config['n_captions']} captions" in capsys.readouterr().out


def test_the_table_has_a_schema_that_others_can_read(own, tmp_path):
    annotate(own)
    index(own.root, out=tmp_path)
    table = pq.ParquetFile(annotations_folder(tmp_path, "subj01") / "annotations.parquet").read()
    assert table.column_names == ["nsd_id", "captions", "objects"]
    (thing,) = table.to_pylist()[0]["objects"]
    assert list(thing) == ["category", "supercategory", "bbox_px", "area_share", "left_share", "is_crowd"]
    assert (thing["category"], thing["supercategory"]) == ("cat", "animal")


def test_a_folder_elsewhere_can_be_named_and_a_kind_may_be_missing(own, tmp_path):
    folder = annotate(own, "elsewhere", ("captions",))
    index(own.root, out=tmp_path / "out", annotations=folder)
    found = read_annotations(tmp_path / "out", "subj01")
    assert found.objects is None
    assert len(found.captions) == len(found.nsd_ids)


def test_an_array_gives_captions_alone(own, tmp_path):
    np.save(tmp_path / "curated.npy", np.array([[f"row {i}", "", "", "", ""] for i in range(own.catalogue)]))
    index(own.root, out=tmp_path / "out", annotations=tmp_path / "curated.npy")
    found = read_annotations(tmp_path / "out", "subj01")
    assert found.captions == [[f"row {i}"] for i in found.nsd_ids]
    np.save(tmp_path / "curated.npy", np.full((73000, 5), "x"))
    with pytest.raises(BadInputError, match=r"\(73000, 5\), expected text \(200, 5\)"):
        index(own.root, out=tmp_path / "other", annotations=tmp_path / "curated.npy")


def test_bad_annotations_leave_no_index_behind(own, tmp_path):
    folder = annotate(own)
    (folder / "captions_train2017.json").write_text("{")
    with pytest.raises(BadInputError, match="captions_train2017"):
        index(own.root, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_annotated_is_refused(own, tmp_path):
    with pytest.raises(BadInputError, match=r"--annotations .* does not exist"):
        index(own.root, out=tmp_path / "out", annotations=tmp_path / "nothing")
    with pytest.raises(UsageError, match="--annotations go with the pictures of NSD"):
        index(own.root, source="arrays", out=tmp_path / "out", annotations=tmp_path)


def test_annotations_stay_with_the_same_index_and_go_with_another(own, tmp_path, capsys):
    folder = annotate(own)
    index(own.root, out=tmp_path)
    shutil.rmtree(folder)
    index(own.root, out=tmp_path)
    assert read_annotations(tmp_path, "subj01") is not None
    index(own.root, out=tmp_path, sessions="1", overwrite=True)
    assert read_annotations(tmp_path, "subj01") is None
    assert "are gone; --annotations DIR" in capsys.readouterr().out


def test_annotations_of_another_index_and_damaged_ones_are_refused(own, tmp_path):
    annotate(own)
    index(own.root, out=tmp_path / "all")
    index(own.root, out=tmp_path / "one", sessions="1")
    swapped = annotations_folder(tmp_path / "one", "subj01")
    shutil.rmtree(swapped)
    shutil.copytree(annotations_folder(tmp_path / "all", "subj01"), swapped)
    with pytest.raises(BadInputError, match="was made for another index of subj01"):
        read_annotations(tmp_path / "one", "subj01")
    file = annotations_folder(tmp_path / "all", "subj01") / "annotations.parquet"
    whole = file.read_bytes()
    table = pq.ParquetFile(file).read()
    pq.write_table(table.slice(1), file)
    with pytest.raises(BadInputError, match="is not the table its manifest describes"):
        read_annotations(tmp_path / "all", "subj01")
    pq.write_table(table.drop_columns(["captions"]), file)
    with pytest.raises(BadInputError, match="has other columns"):
        read_annotations(tmp_path / "all", "subj01")
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match="cannot be read"):
        read_annotations(tmp_path / "all", "subj01")
    (file.parent / "manifest.json").unlink()
    with pytest.raises(BadInputError, match="no annotations at"):
        read_annotations(tmp_path / "all", "subj01")


def test_the_same_files_give_the_same_hash(own, tmp_path):
    annotate(own)
    hashes = set()
    for name in ("a", "b"):
        index(own.root, out=tmp_path / name)
        manifest = json.loads((annotations_folder(tmp_path / name, "subj01") / "manifest.json").read_text())
        hashes.add(manifest["content_hash"])
    assert len(hashes) == 1
