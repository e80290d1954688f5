"""The ``index`` command."""

from __future__ import annotations

from pathlib import Path

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.manifest import Manifest, run_lock
from fmri_lightning.records import TrialTable

SOURCES = ("nsd",)


def index(
    root: Path,
    source: str = "nsd",
    subject: str = "subj01",
    sessions: str = "all",
    out: Path = Path("outputs/nsd_index"),
    overwrite: bool = False,
) -> None:
    """List a subject's trials: which picture each one showed, and which split the picture is in.

    Args:
        root: Folder that contains nsddata, nsddata_betas and nsddata_stimuli.
        source: Where the data come from: nsd.
        subject: Subject, for instance subj01.
        sessions: all, first37 (the sessions behind the 982 test pictures of older papers), or a number.
        out: Folder of the indices; a subject gets subject=NAME/index.parquet.
        overwrite: Replace an index that differs from the one to be written.

    Raises:
        UsageError: If the source or the sessions are unknown.
        BadInputError: If a file is missing or wrong, or another index is in the way.
    """
    if source not in SOURCES:
        raise UsageError(f"source {source!r} is not supported, choose {', '.join(SOURCES)}")
    from fmri_lightning.index.build import build_trial_table

    table, inputs = build_trial_table(Path(root), subject, str(sessions))
    _write(Path(root), subject, str(sessions), Path(out), overwrite, table, inputs)


def _write(
    root: Path, subject: str, sessions: str, out: Path, overwrite: bool, table: TrialTable, inputs: dict[str, str]
) -> None:
    from fmri_lightning.index.table import subject_folder, table_hash, write_index

    folder = subject_folder(out, subject)
    if not overwrite:
        _refuse_other(folder, table_hash(table))
    with run_lock(folder):
        config = {
            "source": "nsd",
            "root": root.as_posix(),
            "sessions": sessions,
            "simulated": (root / "SIMULATED.json").is_file(),
        }
        manifest = write_index(out, subject, table, inputs, config)
    _say(folder, manifest, table)


def _refuse_other(folder: Path, new_hash: str) -> None:
    from fmri_lightning.manifest import read_manifest

    if not (folder / "manifest.json").is_file():
        return
    old = read_manifest(folder, "index")
    if old.content_hash != new_hash:
        raise BadInputError(
            f"{folder} holds another index (root {old.config.get('root')}, sessions {old.config.get('sessions')}); "
            "choose another --out, or replace it with --overwrite"
        )


def _say(folder: Path, manifest: Manifest, table: TrialTable) -> None:
    counts = ", ".join(
        f"{name} {len(set(rows.nsd_id.tolist()))} pictures in {len(rows)} trials"
        for name, rows in ((name, table.where(table.split == name)) for name in ("train", "val", "test"))
    )
    print(folder / "index.parquet")
    print(f"{manifest.config['subject']}: {manifest.config['n_sessions']} sessions, {len(table)} trials; {counts}")
    if manifest.config["simulated"]:
        print("The betas under this root are simulated.")
