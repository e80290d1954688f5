"""Ground truth of a run or a folder: which picture each reconstruction is of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.stimuli import SUFFIXES, StimulusSource, holds_stimuli, open_stimuli

_NSD_ID = re.compile(r"nsd[-_]?0*(\d+)", re.IGNORECASE)
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


@dataclass(frozen=True)
class Matched:
    """Files of two folders that are of one stimulus.

    Attributes:
        by_nsd_id: Whether they were matched by the digits after nsd, else by name.
        keys: What both sides have: nsd_ids or names, ascending.
        generated: Key to reconstruction.
        truth: Key to ground truth; empty where the truth is a data root.
        missing: Ground truths without a reconstruction.
        extra: Reconstructions without a ground truth.
    """

    by_nsd_id: bool
    keys: list[Any]
    generated: dict[Any, Path]
    truth: dict[Any, Path]
    missing: list[str]
    extra: list[str]

    def ids(self, keys: list[Any]) -> NDArray[np.int32]:
        """nsd_id of some keys, or their positions among the names, (n,) int32."""
        places = {key: position for position, key in enumerate(self.keys)}
        return np.array(keys if self.by_nsd_id else [places[key] for key in keys], dtype=np.int32)


def match_files(generated: Path, truth: Path) -> Matched:
    """Match the pictures of two folders.

    Where file names of both folders carry ``nsd`` and digits, that number matches them and files without one are
    nobody's partner; otherwise the names without suffix and without ``_generated`` do. The truth may also be a data
    root with pictures, such as an NSD tree.

    Args:
        generated: Folder of reconstructions.
        truth: Folder of ground truths, or a data root.

    Returns:
        What belongs together, and what has no partner.

    Raises:
        BadInputError: A folder is missing or empty, two files of one folder are of one stimulus, or nothing matches.
    """
    recon = _files(generated, "--generated")
    by_id, nameless = _by_nsd_id(recon)
    if holds_stimuli(truth):
        if not by_id:
            raise BadInputError(f"{generated}: names must carry nsd and digits to be scored against the tree {truth}")
        known = set(open_stimuli(root=truth).ids.tolist())
        keys = sorted(set(by_id) & known)
        extra = nameless + [by_id[key].name for key in sorted(set(by_id) - known)]
        return _some_match(Matched(True, keys, by_id, {}, [], extra), generated, truth, recon, [])
    originals = _files(truth, "--truth")
    truth_by_id, truth_nameless = _by_nsd_id(originals)
    if by_id and truth_by_id:
        ours: dict[Any, Path] = dict(by_id)
        theirs: dict[Any, Path] = dict(truth_by_id)
    else:
        ours, theirs = dict(_by_name(recon)), dict(_by_name(originals))
        nameless, truth_nameless = [], []
    keys = sorted(set(ours) & set(theirs))
    missing = truth_nameless + [theirs[key].name for key in sorted(set(theirs) - set(ours))]
    extra = nameless + [ours[key].name for key in sorted(set(ours) - set(theirs))]
    matched = Matched(bool(by_id and truth_by_id), keys, ours, theirs, missing, extra)
    return _some_match(matched, generated, truth, recon, originals)


def _some_match(matched: Matched, generated: Path, truth: Path, recon: list[Path], originals: list[Path]) -> Matched:
    if not matched.keys:
        theirs = f", those of {truth} {', '.join(p.name for p in originals[:3])}, ..." if originals else ""
        raise BadInputError(
            f"no picture of {generated} has a partner in {truth}: its names are "
            f"{', '.join(p.name for p in recon[:3])}, ...{theirs}; pictures match by the digits after nsd, else by "
            "equal names"
        )
    return matched


def _files(folder: Path, flag: str) -> list[Path]:
    if not folder.is_dir():
        raise BadInputError(f"no folder {folder}; give {flag} a folder of pictures")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not found:
        inside = sorted(p.parent.name for p in folder.glob("*/*") if p.suffix.lower() in SUFFIXES)
        hint = f"{flag} {folder / inside[0]}" if inside else f"{flag} a folder of pictures"
        raise BadInputError(f"{folder} holds no pictures ({', '.join(SUFFIXES)}); give {hint}")
    return found


def _by_nsd_id(files: list[Path]) -> tuple[dict[int, Path], list[str]]:
    """Files by the number after nsd, and the names of those without one."""
    by_id: dict[int, Path] = {}
    nameless = []
    for path in files:
        match = _NSD_ID.search(path.stem)
        if match is None:
            nameless.append(path.name)
            continue
        nsd_id = int(match.group(1))
        if nsd_id in by_id:
            raise BadInputError(f"{path.parent}: {by_id[nsd_id].name} and {path.name} are both of nsd{nsd_id}")
        by_id[nsd_id] = path
    return by_id, nameless


def _by_name(files: list[Path]) -> dict[str, Path]:
    by_name: dict[str, Path] = {}
    for path in files:
        name = path.stem.removesuffix(_GENERATED)
        if name in by_name:
            raise BadInputError(f"{path.parent}: {by_name[name].name} and {path.name} are both called {name}")
        by_name[name] = path
    return by_name
