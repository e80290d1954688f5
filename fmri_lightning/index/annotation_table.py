"""Annotations on disk: one Parquet file a subject in the folder of its index, and a manifest of their own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.annotations import ANNOTATIONS, Annotations, ShownObject, read_coco, read_curated
from fmri_lightning.index.shown_objects import ShownBox
from fmri_lightning.index.table import index_manifest, subject_folder
from fmri_lightning.manifest import (
    Manifest,
    atomic_path,
    content_hash,
    file_sha256,
    read_manifest,
    write_manifest,
)

if TYPE_CHECKING:
    import pyarrow as pa

KIND = "annotations"
FILE = "annotations.parquet"


def annotations_folder(index_root: Path | str, subject: str) -> Path:
    """Name the folder of a subject's annotations, inside that of its index."""
    return subject_folder(index_root, subject) / KIND


def annotations_to_read(root: Path, asked: Path | None) -> Path | None:
    """Say which annotations belong to an index.

    Args:
        root: Data root.
        asked: What the user named, or None.

    Returns:
        What was named; else the folder below the root where there is one; else None.

    Raises:
        BadInputError: If what was named is not there.
    """
    if asked is not None:
        if not asked.exists():
            raise BadInputError(
                f"--annotations {asked} does not exist; name COCO's annotations folder or a .npy of captions"
            )
        return asked
    beside = root / ANNOTATIONS
    return beside if beside.is_dir() and any(beside.glob("*_*2017.json")) else None


@dataclass(frozen=True)
class Read:
    """Annotations and what they were read from.

    Attributes:
        annotations: What the stimuli show.
        inputs: SHA-256 by file.
        facts: Settings for the manifest.
    """

    annotations: Annotations
    inputs: dict[str, str]
    facts: dict[str, Any]


def read_source(root: Path, place: Path, nsd_ids: Any, n_catalogue: int) -> Read:
    """Read COCO's folder, or an array of captions.

    Args:
        root: Data root.
        place: A folder of COCO's files, or a .npy file.
        nsd_ids: 0-based stimuli of the index, (n,) integers.
        n_catalogue: Pictures in the catalogue.

    Returns:
        What the stimuli show.

    Raises:
        BadInputError: If something is missing or wrong.
    """
    if place.is_file():
        found = read_curated(place, nsd_ids, n_catalogue)
        return Read(found, {place.name: file_sha256(place)}, {"from": place.as_posix(), "size_px": None})
    annotations, inputs, size_px = read_coco(root, place, nsd_ids)
    return Read(annotations, inputs, {"from": place.as_posix(), "size_px": size_px})


def arrow_schema() -> pa.Schema:
    """Return the schema: nsd_id, captions and objects; a null list is unknown, an empty one is nothing to see."""
    import pyarrow as pa

    thing = pa.struct(
        [
            pa.field("category", pa.string(), nullable=False),
            pa.field("supercategory", pa.string(), nullable=False),
            pa.field("bbox_px", pa.list_(pa.float64(), 4), nullable=False),
            pa.field("area_share", pa.float64(), nullable=False),
            pa.field("left_share", pa.float64(), nullable=False),
            pa.field("is_crowd", pa.bool_(), nullable=False),
        ]
    )
    return pa.schema(
        [
            pa.field("nsd_id", pa.int32(), nullable=False),
            pa.field("captions", pa.list_(pa.string())),
            pa.field("objects", pa.list_(thing)),
        ]
    )


