"""Ground truth of a run or a folder: which picture each reconstruction is of."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.pictures import PictureFiles
from fmri_lightning.index.stimuli import SUFFIXES, StimulusSource, holds_stimuli, open_stimuli

_NSD_ID = re.compile(r"nsd[-_]?0*(\d+)")
_GENERATED = "_generated"


def open_truth(root: str | None, truth: Path | None) -> StimulusSource:
    """Open the stimuli that a run is scored against.

    Args:
        root: Data root as the run recorded it, relative to the working directory or absolute.
        truth: What the user named instead: an NSD tree or a folder of pictures.

    Returns:
        The stimuli, addressed by nsd_id.

    Raises:
        BadInputError: Neither is there.
    """
    if truth is not None:
        if holds_stimuli(truth):
            return open_stimuli(root=truth)
        return open_stimuli(images=truth)
    if root is None:
        raise BadInputError("the run does not name its data root; give the ground truth with --truth DIR")
    if not Path(root).is_dir():
        raise BadInputError(
            f"the run's data root {root} is not here; run evaluate from the folder that predict ran in, "
            "or give the ground truth with --truth DIR"
        )
    return open_stimuli(root=Path(root))


def pair_folders(generated: Path, truth: Path) -> tuple[NDArray[np.int32], PictureFiles, PictureFiles | StimulusSource]:
    """Pair the pictures of two folders.

    Where every file name of both folders carries ``nsd`` and digits, that number pairs them; otherwise
    the names without suffix and without ``_generated`` do. The truth may also be an NSD tree.

    Args:
        generated: Folder of reconstructions.
        truth: Folder of ground truths, or an NSD tree.

    Returns:
        Ids of the items, ascending; the reconstructions; and the ground truths in the same order, or
        the stimulus source of a tree. Without nsd names an id is the position in the sorted names.

    Raises:
        BadInputError: A folder is missing or empty, or pictures lack a partner; they are named.
    """
    recon = _files(generated, "--generated")
    if holds_stimuli(truth):
        by_id = _by_nsd_id(recon)
        if by_id is None:
            raise BadInputError(f"{generated}: names must carry nsd and digits to be scored against the tree {truth}")
        ids = sorted(by_id)
        return np.array(ids, np.int32), PictureFiles([by_id[i] for i in ids]), open_stimuli(root=truth)
    originals = _files(truth, "--truth")
    recon_ids, truth_ids = _by_nsd_id(recon), _by_nsd_id(originals)
    if recon_ids is not None and truth_ids is not None:
        _require_pairs(set(recon_ids), set(truth_ids), generated, truth, "nsd")
        ids = sorted(recon_ids)
        return (
            np.array(ids, np.int32),
            PictureFiles([recon_ids[i] for i in ids]),
            PictureFiles([truth_ids[i] for i in ids]),
        )
    recon_names, truth_names = _by_name(recon), _by_name(originals)
    _require_pairs(set(recon_names), set(truth_names), generated, truth, "")
    names = sorted(recon_names)
    return (
        np.arange(len(names), dtype=np.int32),
        PictureFiles([recon_names[name] for name in names]),
        PictureFiles([truth_names[name] for name in names]),
    )


def _files(folder: Path, flag: str) -> list[Path]:
    if not folder.is_dir():
        raise BadInputError(f"no folder {folder}; give {flag} a folder of pictures")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not found:
        raise BadInputError(f"{folder} holds no pictures ({', '.join(SUFFIXES)}); give {flag} a folder of pictures")
    return found


def _by_nsd_id(files: list[Path]) -> dict[int, Path] | None:
    matches = [_NSD_ID.search(path.stem) for path in files]
    if not all(matches):
        return None
    by_id: dict[int, Path] = {}
    for match, path in zip(matches, files, strict=True):
        nsd_id = int(match.group(1)) if match else -1
        if nsd_id in by_id:
            raise BadInputError(f"{path.parent}: {by_id[nsd_id].name} and {path.name} are both of nsd{nsd_id}")
        by_id[nsd_id] = path
    return by_id


def _by_name(files: list[Path]) -> dict[str, Path]:
    by_name: dict[str, Path] = {}
    for path in files:
        name = path.stem.removesuffix(_GENERATED)
        if name in by_name:
            raise BadInputError(f"{path.parent}: {by_name[name].name} and {path.name} are both called {name}")
        by_name[name] = path
    return by_name


def _require_pairs(
    recon: set[int] | set[str], truth: set[int] | set[str], generated: Path, originals: Path, prefix: str
) -> None:
    lonely = [(generated, recon - truth, originals), (originals, truth - recon, generated)]
    complaints = []
    for folder, names, other in lonely:
        if names:
            first = ", ".join(f"{prefix}{name}" for name in sorted(names, key=str)[:5])
            complaints.append(f"{len(names)} pictures of {folder} have no partner in {other} ({first})")
    if complaints:
        raise BadInputError(
            f"{'; '.join(complaints)}; pictures pair by the digits after nsd, or by equal names: "
            "rename them or score the common ones from folders of their own"
        )
