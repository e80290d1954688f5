"""Checks of ``doctor --files`` for betas on the average surface: NSD's own and the Algonauts challenge's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fmri_lightning.errors import StageError

if TYPE_CHECKING:
    from fmri_lightning.betas.nsd_surfaces import NSDSurfaces
    from fmri_lightning.index.subject_index import SubjectIndex

Check = Callable[[], str | None]
_VERSION, _REGION = "b3", "nsdgeneral"


def has_surfaces(root: Path, subject: str) -> bool:
    """Say whether a subject's betas on fsaverage were downloaded."""
    from fmri_lightning.index.nsd import beta_folder

    return (root / beta_folder(subject, "fsaverage", _VERSION)).is_dir()


def has_volumes(root: Path, subject: str) -> bool:
    """Say whether a subject's beta volumes were downloaded."""
    from fmri_lightning.index.nsd import beta_folder

    return (root / beta_folder(subject, "func1pt8mm", _VERSION)).is_dir()


def surface_checks(root: Path, subject: str) -> dict[str, Check]:
    """List the checks of a subject's betas on fsaverage.

    Args:
        root: An NSD tree.
        subject: For instance "subj01".

    Returns:
        Name → check; each says what it found, None where there is nothing to compare, or raises.
    """
    from fmri_lightning.betas import surface_checks as checks
    from fmri_lightning.betas.nsd_surfaces import open_nsd_surfaces
    from fmri_lightning.betas.nsd_volumes import open_nsd_volumes
    from fmri_lightning.betas.volume_checks import check_ncsnr

    def opened() -> tuple[NSDSurfaces, SubjectIndex] | None:
        made = _index_or_none(root, subject)
        if made is None:
            return None
        return open_nsd_surfaces(made.table, root, subject, _VERSION, _REGION, made.n_catalogue), made

    def shapes() -> str | None:
        if (found := opened()) is None:
            return None
        source, _ = found
        regions = sum(name.startswith("roi.") for name in source.voxel_columns)
        n_vertices = source.facts["n_vertices"][0]
        return f"2 x {n_vertices} vertices, {len(source.ijk)} of nsdgeneral, {regions} label files of both hemispheres"

    def ncsnr() -> str | None:
        return None if (found := opened()) is None else check_ncsnr(found[0], found[1].table)

    def maps() -> str | None:
        return None if (found := opened()) is None else checks.check_session_maps(found[0])

    def spaces() -> str | None:
        if (found := opened()) is None or not has_volumes(root, subject):
            return None
        source, made = found
        volumes = open_nsd_volumes(made.table, root, subject, "func1pt8mm", _VERSION, _REGION, made.n_catalogue)
        return checks.check_spaces(volumes, source, made.table)

    return {"fsaverage shapes": shapes, "fsaverage ncsnr": ncsnr, "hemispheres": maps, "spaces": spaces}


def algonauts_checks(root: Path, subject: str) -> dict[str, Check]:
    """List the checks of a subject of the Algonauts challenge.

    Args:
        root: Folder that holds the subjects' folders.
        subject: For instance "subj01".

    Returns:
        Name → check; each says what it found, or raises.
    """
    import numpy as np

    from fmri_lightning.betas.algonauts_betas import WHOLE, open_algonauts_betas
    from fmri_lightning.index.algonauts import TEST, TRAINING, images_folder, index_algonauts, picture_files
    from fmri_lightning.index.split import SPLITS, split_hash

    def pictures(split: str) -> str | None:
        folder = root / images_folder(subject, split)
        if split == TEST and not folder.is_dir():
            return None
        return f"{len(picture_files(folder, split))} in the order of their ids"

    def split() -> str:
        made = index_algonauts(root, subject)
        split_hash(made.table.nsd_id, made.table.split)
        counts = (f"{int((made.table.split == name).sum())} {name}" for name in SPLITS)
        return f"{', '.join(counts)} pictures, none twice; test set: {made.facts['test_set']}"

    def masks() -> str | None:
        if (made := _made_or_none(index_algonauts, root, subject)) is None:
            return None
        source = open_algonauts_betas(made.table, root, subject, WHOLE)
        sides = [int((source.voxel_columns["hemisphere"] == h).sum()) for h in ("lh", "rh")]
        return f"{sides[0]} vertices in lh, {sides[1]} in rh, of {source.facts['n_vertices'][0]} each"

    def values() -> str | None:
        if (made := _made_or_none(index_algonauts, root, subject)) is None:
            return None
        source = open_algonauts_betas(made.table, root, subject, WHOLE)
        rows = made.table.beta_index[made.table.session == 1]
        spread = np.nanmedian(source.read(1, rows).std(axis=0))
        return f"a vertex deviates by {spread:.2f} over training pictures (median)"

    return {
        "training pictures": partial(pictures, TRAINING),
        "test pictures": partial(pictures, TEST),
        "split": split,
        "masks": masks,
        "values": values,
    }


def _index_or_none(root: Path, subject: str) -> SubjectIndex | None:
    from fmri_lightning.index.nsd_trials import index_nsd

    return _made_or_none(index_nsd, root, subject)


def _made_or_none(index: Callable[[Path, str], SubjectIndex], root: Path, subject: str) -> SubjectIndex | None:
    """Make the index; where its own checks refuse, they have said so under their names."""
    try:
        return index(root, subject)
    except StageError:
        return None