def write_annotations(index_root: Path | str, subject: str, read: Read) -> Manifest:
    """Write a subject's annotations beside its index, which stays as it is.

    Args:
        index_root: Folder of all subjects' indices.
        subject: For instance "subj01".
        read: What was read for it.

    Returns:
        The manifest as written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = annotations_folder(index_root, subject)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    table = pa.Table.from_pylist(_rows(read.annotations), schema=arrow_schema())
    with atomic_path(folder / FILE) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)
    found = read.annotations
    counts = {
        "n_stimuli": len(found.nsd_ids),
        "n_captions": None if found.captions is None else sum(map(len, found.captions)),
        "n_objects": None if found.objects is None else sum(map(len, found.objects)),
    }
    manifest = Manifest(
        kind=KIND,
        content_hash=annotations_hash(found),
        inputs={**read.inputs, "index": index_manifest(index_root, subject).content_hash},
        config={"subject": subject, **read.facts, **counts},
    )
    write_manifest(folder, manifest)
    return manifest


def annotations_hash(annotations: Annotations) -> str:
    """Hash what stimuli show, by value."""
    import json

    return content_hash(json.dumps(_rows(annotations), ensure_ascii=False))


def _rows(annotations: Annotations) -> list[dict[str, Any]]:
    captions, objects = annotations.captions_of(), annotations.objects_of()
    return [
        {
            "nsd_id": nsd_id,
            "captions": None if annotations.captions is None else captions[nsd_id],
            "objects": None if annotations.objects is None else [_plain(one) for one in objects[nsd_id]],
        }
        for nsd_id in annotations.nsd_ids.tolist()
    ]


def _plain(one: ShownObject) -> dict[str, Any]:
    return {
        "category": one.category,
        "supercategory": one.supercategory,
        "bbox_px": list(one.box.bbox_px),
        "area_share": one.box.area_share,
        "left_share": one.box.left_share,
        "is_crowd": one.is_crowd,
    }


def remove_stale(index_root: Path | str, subject: str) -> bool:
    """Take away annotations that were made for another index of the subject.

    Args:
        index_root: Folder of all subjects' indices.
        subject: For instance "subj01".

    Returns:
        Whether there were such.
    """
    folder = annotations_folder(index_root, subject)
    if not (folder / "manifest.json").is_file():
        return False
    if read_manifest(folder, KIND).inputs.get("index") == index_manifest(index_root, subject).content_hash:
        return False
    shutil.rmtree(folder)
    return True


def read_annotations(index_root: Path | str, subject: str) -> Annotations | None:
    """Read what the stimuli of an index show.

    Args:
        index_root: Folder of all subjects' indices.
        subject: For instance "subj01".

    Returns:
        The annotations; None where the index was made without any.

    Raises:
        BadInputError: If they are damaged, or were made for another index.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = annotations_folder(index_root, subject)
    if not folder.exists():
        return None
    again = f"make it again with: fmri-lightning index --subject {subject} --annotations DIR"
    manifest = read_manifest(folder, KIND)
    if manifest.inputs.get("index") != index_manifest(index_root, subject).content_hash:
        raise BadInputError(f"{folder} was made for another index of {subject}; {again}")
    try:
        table = pq.ParquetFile(folder / FILE, page_checksum_verification=True).read()
    except (OSError, pa.ArrowException) as error:
        raise BadInputError(f"{folder / FILE} cannot be read ({str(error).splitlines()[0]}); {again}") from error
    if not table.schema.equals(arrow_schema()):
        raise BadInputError(f"{folder / FILE} has other columns than this version writes; {again}")
    found = _from_rows(table.to_pylist())
    if annotations_hash(found) != manifest.content_hash:
        raise BadInputError(f"{folder / FILE} is not the table its manifest describes; {again}")
    return found


def _from_rows(rows: list[dict[str, Any]]) -> Annotations:
    ids = np.array([row["nsd_id"] for row in rows], dtype=np.int32)
    knows = {name: any(row[name] is not None for row in rows) for name in ("captions", "objects")}
    captions = [list(row["captions"] or []) for row in rows] if knows["captions"] else None
    objects = [[_object(one) for one in row["objects"] or []] for row in rows] if knows["objects"] else None
    return Annotations(ids, captions, objects)


def _object(plain: dict[str, Any]) -> ShownObject:
    x, y, width, height = plain["bbox_px"]
    box = ShownBox((x, y, width, height), plain["area_share"], plain["left_share"])
    return ShownObject(plain["category"], plain["supercategory"], box, plain["is_crowd"])
