"""The index on disk: one Parquet file a subject with an explicit schema, and its manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.split import split_hash
from fmri_lightning.manifest import Manifest, atomic_path, content_hash, read_manifest, write_manifest
from fmri_lightning.records import TRIAL_DTYPES, TrialTable

if TYPE_CHECKING:
    import pyarrow as pa


def subject_folder(index_root: Path | str, subject: str) -> Path:
    """Name the folder of a subject's index."""
    return Path(index_root) / f"subject={subject}"


def arrow_schema() -> pa.Schema:
    """Return the Arrow schema of the index: the columns of :class:`TrialTable`, none of them nullable."""
    import pyarrow as pa

    kinds = {
        "str": pa.string(),
        "bool": pa.bool_(),
        "int8": pa.int8(),
        "int16": pa.int16(),
        "int32": pa.int32(),
    }
    return pa.schema([pa.field(name, kinds[kind], nullable=False) for name, kind in TRIAL_DTYPES.items()])


def table_hash(table: TrialTable) -> str:
    """Hash the contents of a trial table, column by column."""
    return content_hash(*(part for name in TRIAL_DTYPES for part in (name, getattr(table, name))))


def write_index(
    index_root: Path | str, subject: str, table: TrialTable, inputs: dict[str, str], config: dict[str, Any]
) -> Manifest:
    """Write a subject's index and its manifest.

    Args:
        index_root: Folder of all subjects' indices.
        subject: For instance "subj01".
        table: Trials in order.
        inputs: Hash per raw file.
        config: What the index was asked for; ``split_hash``, ``n_trials`` and ``n_sessions`` are added.

    Returns:
        The manifest as written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = subject_folder(index_root, subject)
    folder.mkdir(parents=True, exist_ok=True)
    columns = [pa.array(getattr(table, name).tolist(), type=arrow_schema().field(name).type) for name in TRIAL_DTYPES]
    # The manifest says that the table is whole: it goes first and comes back last.
    (folder / "manifest.json").unlink(missing_ok=True)
    with atomic_path(folder / "index.parquet") as temporary:
        pq.write_table(pa.Table.from_arrays(columns, schema=arrow_schema()), temporary, write_page_checksum=True)
    manifest = Manifest(
        kind="index",
        content_hash=table_hash(table),
        inputs=inputs,
        config={
            **config,
            "subject": subject,
            "n_trials": len(table),
            "n_sessions": len(np.unique(table.session)),
            "split_hash": split_hash(table.nsd_id, table.split),
        },
    )
    write_manifest(folder, manifest)
    return manifest


def index_manifest(index_root: Path | str, subject: str) -> Manifest:
    """Read the manifest of a subject's index.

    Args:
        index_root: Folder of all subjects' indices.
        subject: For instance "subj01".

    Returns:
        The manifest; ``config["split_hash"]`` names the split.

    Raises:
        BadInputError: If there is no index of the subject; the message lists the subjects that have one.
    """
    folder = subject_folder(index_root, subject)
    if not folder.is_dir():
        present = sorted(path.name.removeprefix("subject=") for path in Path(index_root).glob("subject=*"))
        raise BadInputError(
            f"no index of {subject!r} in {index_root} (present: {', '.join(present) or 'none'}); "
            f"make it with: fmri-lightning index --subject {subject}"
        )
    return read_manifest(folder, "index")


def sessions_covered(manifest: Manifest) -> int:
    """Say how many sessions the trials of an index come from, where their files do not tell them apart too.

    Args:
        manifest: Of the index.

    Returns:
        First sessions of the experiment; -1 where the index does not know.
    """
    return int(manifest.config.get("sessions_covered", manifest.config.get("n_sessions", -1)))


def read_index(index_root: Path | str, subject: str) -> TrialTable:
    """Read a subject's index and check it against its manifest.

    Args:
        index_root: Folder of all subjects' indices.
        subject: For instance "subj01".

    Returns:
        The trials in the order of the index.

    Raises:
        BadInputError: If the index is missing, damaged, or not the one its manifest describes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    manifest = index_manifest(index_root, subject)
    path = subject_folder(index_root, subject) / "index.parquet"
    again = f"make it again with: fmri-lightning index --subject {subject}"
    try:
        # Opened as one file: as a dataset, the folder name subject=... would add a second subject column.
        parquet = pq.ParquetFile(path, page_checksum_verification=True).read()
    except FileNotFoundError as error:
        raise BadInputError(f"{path} is missing beside its manifest; {again}") from error
    except (OSError, pa.ArrowException) as error:
        raise BadInputError(f"{path} cannot be read ({str(error).splitlines()[0]}); {again}") from error
    if not parquet.schema.equals(arrow_schema()):
        raise BadInputError(f"{path} has other columns than this version writes; {again}")
    columns = {name: np.asarray(parquet.column(name).to_pylist(), dtype=kind) for name, kind in TRIAL_DTYPES.items()}
    table = TrialTable(**columns)
    if table_hash(table) != manifest.content_hash:
        raise BadInputError(f"{path} is not the index its manifest describes; {again}")
    return table
