"""``doctor --files``: named checks that a subject's files agree among themselves, before a long run starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fmri_lightning.errors import BadInputError, StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fmri_lightning.index.subject_index import SubjectIndex
    from fmri_lightning.records import TrialTable

Check = Callable[[], str | None]


@dataclass(frozen=True)
class FileCheck:
    """Outcome of a check.

    Attributes:
        name: Of the check.
        passed: None where the files give nothing to check.
        said: What was found, or what is wrong.
    """

    name: str
    passed: bool | None
    said: str

    def line(self) -> str:
        """Return one line of text."""
        word = {True: "ok", False: "FAILED", None: "not there"}[self.passed]
        return f"{word:9} {self.name}: {self.said}"


def check_files(root: Path, subject: str) -> Iterator[FileCheck]:
    """Run every check on the files of one subject; one that fails does not stop the others.

    Args:
        root: An NSD tree, or the folder of MindEye2's, MindEye1's, brain-diffuser's or the Algonauts challenge's files.
        subject: For instance "subj01".

    Yields:
        The outcomes, in order.

    Raises:
        BadInputError: None of these layouts is there, or the tables cannot be read at all.
    """
    from fmri_lightning.doctor.surface_files import algonauts_checks, has_surfaces, has_volumes, surface_checks
    from fmri_lightning.index.brain_diffuser import PROCESSED
    from fmri_lightning.index.mindeye import INDICES
    from fmri_lightning.index.mindeye1 import FOLDER

    # The design of NSD may lie beside the files of older releases, which are then what is meant.
    if (root / FOLDER).is_dir():
        checks = _mindeye1_checks(root, subject)
    elif (root / PROCESSED).is_dir():
        checks = _brain_diffuser_checks(root, subject)
    elif (root / "nsddata").is_dir():
        checks = _nsd_checks(root, subject)
        if has_surfaces(root, subject):
            of_volumes = () if has_volumes(root, subject) else ("formats", "ncsnr", "rows", "shapes")
            checks = {name: check for name, check in checks.items() if name not in of_volumes}
            checks |= surface_checks(root, subject)
    elif (root / subject / "training_split").is_dir():
        checks = algonauts_checks(root, subject)
    elif (root / INDICES).is_file():
        checks = _mindeye_checks(root, subject)
    else:
        raise BadInputError(
            f"{root} holds none of nsddata, {INDICES}, {FOLDER}, {PROCESSED} and {subject}/training_split; "
            "give --files an NSD tree, or the files of MindEye2, MindEye1, brain-diffuser or the Algonauts challenge"
        )
    for name, check in checks.items():
        try:
            said = check()
        except StageError as error:
            yield FileCheck(name, False, str(error))
            continue
        yield FileCheck(
            name, None if said is None else True, said or "nothing to compare, or the tables must pass first"
        )


def _nsd_checks(root: Path, subject: str) -> dict[str, Check]:
    from fmri_lightning.betas import volume_checks
    from fmri_lightning.betas.nsd_volumes import open_nsd_volumes
    from fmri_lightning.betas.roi import mask_voxels
    from fmri_lightning.index import nsd_checks
    from fmri_lightning.index.nsd import beta_folder
    from fmri_lightning.index.nsd_trials import index_nsd

    space, version, region = "func1pt8mm", "b3", "nsdgeneral"
    tables = nsd_checks.read_nsd_tables(root, subject)
    folder = root / beta_folder(subject, space, version)
    sessions = sorted(set(tables.responses.session.tolist()))
    n_catalogue = len(tables.info.coco_id)

    def formats() -> str | None:
        return volume_checks.check_formats(folder, mask_voxels(root, subject, space, region)[0], sessions)

    def split() -> str:
        nsd_checks.check_catalogue(tables)
        return _split_of(tables.nsd_id, tables.info.shared1000)

    def ncsnr() -> str | None:
        table = _table_or_none(index_nsd, root, subject)
        if table is None:
            return None
        source = open_nsd_volumes(table, root, subject, space, version, region, n_catalogue)
        return volume_checks.check_ncsnr(source, table)

    trials = f"{len(tables.nsd_id)} trials"
    return {
        "ids": _saying(trials, partial(nsd_checks.check_ids, tables)),
        "repeats": _saying(trials, partial(nsd_checks.check_repeats, tables)),
        "formats": formats,
        "counts": _saying(trials, partial(nsd_checks.check_counts, tables)),
        "split": split,
        "ncsnr": ncsnr,
        "rows": partial(volume_checks.check_rows, folder, tables.responses.session),
        "trials per session": _saying(
            f"{tables.session_trials} in each of {len(sessions)}", partial(nsd_checks.check_trials, tables)
        ),
        "shapes": partial(volume_checks.check_shapes, root, subject, space, folder, sessions, n_catalogue),
    }


def _mindeye_checks(root: Path, subject: str) -> dict[str, Check]:
    from fmri_lightning.betas import mindeye_betas, volume_checks
    from fmri_lightning.index import mindeye_checks
    from fmri_lightning.index.mindeye import betas_file, read_mindeye_tables
    from fmri_lightning.index.mindeye_trials import index_mindeye

    tables = read_mindeye_tables(root, subject)
    n_trials, n_catalogue = len(tables.nsd_id), len(tables.shared1000)
    path = root / betas_file(subject)

    def masks() -> str | None:
        n_columns = mindeye_betas.read_mindeye_shape(path)[1]
        found = mindeye_betas.read_region_masks(root / mindeye_betas.MASKS, subject, n_columns)
        return f"{len(found)} region masks of {n_columns} voxels" if found else None

    def split() -> str:
        mindeye_checks.check_split(tables)
        return _split_of(tables.nsd_id, tables.shared1000)

    def early_lead() -> str | None:
        table = _table_or_none(index_mindeye, root, subject)
        if table is None:
            return None
        source = mindeye_betas.open_mindeye_betas(table, root, subject, mindeye_betas.WHOLE, n_catalogue)
        return volume_checks.check_early_lead(source, table)

    def shapes() -> str:
        shape = mindeye_betas.read_mindeye_shape(path)
        mindeye_betas.check_mindeye_shape(subject, path, shape, n_trials, n_catalogue)
        return f"betas {shape}"

    trials = f"{n_trials} trials"
    return {
        "ids": _saying(trials, partial(mindeye_checks.check_ids, tables)),
        "repeats": _saying(trials, partial(mindeye_checks.check_repeats, tables)),
        "masks": masks,
        "counts": _saying(trials, partial(mindeye_checks.check_counts, tables)),
        "split": split,
        "early lead": early_lead,
        "rows": _saying(trials, partial(mindeye_checks.check_rows, tables)),
        "trials per session": _saying(trials, partial(mindeye_checks.check_trials, tables)),
        "shapes": shapes,
    }


def _mindeye1_checks(root: Path, subject: str) -> dict[str, Check]:
    from fmri_lightning.index import mindeye1_checks
    from fmri_lightning.index.mindeye1 import read_mindeye1_tables
    from fmri_lightning.index.published import catalogue_size

    tables = read_mindeye1_tables(root, subject)

    def design() -> str | None:
        sessions = mindeye1_checks.check_design(tables)
        return None if sessions is None else f"ids and repeats are those of the first {sessions} sessions"

    def shapes() -> str:
        n_voxels = tables.samples[0].betas().shape[1]
        listed = None if tables.captions is None else len(tables.captions)
        n_catalogue = catalogue_size(subject, n_voxels, listed, int(tables.nsd_id.max()))
        mindeye1_checks.check_published(tables, n_voxels, n_catalogue)
        return f"{n_voxels} voxels in a box of {tables.samples[0].box()}"

    samples = f"{len(tables.samples)} samples"
    told = ", ".join(f"{n} {split}" for split, n in (tables.totals or {}).items())
    return {
        "totals": lambda: _saying(told, partial(mindeye1_checks.check_totals, tables))() or None,
        "pictures": _saying(samples, partial(mindeye1_checks.check_pictures, tables)),
        "shared": _saying("test pictures as in other subjects", partial(mindeye1_checks.check_shared, tables)),
        "design": design,
        "rows": lambda: f"{int(tables.num_uniques.sum())} independent of {mindeye1_checks.check_rows(tables)} voxels",
        "shapes": shapes,
    }


def _brain_diffuser_checks(root: Path, subject: str) -> dict[str, Check]:
    from fmri_lightning.index import brain_diffuser_checks
    from fmri_lightning.index.brain_diffuser import read_brain_diffuser_tables
    from fmri_lightning.index.published import catalogue_size

    tables = read_brain_diffuser_tables(root, subject)

    def captions() -> str | None:
        compared = brain_diffuser_checks.check_captions(tables)
        return None if compared is None else f"those of the pictures in all {compared} rows"

    def shapes() -> str:
        n_voxels = tables.betas["train"].shape[1]
        listed = None if tables.curated is None else len(tables.curated)
        n_catalogue = catalogue_size(subject, n_voxels, listed, int(tables.planned.shown.max()))
        brain_diffuser_checks.check_published(tables, n_catalogue)
        return f"{n_voxels} voxels"

    rows = f"{len(tables.ids['train'])} train and {len(tables.ids['test'])} test: {tables.sessions} sessions"
    return {
        "rows": lambda: rows,
        "captions": captions,
        "test order": _saying("as in other subjects", partial(brain_diffuser_checks.check_test_order, tables)),
        "shapes": shapes,
    }


def _saying(found: str, check: Callable[[], None]) -> Check:
    """Let a check that returns nothing say what it looked at."""

    def run() -> str:
        check()
        return found

    return run


def _table_or_none(index: Callable[[Path, str], SubjectIndex], root: Path, subject: str) -> TrialTable | None:
    """Make the index; where its own checks refuse, they have said so under their names."""
    try:
        return index(root, subject).table
    except StageError:
        return None


def _split_of(nsd_id: NDArray[np.integer], shared1000: NDArray[np.bool_]) -> str:
    import numpy as np

    from fmri_lightning.index.split import SPLITS, assign_split, split_hash

    split = assign_split(nsd_id, shared1000[nsd_id])
    split_hash(nsd_id, split)
    pictures = (len(np.unique(nsd_id[split == name])) for name in SPLITS)
    return ", ".join(f"{n} {name}" for n, name in zip(pictures, SPLITS, strict=True)) + " pictures, none twice"
