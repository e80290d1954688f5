"""The ``index`` command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.prediction_only import SIDE_EXPERIMENTS, in_words, is_prediction_only
from fmri_lightning.index.sources import SOURCES, IndexRequest
from fmri_lightning.locks import run_lock
from fmri_lightning.manifest import Manifest
from fmri_lightning.records import STIMULUS_CATEGORIES, TrialTable

if TYPE_CHECKING:
    from fmri_lightning.index.annotation_table import Read
    from fmri_lightning.index.subject_index import SubjectIndex

NSD_PICTURES = ("nsd", "mindeye2")
"""Sources whose nsd_id is the row of NSD's catalogue; COCO's annotations speak of no other pictures."""


def index(
    root: Path,
    source: str = "nsd",
    subject: str = "subj01",
    sessions: str = "all",
    out: Path = Path("outputs/nsd_index"),
    split_file: Path | None = None,
    normalised: bool = False,
    annotations: Path | None = None,
    task: str | None = None,
    first_run: str | None = None,
    overwrite: bool = False,
) -> None:
    """List a subject's trials: which picture each one showed, and which split the picture is in.

    Args:
        root: Folder of the data: the one that contains nsddata, nsddata_betas and nsddata_stimuli (nsd), that of
            MindEye2's files (mindeye2), one of your own (arrays), the one above webdataset_avg_split (mindeye1) or
            above processed_data (brain_diffuser), or that of the subjects' folders (algonauts).
        source: Where the data come from: nsd, mindeye2, arrays, mindeye1, brain_diffuser or algonauts, or for
            prediction only nsd_imagery or nsd_synthetic.
            fmri_lightning/index/README.md describes each.
        subject: Subject, for instance subj01.
        sessions: all, first37 (the sessions behind the 982 test pictures of older papers), or a number.
        out: Folder of the indices; a subject gets subject=NAME/index.parquet.
        split_file: For arrays: a table (tab-separated) with the columns stimulus and split; by default the column split
            of trials.tsv, or else a hashed test set that is not comparable.
        normalised: For arrays: the betas come z-scored or averaged, so that betas skips T0 and records so.
        annotations: For nsd and mindeye2: folder of COCO's captions_*2017.json and instances_*2017.json, or a .npy of
            captions by nsd_id; by default nsddata_stimuli/stimuli/nsd/annotations of the root, where that is there.
            What the pictures show is written beside the index, which stays the same.
        task: For nsd_imagery: vision (pictures that were seen) or imagery (that were imagined); by default none, and
            nsd_imagery needs one. The two are separate indices: give each its own --out.
        first_run: For nsd_imagery: visA or imgA_1, the first run of the betas; by default what the event files tell.
        overwrite: Replace an index that differs from the one to be written.

    Raises:
        UsageError: If the source or the sessions are unknown, or a flag does not go with the source.
        BadInputError: If a file is missing or wrong, or another index is in the way.
    """
    if source not in SOURCES:
        raise UsageError(f"source {source!r} is not supported, choose {', '.join(SOURCES)}")
    if source != "arrays" and (split_file is not None or normalised):
        raise UsageError(f"--split_file and --normalised go with --source arrays, not with {source}")
    if source not in NSD_PICTURES and annotations is not None:
        raise UsageError(f"--annotations go with the pictures of NSD ({', '.join(NSD_PICTURES)}), not with {source}")
    if source != "nsd_imagery" and (task is not None or first_run is not None):
        raise UsageError(f"--task and --first_run go with --source nsd_imagery, not with {source}")
    if source in SIDE_EXPERIMENTS and str(sessions) != "all":
        raise UsageError(f"{source} is one session; leave --sessions out")
    made = SOURCES[source](IndexRequest(Path(root), subject, str(sessions), split_file, normalised, task, first_run))
    config = {
        "source": source,
        "root": Path(root).as_posix(),
        "sessions": str(sessions),
        "n_catalogue": made.n_catalogue,
        "simulated": (Path(root) / "SIMULATED.json").is_file(),
        **made.facts,
    }
    read = _read_annotations(Path(root), annotations, made) if source in NSD_PICTURES else None
    _write(subject, Path(out), overwrite, made, config, read)


def _read_annotations(root: Path, asked: Path | None, made: SubjectIndex) -> Read | None:
    """Read them before anything is written: a bad file leaves no index without its annotations."""
    from fmri_lightning.index.annotation_table import annotations_to_read, read_source

    place = annotations_to_read(root, asked)
    return None if place is None else read_source(root, place, made.table.nsd_id, made.n_catalogue)


def _write(
    subject: str, out: Path, overwrite: bool, made: SubjectIndex, config: dict[str, Any], read: Read | None
) -> None:
    from fmri_lightning.index.annotation_table import remove_stale, write_annotations
    from fmri_lightning.index.table import subject_folder, table_hash, write_index

    folder = subject_folder(out, subject)
    if not overwrite:
        _refuse_other(folder, table_hash(made.table), made.facts)
    with run_lock(folder):
        _write_categories(folder / STIMULUS_CATEGORIES, made.categories)
        manifest = write_index(out, subject, made.table, made.inputs, config)
        stale = remove_stale(out, subject)
        told = None if read is None else write_annotations(out, subject, read)
    _say(folder, manifest, made.table)
    if told is not None:
        _say_annotations(told)
    elif stale:
        print("The annotations of the index that was there before are gone; --annotations DIR brings new ones.")


def _write_categories(path: Path, categories: dict[int, tuple[str, ...]]) -> None:
    """Write what scores are shown apart by; an older table of another index goes."""
    from fmri_lightning.manifest import atomic_path

    path.unlink(missing_ok=True)
    if not categories:
        return
    lines = [f"{nsd_id},{name}" for nsd_id, names in categories.items() for name in names]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(["nsd_id,category", *lines]) + "\n", encoding="utf-8")


def _refuse_other(folder: Path, new_hash: str, facts: dict[str, Any]) -> None:
    from fmri_lightning.manifest import read_manifest

    if not (folder / "manifest.json").is_file():
        return
    old = read_manifest(folder, "index")
    if old.content_hash != new_hash or any(old.config.get(name) != fact for name, fact in facts.items()):
        raise BadInputError(
            f"{folder} holds another index (root {old.config.get('root')}, sessions {old.config.get('sessions')}); "
            "choose another --out, or replace it with --overwrite"
        )


def _say_annotations(manifest: Manifest) -> None:
    config = manifest.config
    counts = ", ".join(f"{config[f'n_{what}']} {what}" for what in ("captions", "objects") if config[f"n_{what}"])
    size = f"; boxes in pixels of {config['size_px']} x {config['size_px']}" if config["size_px"] else ""
    print(f"annotations of {config['n_stimuli']} pictures from {config['from']}: {counts or 'none'}{size}")


def _say(folder: Path, manifest: Manifest, table: TrialTable) -> None:
    counts = ", ".join(
        f"{name} {len(set(rows.nsd_id.tolist()))} pictures in {len(rows)} trials"
        for name, rows in ((name, table.where(table.split == name)) for name in ("train", "val", "test"))
    )
    print(folder / "index.parquet")
    print(f"{manifest.config['subject']}: {manifest.config['n_sessions']} sessions, {len(table)} trials; {counts}")
    if is_prediction_only(manifest):
        print(f"{in_words(manifest)}; nothing can be fitted on this index")
    for name, what in (
        ("without_picture", "no picture there, left out"),
        ("flat_in_the_square", "one colour, left out"),
    ):
        if manifest.config.get(name):
            print(f"{what}: {', '.join(map(str, manifest.config[name]))}")
    if "run_order_from" in manifest.config:
        print(f"order of runs from {manifest.config['run_order_from']}: {', '.join(manifest.config['run_order'])}")
    if "test_set" in manifest.config:
        print(f"test set: {manifest.config['test_set']}")
    if manifest.config["simulated"]:
        print("The betas under this root are simulated.")
